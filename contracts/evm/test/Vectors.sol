// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Test} from "./Test.sol";

/// The test vectors that every verifier of receipts reads, on any chain or off it: contracts/receipts/vectors.
abstract contract Vectors is Test {
    /// How many leaves the tree of the vectors has.
    uint64 internal constant LEAVES = 17;

    struct TreePath {
        uint64 index;
        uint64 size;
        bytes32[] path;
    }

    function logId() internal view returns (bytes32) {
        return vm.parseJsonBytes32(notes(), ".log_id");
    }

    /// The bytes that anchor the tree on any chain.
    function anchorBytes() internal view returns (bytes memory) {
        return vm.parseJsonBytes(notes(), ".anchor");
    }

    /// What a storage slot keeps of them.
    function headSlot() internal view returns (bytes32) {
        return vm.parseJsonBytes32(notes(), ".evm_head");
    }

    function root(uint64 size) internal view returns (bytes32) {
        return vm.parseJsonBytes32(tree(), string.concat(".roots[", vm.toString(size), "]"));
    }

    function leafHash(uint64 index) internal view returns (bytes32) {
        return vm.parseJsonBytes32(tree(), string.concat(".leaf_hashes[", vm.toString(index), "]"));
    }

    function leaf(uint64 index) internal view returns (bytes memory) {
        return vm.parseJsonBytes(leaves(), string.concat(".valid[", vm.toString(index), "].bytes"));
    }

    function leafField(uint64 index, string memory field) internal view returns (bytes32) {
        return vm.parseJsonBytes32(leaves(), string.concat(".valid[", vm.toString(index), "].leaf.", field));
    }

    function hasModel(uint64 index) internal view returns (bool) {
        return vm.keyExistsJson(leaves(), string.concat(".valid[", vm.toString(index), "].leaf.model.hash"));
    }

    function leafNumber(uint64 index, string memory field) internal view returns (uint256) {
        return vm.parseJsonUint(leaves(), string.concat(".valid[", vm.toString(index), "].leaf.", field));
    }

    /// Bytes that are no leaf, by what is wrong with them.
    function notALeaf(string memory what) internal view returns (bytes memory) {
        return vm.parseJsonBytes(leaves(), string.concat(".invalid['", what, "']"));
    }

    /// The path of a leaf in the tree of this size. The vectors list sizes in order and indices in order.
    function inclusion(uint64 index, uint64 size) internal view returns (TreePath memory proof) {
        uint256 place = uint256(size) * (size - 1) / 2 + index;
        string memory key = string.concat(".inclusion[", vm.toString(place), "]");
        proof.index = uint64(vm.parseJsonUint(tree(), string.concat(key, ".index")));
        proof.size = uint64(vm.parseJsonUint(tree(), string.concat(key, ".size")));
        proof.path = vm.parseJsonBytes32Array(tree(), string.concat(key, ".path"));
        vm.assertEq(proof.index, index);
        vm.assertEq(proof.size, size);
    }

    function tree() private view returns (string memory) {
        return vm.readFile("../receipts/vectors/tree.json");
    }

    function leaves() private view returns (string memory) {
        return vm.readFile("../receipts/vectors/leaves.json");
    }

    function notes() private view returns (string memory) {
        return vm.readFile("../receipts/vectors/notes.json");
    }
}
