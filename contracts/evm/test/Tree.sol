// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// A receipt log in a test: leaves of canonical bytes, roots and paths by the recursive definitions of RFC 9162,
/// sections 2.1.1 and 2.1.3.1, which the contract's own loop is checked against.
library Tree {
    /// A receipt about this prompt. The hold tells receipts apart.
    function receipt(bytes32 promptHash, uint128 hold) internal pure returns (bytes memory) {
        bytes memory names = abi.encodePacked(hex"01", uint16(4), "acme", uint16(7), "agent-1");
        bytes memory place = abi.encodePacked(bytes16(0), uint64(1), uint32(1), uint32(1), bytes16(hold));
        bytes memory step = abi.encodePacked(uint16(4), "http", hex"00", promptHash, keccak256("the result"));
        return abi.encodePacked(names, place, step, uint64(1), uint64(2), uint64(3), uint64(4), uint64(5));
    }

    function hashOf(bytes memory leaf) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), leaf));
    }

    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        return root(leaves, 0, leaves.length);
    }

    function path(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory siblings) {
        bytes32[] memory found = new bytes32[](64);
        uint256 length = path(leaves, index, 0, leaves.length, found);
        siblings = new bytes32[](length);
        for (uint256 i = 0; i < length; i++) {
            siblings[i] = found[i];
        }
    }

    function root(bytes32[] memory leaves, uint256 start, uint256 end) private pure returns (bytes32) {
        if (end == start) return sha256("");
        if (end - start == 1) return leaves[start];
        uint256 split = start + splitOf(end - start);
        return sha256(abi.encodePacked(bytes1(0x01), root(leaves, start, split), root(leaves, split, end)));
    }

    function path(bytes32[] memory leaves, uint256 index, uint256 start, uint256 end, bytes32[] memory found)
        private
        pure
        returns (uint256 length)
    {
        if (end - start == 1) return 0;
        uint256 split = start + splitOf(end - start);
        if (index < split) {
            length = path(leaves, index, start, split, found);
            found[length] = root(leaves, split, end);
        } else {
            length = path(leaves, index, split, end, found);
            found[length] = root(leaves, start, split);
        }
        return length + 1;
    }

    /// The largest power of two below `count`.
    function splitOf(uint256 count) private pure returns (uint256 split) {
        split = 1;
        while (split * 2 < count) {
            split *= 2;
        }
    }
}
