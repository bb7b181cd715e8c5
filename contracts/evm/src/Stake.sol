// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Brake} from "./Brake.sol";
import {IdentityRegistry} from "./IdentityRegistry.sol";

/// Tokens that stand behind an agent. They leave only after a notice, during which they may still be slashed.
///
/// A stake is the agent's: whoever owns the agent's identity may take it out, after the notice. Slashing is the
/// owner's word, for which it names a receipt; it takes at most what is staked, of that agent only.
contract Stake is Brake, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// The shortest notice: longer than a pause, so that pausing cannot eat it up.
    uint64 public constant NOTICE_TIME_MIN = 8 days;
    /// The longest notice.
    uint64 public constant NOTICE_TIME_MAX = 365 days;

    /// What stands behind an agent. All of it can be slashed.
    struct Bond {
        /// Tokens that stay.
        uint128 staked;
        /// Tokens that leave when the notice is over.
        uint128 leaving;
        /// When it is over.
        uint64 leavesAt;
    }

    /// The token that is staked. It must take no fee of a transfer and change no balance by itself.
    IERC20 public immutable token;
    /// Who owns which agent.
    IdentityRegistry public immutable identities;
    /// How long tokens must wait that are to leave.
    uint64 public immutable noticeTime;

    /// All that stands behind all agents.
    uint256 public total;

    mapping(uint256 agentId => Bond) private bonds;

    event Deposited(uint256 indexed agentId, address indexed from, uint128 amount);
    event NoticeGiven(uint256 indexed agentId, uint128 amount, uint64 leavesAt);
    event NoticeWithdrawn(uint256 indexed agentId, uint128 amount);
    event Released(uint256 indexed agentId, address indexed to, uint128 amount);
    event Slashed(uint256 indexed agentId, address indexed to, uint128 amount, bytes32 indexed receipt);

    /// The caller does not own the agent.
    error NotAgentOwner(address caller, uint256 agentId);
    /// Nothing would move.
    error AmountZero();
    /// More than there is.
    error StakeTooSmall(uint256 agentId, uint256 available, uint256 amount);
    /// The notice is not over, or there is none.
    error NoticeNotOver(uint256 agentId, uint64 leavesAt);
    /// The token moved another amount than it was told to.
    error TokenUnsuited(uint256 expected, uint256 received);
    /// The notice is too short or too long.
    error NoticeTimeOutOfRange(uint64 noticeTime);

    constructor(IERC20 token_, IdentityRegistry identities_, uint64 noticeTime_, address owner_) Brake(owner_) {
        if (noticeTime_ < NOTICE_TIME_MIN || noticeTime_ > NOTICE_TIME_MAX) revert NoticeTimeOutOfRange(noticeTime_);
        token = token_;
        identities = identities_;
        noticeTime = noticeTime_;
    }

    modifier onlyAgentOwner(uint256 agentId) {
        if (identities.ownerOf(agentId) != msg.sender) revert NotAgentOwner(msg.sender, agentId);
        _;
    }

    /// Puts tokens of the caller's behind an agent. They are the agent's then.
    function deposit(uint256 agentId, uint128 amount) external nonReentrant whenNotPaused {
        if (amount == 0) revert AmountZero();
        // Reverts when there is no such agent.
        // slither-disable-next-line unused-return
        identities.ownerOf(agentId);
        bonds[agentId].staked += amount;
        total += amount;
        emit Deposited(agentId, msg.sender, amount);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert TokenUnsuited(amount, received);
    }

    /// Gives notice for tokens. Where notice was given for others, all of them wait anew.
    function giveNotice(uint256 agentId, uint128 amount) external onlyAgentOwner(agentId) {
        if (amount == 0) revert AmountZero();
        Bond storage bond = bonds[agentId];
        if (amount > bond.staked) revert StakeTooSmall(agentId, bond.staked, amount);
        uint64 leavesAt = uint64(block.timestamp) + noticeTime;
        bond.staked -= amount;
        bond.leaving += amount;
        bond.leavesAt = leavesAt;
        emit NoticeGiven(agentId, amount, leavesAt);
    }

    /// Takes the notice back: everything stays.
    function withdrawNotice(uint256 agentId) external onlyAgentOwner(agentId) {
        Bond storage bond = bonds[agentId];
        uint128 amount = bond.leaving;
        if (amount == 0) revert AmountZero();
        bond.staked += amount;
        bond.leaving = 0;
        bond.leavesAt = 0;
        emit NoticeWithdrawn(agentId, amount);
    }

    /// Pays out to the agent's owner what leaves, once the notice is over.
    function release(uint256 agentId) external nonReentrant whenNotPaused onlyAgentOwner(agentId) {
        Bond storage bond = bonds[agentId];
        uint128 amount = bond.leaving;
        if (amount == 0 || block.timestamp < bond.leavesAt) revert NoticeNotOver(agentId, bond.leavesAt);
        bond.leaving = 0;
        bond.leavesAt = 0;
        total -= amount;
        emit Released(agentId, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// Takes tokens from behind an agent, first those that would leave, and gives them to whom it harmed. The receipt
    /// is the hash of the leaf that the judgement is about.
    function slash(uint256 agentId, uint128 amount, address to, bytes32 receipt)
        external
        nonReentrant
        whenNotPaused
        onlyOwner
    {
        if (amount == 0) revert AmountZero();
        Bond storage bond = bonds[agentId];
        uint256 available = uint256(bond.staked) + bond.leaving;
        if (amount > available) revert StakeTooSmall(agentId, available, amount);
        uint128 ofLeaving = amount < bond.leaving ? amount : bond.leaving;
        bond.leaving -= ofLeaving;
        bond.staked -= amount - ofLeaving;
        total -= amount;
        emit Slashed(agentId, to, amount, receipt);
        token.safeTransfer(to, amount);
    }

    /// What stands behind an agent.
    function bondOf(uint256 agentId) external view returns (Bond memory) {
        return bonds[agentId];
    }
}
