// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Brake} from "./Brake.sol";
import {Inclusion} from "./Inclusion.sol";
import {Receipt} from "./Receipt.sol";
import {ReceiptLog} from "./ReceiptLog.sol";

/// Holds a client's tokens until the provider proves that the work has its receipt in the named log, or until the
/// deadline, after which they go back.
///
/// A receipt proves what the log's operator has said for good, and not that it is true: the client chooses a log that
/// it trusts, or a provider with a stake or a name to lose. One receipt is paid once to a provider.
contract Escrow is Brake, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// The shortest and the longest time that a provider may be given.
    uint64 public constant ORDER_TIME_MIN = 1 hours;
    uint64 public constant ORDER_TIME_MAX = 365 days;
    /// How long a provider has at least after a pause that fell into its time.
    uint64 public constant PAUSE_GRACE = 1 days;

    /// What is ordered, and which receipt proves that it was done.
    struct Terms {
        /// Who is paid.
        address provider;
        /// What it is paid, in the token's smallest unit.
        uint128 amount;
        /// Until when it may claim, in seconds since the Unix epoch.
        uint64 deadline;
        /// Where the log is anchored, by whom, and the log's id.
        ReceiptLog log;
        address anchorer;
        bytes32 logId;
        /// SHA-256 of the step's arguments, as the receipt must have it.
        bytes32 promptHash;
        /// The model that must have done it; zero: any, or none.
        bytes32 modelHash;
    }

    /// An order that is neither paid nor refunded.
    struct Order {
        Terms terms;
        address client;
        uint64 openedAt;
        /// The log's anchored size when the order was opened: older receipts do not count.
        uint64 indexMin;
    }

    /// The token that is paid with. It must take no fee of a transfer and change no balance by itself.
    IERC20 public immutable token;
    /// How many orders there ever were; the last one has this number.
    uint256 public lastOrder;
    /// All that is held for all open orders.
    uint256 public total;

    mapping(uint256 id => Order) private orders;
    mapping(bytes32 claim => bool) private claimed;

    event Opened(uint256 indexed id, address indexed client, address indexed provider, Terms terms, uint64 indexMin);
    event Paid(uint256 indexed id, address indexed provider, uint128 amount, bytes32 indexed leafHash);
    event Refunded(uint256 indexed id, address indexed client, uint128 amount);

    /// There is no such order, or it was paid or refunded.
    error NotOpen(uint256 id);
    /// The caller may not do this.
    error NotAllowed(address caller);
    /// Nobody would be paid, or nothing.
    error TermsEmpty();
    /// The deadline is too near or too far.
    error DeadlineOutOfRange(uint64 deadline);
    /// It is too late to claim.
    error DeadlineOver(uint64 deadline);
    /// It is too early for a refund.
    error DeadlineNotOver(uint64 deadline);
    /// The receipt is about something else than what was ordered.
    error OtherWork(bytes32 promptHash, bytes32 modelHash);
    /// The receipt is older than the order.
    error ReceiptTooOld(uint64 index, uint64 indexMin);
    /// The provider was paid for this receipt.
    error AlreadyClaimed(bytes32 leafHash);
    /// The receipt is not in the log's newest anchored tree.
    error NotAnchored(bytes32 leafHash);
    /// The token moved another amount than it was told to.
    error TokenUnsuited(uint256 expected, uint256 received);

    constructor(IERC20 token_, address owner_) Brake(owner_) {
        token = token_;
    }

    /// Orders something and puts its price into escrow.
    function open(Terms calldata terms) external nonReentrant whenNotPaused returns (uint256 id) {
        if (terms.provider == address(0) || terms.amount == 0) revert TermsEmpty();
        uint256 time = block.timestamp;
        if (terms.deadline < time + ORDER_TIME_MIN || terms.deadline > time + ORDER_TIME_MAX) {
            revert DeadlineOutOfRange(terms.deadline);
        }
        id = ++lastOrder;
        total += terms.amount;
        // The root is of no use here.
        // slither-disable-next-line unused-return
        (uint64 indexMin,) = terms.log.headOf(terms.anchorer, terms.logId);
        orders[id] = Order({terms: terms, client: msg.sender, openedAt: uint64(time), indexMin: indexMin});
        emit Opened(id, msg.sender, terms.provider, terms, indexMin);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), terms.amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != terms.amount) revert TokenUnsuited(terms.amount, received);
    }

    /// Pays the provider, who calls, against the receipt with these bytes as number `index` of the log's newest
    /// anchored tree. Only the provider may claim: else anyone could spend its receipt on an order of a farthing.
    function claim(uint256 id, bytes calldata leaf, uint64 index, bytes32[] calldata path)
        external
        nonReentrant
        whenNotPaused
    {
        Order storage order = existing(id);
        if (msg.sender != order.terms.provider) revert NotAllowed(msg.sender);
        uint64 deadline = deadlineOf(id);
        if (block.timestamp > deadline) revert DeadlineOver(deadline);
        bytes32 leafHash = prove(order, leaf, index, path);
        uint128 amount = close(id, order);
        emit Paid(id, msg.sender, amount, leafHash);
        token.safeTransfer(msg.sender, amount);
    }

    /// Gives the client its tokens back after the deadline. Anyone may call.
    function refund(uint256 id) external nonReentrant whenNotPaused {
        Order storage order = existing(id);
        uint64 deadline = deadlineOf(id);
        if (block.timestamp <= deadline) revert DeadlineNotOver(deadline);
        giveBack(id, order);
    }

    /// The provider gives the order up; the client has its tokens back at once.
    function decline(uint256 id) external nonReentrant whenNotPaused {
        Order storage order = existing(id);
        if (msg.sender != order.terms.provider) revert NotAllowed(msg.sender);
        giveBack(id, order);
    }

    /// An open order.
    function orderOf(uint256 id) external view returns (Order memory) {
        return existing(id);
    }

    /// Until when an open order may be claimed: its deadline, or later when a pause fell into its time.
    function deadlineOf(uint256 id) public view returns (uint64) {
        Order storage order = existing(id);
        uint64 deadline = order.terms.deadline;
        if (order.openedAt > pauseStart || pauseStart > deadline) return deadline;
        uint64 extended = pauseEnd + PAUSE_GRACE;
        return extended > deadline ? extended : deadline;
    }

    /// Checks a receipt against an order and marks it as used.
    function prove(Order storage order, bytes calldata leaf, uint64 index, bytes32[] calldata path)
        private
        returns (bytes32 leafHash)
    {
        Receipt.Fields memory fields = Receipt.read(leaf);
        bool isOtherModel = order.terms.modelHash != 0 && order.terms.modelHash != fields.modelHash;
        if (fields.promptHash != order.terms.promptHash || isOtherModel) {
            revert OtherWork(fields.promptHash, fields.modelHash);
        }
        if (index < order.indexMin) revert ReceiptTooOld(index, order.indexMin);
        leafHash = Inclusion.hashLeaf(leaf);
        Terms storage terms = order.terms;
        bytes32 claim_ = keccak256(abi.encode(terms.provider, terms.log, terms.anchorer, terms.logId, leafHash));
        if (claimed[claim_]) revert AlreadyClaimed(leafHash);
        claimed[claim_] = true;
        if (!terms.log.verify(terms.anchorer, terms.logId, leafHash, index, path)) revert NotAnchored(leafHash);
    }

    function giveBack(uint256 id, Order storage order) private {
        address client = order.client;
        uint128 amount = close(id, order);
        emit Refunded(id, client, amount);
        token.safeTransfer(client, amount);
    }

    function close(uint256 id, Order storage order) private returns (uint128 amount) {
        amount = order.terms.amount;
        total -= amount;
        delete orders[id];
    }

    function existing(uint256 id) private view returns (Order storage order) {
        order = orders[id];
        if (order.client == address(0)) revert NotOpen(id);
    }
}
