// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Inclusion} from "./Inclusion.sol";

/// Anchors the roots of receipt logs (RFC 9162 trees with SHA-256) and verifies inclusion proofs against them.
///
/// A log is named by the account that anchors it and by its id, the SHA-256 of its origin. Its size never shrinks, and
/// a size never has two roots. Whoever calls writes under their own name only, so that there is nothing to permit: no
/// owner, no upgrade, no pause, no way to take an anchor back. A new key begins anew under its own name.
contract ReceiptLog {
    /// A log's newest anchored state in one storage slot, which is what makes an anchor cheap: writing a second slot
    /// would cost 5,000 gas more. So the root is kept as its first 27 bytes, and in full in the event.
    ///
    /// To pass a leaf off as anchored that is in no tree takes a second preimage of 216 bits. Two trees with one
    /// prefix take 2^108 steps, and only the log's operator has a use for them, who may put any leaf into the log
    /// anyway and whose full roots are in the events for all to see.
    struct Head {
        uint40 treeSize;
        bytes27 rootPrefix;
    }

    mapping(address anchorer => mapping(bytes32 logId => Head)) private heads;

    event Anchored(address indexed anchorer, bytes32 indexed logId, uint64 treeSize, bytes32 root);

    /// The log is larger already.
    error TreeShrunk(uint64 anchoredSize, uint64 treeSize);
    /// The log has another root at this size.
    error RootConflict(uint64 treeSize, bytes27 anchoredPrefix, bytes32 root);
    /// A tree without leaves has nothing to anchor.
    error TreeEmpty();
    /// More leaves than a head can count.
    error TreeTooLarge(uint64 treeSize);

    /// Puts the size and root of a log of the caller's on the chain. Anchoring the head again changes nothing and
    /// emits nothing, so that a transaction sent twice does no harm.
    function anchor(bytes32 logId, uint64 treeSize, bytes32 root) external {
        Head storage slot = heads[msg.sender][logId];
        Head memory head = slot;
        if (treeSize <= head.treeSize) {
            if (treeSize == 0) revert TreeEmpty();
            if (treeSize < head.treeSize) revert TreeShrunk(head.treeSize, treeSize);
            if (bytes27(root) != head.rootPrefix) revert RootConflict(treeSize, head.rootPrefix, root);
            return;
        }
        if (treeSize > type(uint40).max) revert TreeTooLarge(treeSize);
        slot.treeSize = uint40(treeSize);
        slot.rootPrefix = bytes27(root);
        emit Anchored(msg.sender, logId, treeSize, root);
    }

    /// A log's newest anchored size and the first 27 bytes of its root; zeros when there is none.
    function headOf(address anchorer, bytes32 logId) external view returns (uint64 treeSize, bytes27 rootPrefix) {
        Head memory head = heads[anchorer][logId];
        return (head.treeSize, head.rootPrefix);
    }

    /// Whether the leaf with this hash is number `index` in the log's newest anchored tree.
    function verify(address anchorer, bytes32 logId, bytes32 leafHash, uint64 index, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        Head memory head = heads[anchorer][logId];
        (bool fits, bytes32 root) = Inclusion.rootOf(leafHash, index, head.treeSize, path);
        return fits && bytes27(root) == head.rootPrefix;
    }

    /// Whether the leaf with this hash is number `index` in the tree of this size and root.
    function verifyAt(bytes32 root, uint64 treeSize, bytes32 leafHash, uint64 index, bytes32[] calldata path)
        external
        pure
        returns (bool)
    {
        (bool fits, bytes32 found) = Inclusion.rootOf(leafHash, index, treeSize, path);
        return fits && found == root;
    }
}
