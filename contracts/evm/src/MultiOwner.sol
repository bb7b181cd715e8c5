// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";

/// An owner that is several people: a call is made when `threshold` of them have confirmed it. Holds no coins.
///
/// What is confirmed is the call itself, not a number that a reorganisation could give to another call. A change of
/// the owners makes every confirmation before it worthless, and one that nobody acted on lapses.
contract MultiOwner {
    /// The most owners: one bit of a confirmation each.
    uint256 public constant OWNERS_MAX = 32;
    /// How long a call may wait for confirmations and for being made.
    uint64 public constant PROPOSAL_TIME_MAX = 14 days;

    struct Proposal {
        uint64 expiresAt;
        bool isExecuted;
        uint32 confirmedBy;
    }

    /// How many owners must confirm.
    uint256 public threshold;
    /// How often the owners changed.
    uint256 public epoch;

    address[] private owners;
    /// Which bit is an owner's, counted from 1; 0: no owner.
    mapping(address owner => uint256) private seatOf;
    mapping(bytes32 id => Proposal) private proposals;

    event OwnersChanged(uint256 indexed epoch, address[] owners, uint256 threshold);
    event Proposed(bytes32 indexed id, address indexed target, bytes data, uint256 salt);
    event Confirmed(bytes32 indexed id, address indexed owner);
    event Withdrawn(bytes32 indexed id, address indexed owner);
    event Executed(bytes32 indexed id);

    /// The caller may not do this.
    error NotAllowed(address caller);
    /// There must be an owner at least, and no more than `OWNERS_MAX`.
    error OwnerCount(uint256 count);
    /// The threshold must be one at least, and no more than there are owners.
    error ThresholdOutOfRange(uint256 threshold, uint256 owners);
    /// Nobody can be an owner twice, nor address zero one.
    error OwnerRefused(address owner);
    /// Nobody has proposed this call.
    error NoProposal(bytes32 id);
    /// The call was made already.
    error AlreadyExecuted(bytes32 id);
    /// It is too late for this call: propose it with another salt.
    error Expired(bytes32 id, uint64 expiresAt);
    /// Too few owners have confirmed.
    error TooFewConfirmations(bytes32 id, uint256 confirmations, uint256 threshold);

    modifier onlyOwners() {
        if (seatOf[msg.sender] == 0) revert NotAllowed(msg.sender);
        _;
    }

    constructor(address[] memory owners_, uint256 threshold_) {
        setOwners(owners_, threshold_);
    }

    /// Confirms a call of `target` with `data`. The first confirmation proposes it. The salt tells equal calls apart.
    function confirm(address target, bytes calldata data, uint256 salt) external onlyOwners returns (bytes32 id) {
        id = idOf(target, data, salt);
        Proposal storage proposal = proposals[id];
        if (proposal.expiresAt == 0) {
            proposal.expiresAt = uint64(block.timestamp) + PROPOSAL_TIME_MAX;
            emit Proposed(id, target, data, salt);
        }
        requireOpen(id, proposal);
        proposal.confirmedBy |= bitOf(msg.sender);
        emit Confirmed(id, msg.sender);
    }

    /// Takes the caller's confirmation back.
    function withdraw(bytes32 id) external onlyOwners {
        Proposal storage proposal = proposals[id];
        requireOpen(id, proposal);
        proposal.confirmedBy &= ~bitOf(msg.sender);
        emit Withdrawn(id, msg.sender);
    }

    /// Makes a confirmed call, once. When the call fails, so does this, and it may be tried again.
    function execute(address target, bytes calldata data, uint256 salt) external onlyOwners returns (bytes memory) {
        bytes32 id = idOf(target, data, salt);
        Proposal storage proposal = proposals[id];
        requireOpen(id, proposal);
        uint256 confirmations = count(proposal.confirmedBy);
        if (confirmations < threshold) revert TooFewConfirmations(id, confirmations, threshold);
        proposal.isExecuted = true;
        emit Executed(id);
        return Address.functionCall(target, data);
    }

    /// Replaces the owners: itself a call that the owners confirm.
    function changeOwners(address[] calldata owners_, uint256 threshold_) external {
        if (msg.sender != address(this)) revert NotAllowed(msg.sender);
        address[] memory before = owners;
        for (uint256 i = 0; i < before.length; i++) {
            // At most OWNERS_MAX of them.
            // slither-disable-next-line costly-loop
            delete seatOf[before[i]];
        }
        epoch++;
        setOwners(owners_, threshold_);
    }

    /// The owners.
    function allOwners() external view returns (address[] memory) {
        return owners;
    }

    /// How a proposal stands. `confirmations` counts owners.
    function proposalOf(bytes32 id) external view returns (uint64 expiresAt, bool isExecuted, uint256 confirmations) {
        Proposal storage proposal = proposals[id];
        return (proposal.expiresAt, proposal.isExecuted, count(proposal.confirmedBy));
    }

    /// The name of a call, among these owners.
    function idOf(address target, bytes calldata data, uint256 salt) public view returns (bytes32) {
        return keccak256(abi.encode(epoch, target, data, salt));
    }

    function setOwners(address[] memory owners_, uint256 threshold_) private {
        if (owners_.length == 0 || owners_.length > OWNERS_MAX) revert OwnerCount(owners_.length);
        if (threshold_ == 0 || threshold_ > owners_.length) revert ThresholdOutOfRange(threshold_, owners_.length);
        for (uint256 i = 0; i < owners_.length; i++) {
            address owner = owners_[i];
            if (owner == address(0) || seatOf[owner] != 0) revert OwnerRefused(owner);
            seatOf[owner] = i + 1;
        }
        owners = owners_;
        threshold = threshold_;
        emit OwnersChanged(epoch, owners_, threshold_);
    }

    function requireOpen(bytes32 id, Proposal storage proposal) private view {
        if (proposal.expiresAt == 0) revert NoProposal(id);
        if (proposal.isExecuted) revert AlreadyExecuted(id);
        if (block.timestamp > proposal.expiresAt) revert Expired(id, proposal.expiresAt);
    }

    function bitOf(address owner) private view returns (uint32) {
        return uint32(1 << (seatOf[owner] - 1));
    }

    function count(uint32 bits) private pure returns (uint256 ones) {
        for (; bits != 0; bits &= bits - 1) {
            ones++;
        }
    }
}
