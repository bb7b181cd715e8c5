// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Inclusion} from "../src/Inclusion.sol";
import {Receipt} from "../src/Receipt.sol";
import {Tree} from "./Tree.sol";
import {Vectors} from "./Vectors.sol";

contract ReceiptTest is Vectors {
    function test_every_vector_is_read_as_it_says() public view {
        for (uint64 index = 0; index < LEAVES; index++) {
            this.compare(index, leaf(index));
        }
    }

    function compare(uint64 index, bytes calldata bytes_) external view {
        Receipt.Fields memory fields = Receipt.read(bytes_);
        vm.assertEq(Inclusion.hashLeaf(bytes_), leafHash(index));
        vm.assertEq(fields.promptHash, leafField(index, "prompt_hash"));
        vm.assertEq(fields.responseHash, leafField(index, "response_hash"));
        vm.assertEq(fields.modelHash, hasModel(index) ? leafField(index, "model.hash") : bytes32(0));
        vm.assertEq(fields.price, leafNumber(index, "price"));
        vm.assertEq(fields.time, leafNumber(index, "time"));
    }

    function test_bytes_of_another_shape_are_refused() public {
        vm.expectRevert(Receipt.NotAReceipt.selector);
        this.read("");
        string[3] memory wrong = ["version 2", "cut short", "one byte more"];
        for (uint256 i = 0; i < wrong.length; i++) {
            bytes memory bytes_ = notALeaf(wrong[i]);
            vm.expectRevert(Receipt.NotAReceipt.selector);
            this.read(bytes_);
        }
    }

    function testFuzz_no_bytes_do_more_than_be_refused(bytes calldata bytes_) public view {
        try this.read(bytes_) returns (Receipt.Fields memory) {}
        catch (bytes memory reason) {
            vm.assertEq(reason, abi.encodePacked(Receipt.NotAReceipt.selector));
        }
    }

    function testFuzz_a_receipt_that_is_cut_or_grown_is_refused(uint256 length, bytes32 promptHash) public {
        bytes memory whole = Tree.receipt(promptHash, 1);
        vm.assertEq(this.read(whole).promptHash, promptHash);
        length = bound(length, 0, whole.length + 8);
        vm.assume(length != whole.length);
        bytes memory other = new bytes(length);
        for (uint256 i = 0; i < length && i < whole.length; i++) {
            other[i] = whole[i];
        }
        vm.expectRevert(Receipt.NotAReceipt.selector);
        this.read(other);
    }

    function read(bytes calldata bytes_) external pure returns (Receipt.Fields memory) {
        return Receipt.read(bytes_);
    }
}
