// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ReceiptLog} from "../src/ReceiptLog.sol";
import {Vectors} from "./Vectors.sol";

contract ReceiptLogTest is Vectors {
    ReceiptLog private log = new ReceiptLog();

    function test_every_vector_is_proved_against_the_anchored_head() public {
        for (uint64 size = 1; size <= LEAVES; size++) {
            log.anchor(logId(), size, root(size));
            // A call of its own for each, since the vectors that it reads would fill the memory.
            for (uint64 index = 0; index < size; index++) {
                this.prove(index, size);
            }
        }
    }

    function prove(uint64 index, uint64 size) external view {
        TreePath memory proof = inclusion(index, size);
        vm.assertTrue(log.verify(address(this), logId(), leafHash(index), index, proof.path));
        vm.assertTrue(log.verifyAt(root(size), size, leafHash(index), index, proof.path));
    }

    function test_a_head_is_one_slot_with_the_roots_prefix_and_the_size() public {
        log.anchor(logId(), LEAVES, root(LEAVES));
        bytes32 drawer = keccak256(abi.encode(address(this), uint256(0)));
        bytes32 slot = vm.load(address(log), keccak256(abi.encode(logId(), drawer)));
        vm.assertEq(slot, headSlot());
        (uint64 size, bytes27 prefix) = log.headOf(address(this), logId());
        vm.assertEq(size, LEAVES);
        vm.assertEq(bytes32(prefix), bytes32(bytes27(root(LEAVES))));
    }

    function test_an_anchor_is_the_bytes_that_every_chain_takes() public view {
        vm.assertEq(abi.encodePacked(logId(), LEAVES, root(LEAVES)), anchorBytes());
    }

    function test_an_anchor_says_who_what_and_the_whole_root() public {
        vm.expectEmit(address(log));
        emit ReceiptLog.Anchored(address(this), logId(), 1, root(1));
        log.anchor(logId(), 1, root(1));
    }

    function test_the_same_anchor_again_changes_and_says_nothing() public {
        log.anchor(logId(), 5, root(5));
        vm.recordLogs();
        log.anchor(logId(), 5, root(5));
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_what_cannot_be_a_tree_is_refused() public {
        vm.expectRevert(ReceiptLog.TreeEmpty.selector);
        log.anchor(logId(), 0, root(0));
        uint64 tooMany = uint64(type(uint40).max) + 1;
        vm.expectRevert(abi.encodeWithSelector(ReceiptLog.TreeTooLarge.selector, tooMany));
        log.anchor(logId(), tooMany, root(1));
        log.anchor(logId(), tooMany - 1, root(1));
    }

    function test_a_log_without_an_anchor_proves_nothing() public view {
        bytes32[] memory none = new bytes32[](0);
        vm.assertFalse(log.verify(address(this), logId(), bytes32(0), 0, none));
        vm.assertFalse(log.verifyAt(bytes32(0), 0, bytes32(0), 0, none));
    }

    function testFuzz_a_log_never_shrinks_nor_has_two_roots(uint64 size, bytes32 first, uint64 other, bytes32 second)
        public
    {
        size = uint64(bound(size, 1, type(uint40).max));
        log.anchor(logId(), size, first);
        if (other == 0) {
            vm.expectRevert(ReceiptLog.TreeEmpty.selector);
        } else if (other < size) {
            vm.expectRevert(abi.encodeWithSelector(ReceiptLog.TreeShrunk.selector, size, other));
        } else if (other > type(uint40).max) {
            vm.expectRevert(abi.encodeWithSelector(ReceiptLog.TreeTooLarge.selector, other));
        } else if (other == size && bytes27(first) != bytes27(second)) {
            vm.expectRevert(abi.encodeWithSelector(ReceiptLog.RootConflict.selector, size, bytes27(first), second));
        }
        log.anchor(logId(), other, second);
    }

    function testFuzz_a_stranger_writes_under_their_own_name(address stranger, uint40 size, bytes32 wrong) public {
        vm.assume(stranger != address(this) && size != 0);
        log.anchor(logId(), LEAVES, root(LEAVES));
        vm.prank(stranger);
        log.anchor(logId(), size, wrong);
        (uint64 ours, bytes27 prefix) = log.headOf(address(this), logId());
        vm.assertEq(ours, LEAVES);
        vm.assertEq(bytes32(prefix), bytes32(bytes27(root(LEAVES))));
    }

    function testFuzz_a_changed_proof_fails(uint64 size, uint64 index, uint8 change, bytes32 junk, uint64 far) public {
        size = uint64(bound(size, 1, LEAVES));
        index = uint64(bound(index, 0, size - 1));
        log.anchor(logId(), size, root(size));
        TreePath memory proof = inclusion(index, size);
        bytes32 hash = leafHash(index);
        bytes32[] memory path = proof.path;
        if (change % 5 == 0) {
            vm.assume(junk != hash);
            hash = junk;
        } else if (change % 5 == 1) {
            vm.assume(far != index);
            index = far;
        } else if (change % 5 == 2) {
            path = resized(path, path.length + 1, junk);
        } else {
            vm.assume(path.length > 0);
            if (change % 5 == 3) {
                path = resized(path, path.length - 1, junk);
            } else {
                uint256 place = far % path.length;
                vm.assume(junk != path[place]);
                path[place] = junk;
            }
        }
        vm.assertFalse(log.verify(address(this), logId(), hash, index, path));
        vm.assertFalse(log.verifyAt(root(size), size, hash, index, path));
    }

    function testFuzz_a_path_longer_than_any_tree_needs_is_refused_at_once(uint64 size, uint64 index) public view {
        bytes32[] memory path = new bytes32[](65);
        vm.assertFalse(log.verifyAt(bytes32(0), size, bytes32(0), index, path));
    }

    function resized(bytes32[] memory path, uint256 length, bytes32 last)
        private
        pure
        returns (bytes32[] memory other)
    {
        other = new bytes32[](length);
        for (uint256 i = 0; i < length; i++) {
            other[i] = i < path.length ? path[i] : last;
        }
    }
}
