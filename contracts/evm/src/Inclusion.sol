// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// Inclusion proofs of RFC 9162 with SHA-256. Knows trees only; which root is to be trusted is the caller's to say.
library Inclusion {
    /// The longest path that a tree can need, since its size has 64 bits.
    uint256 internal constant PATH_LENGTH_MAX = 64;

    /// The hash of a leaf with these bytes: RFC 9162, section 2.1.1.
    function hashLeaf(bytes calldata leaf) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), leaf));
    }

    /// Whether the leaf with this hash is number `index` in the tree of this size, and the tree's root: RFC 9162,
    /// section 2.1.3.2. The root means nothing where `fits` is false.
    function rootOf(bytes32 leafHash, uint64 index, uint64 treeSize, bytes32[] calldata path)
        internal
        pure
        returns (bool fits, bytes32 root)
    {
        if (index >= treeSize || path.length > PATH_LENGTH_MAX) return (false, 0);
        uint64 node = index;
        uint64 last = treeSize - 1;
        root = leafHash;
        for (uint256 i = 0; i < path.length; i++) {
            if (last == 0) return (false, 0);
            if (node & 1 == 1 || node == last) {
                root = hashChildren(path[i], root);
                while (node & 1 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                root = hashChildren(root, path[i]);
            }
            node >>= 1;
            last >>= 1;
        }
        return (last == 0, root);
    }

    function hashChildren(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
