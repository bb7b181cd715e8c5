// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {MultiOwner} from "../src/MultiOwner.sol";
import {Test} from "./Test.sol";

/// What the owners own here: a number that only they may raise.
contract Owned {
    address private immutable owner;
    uint256 public number;

    error Never();

    constructor(address owner_) {
        owner = owner_;
    }

    function raise() external {
        require(msg.sender == owner);
        number++;
    }

    function fail() external pure {
        revert Never();
    }
}

contract MultiOwnerTest is Test {
    address[] private people;
    MultiOwner private owners;
    Owned private owned;
    bytes private raise = abi.encodeCall(Owned.raise, ());

    function setUp() public {
        people = [address(0xa), address(0xb), address(0xc)];
        owners = new MultiOwner(people, 2);
        owned = new Owned(address(owners));
    }

    function test_two_of_three_make_a_call_once() public {
        bytes32 id = confirm(0, raise);
        refuseExecution(abi.encodeWithSelector(MultiOwner.TooFewConfirmations.selector, id, 1, 2), raise);
        confirm(0, raise);
        refuseExecution(abi.encodeWithSelector(MultiOwner.TooFewConfirmations.selector, id, 1, 2), raise);
        confirm(1, raise);
        execute(2, raise);
        vm.assertEq(owned.number(), 1);
        refuseExecution(abi.encodeWithSelector(MultiOwner.AlreadyExecuted.selector, id), raise);
        (, bool isExecuted, uint256 confirmations) = owners.proposalOf(id);
        vm.assertTrue(isExecuted);
        vm.assertEq(confirmations, 2);
    }

    function test_a_confirmation_can_be_taken_back() public {
        bytes32 id = confirm(0, raise);
        confirm(1, raise);
        vm.prank(people[0]);
        owners.withdraw(id);
        refuseExecution(abi.encodeWithSelector(MultiOwner.TooFewConfirmations.selector, id, 1, 2), raise);
    }

    function test_a_proposal_lapses() public {
        bytes32 id = confirm(0, raise);
        confirm(1, raise);
        (uint64 expiresAt,,) = owners.proposalOf(id);
        vm.warp(expiresAt + 1);
        refuseExecution(abi.encodeWithSelector(MultiOwner.Expired.selector, id, expiresAt), raise);
    }

    function test_a_call_that_fails_says_why_and_can_be_tried_again() public {
        bytes memory fail = abi.encodeCall(Owned.fail, ());
        bytes32 id = confirm(0, fail);
        confirm(1, fail);
        refuseExecution(abi.encodeWithSelector(Owned.Never.selector), fail);
        (, bool isExecuted,) = owners.proposalOf(id);
        vm.assertFalse(isExecuted);
    }

    function test_what_nobody_proposed_is_not_made() public {
        bytes32 id = owners.idOf(address(owned), raise, 0);
        refuseExecution(abi.encodeWithSelector(MultiOwner.NoProposal.selector, id), raise);
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.NoProposal.selector, id));
        owners.withdraw(id);
    }

    function test_new_owners_take_over_and_old_confirmations_are_void() public {
        confirm(0, raise);
        confirm(1, raise);
        address[] memory next = new address[](2);
        (next[0], next[1]) = (people[2], address(0xd));
        bytes memory change = abi.encodeCall(MultiOwner.changeOwners, (next, 2));
        confirmCall(0, address(owners), change);
        confirmCall(1, address(owners), change);
        vm.prank(people[0]);
        owners.execute(address(owners), change, 0);
        vm.assertEq(owners.allOwners().length, 2);
        bytes32 id = owners.idOf(address(owned), raise, 0);
        refuseExecution(abi.encodeWithSelector(MultiOwner.NoProposal.selector, id), raise);
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.NotAllowed.selector, people[0]));
        owners.confirm(address(owned), raise, 0);
        confirm(2, raise);
        vm.prank(next[1]);
        owners.confirm(address(owned), raise, 0);
        execute(2, raise);
        vm.assertEq(owned.number(), 1);
    }

    function test_only_the_owners_themselves_change_the_owners() public {
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.NotAllowed.selector, people[0]));
        owners.changeOwners(people, 1);
    }

    function test_owners_that_make_no_sense_are_refused() public {
        address[] memory none = new address[](0);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.OwnerCount.selector, 0));
        new MultiOwner(none, 1);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.OwnerCount.selector, 33));
        new MultiOwner(new address[](33), 1);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.ThresholdOutOfRange.selector, 0, 3));
        new MultiOwner(people, 0);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.ThresholdOutOfRange.selector, 4, 3));
        new MultiOwner(people, 4);
        people[2] = people[0];
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.OwnerRefused.selector, people[0]));
        new MultiOwner(people, 2);
        people[2] = address(0);
        vm.expectRevert(abi.encodeWithSelector(MultiOwner.OwnerRefused.selector, address(0)));
        new MultiOwner(people, 2);
    }

    function testFuzz_a_stranger_does_nothing(address stranger, uint256 salt) public {
        vm.assume(stranger != people[0] && stranger != people[1] && stranger != people[2]);
        bytes memory refused = abi.encodeWithSelector(MultiOwner.NotAllowed.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(refused);
        owners.confirm(address(owned), raise, salt);
        vm.expectRevert(refused);
        owners.execute(address(owned), raise, salt);
        vm.expectRevert(refused);
        owners.withdraw(bytes32(salt));
        vm.stopPrank();
    }

    /// Whoever of up to 32 owners confirms, in whatever order and how often: the call is made exactly when enough
    /// different ones have.
    function testFuzz_a_call_needs_as_many_owners_as_the_threshold(uint8 count, uint8 needed, uint32 who) public {
        uint256 size = bound(count, 1, 32);
        uint256 threshold = bound(needed, 1, size);
        address[] memory many = new address[](size);
        for (uint256 i = 0; i < size; i++) {
            many[i] = address(uint160(0x1000 + i));
        }
        MultiOwner group = new MultiOwner(many, threshold);
        Owned target = new Owned(address(group));
        uint256 confirmations = 0;
        for (uint256 i = 0; i < size; i++) {
            if ((who >> i) & 1 == 0) continue;
            confirmations++;
            vm.prank(many[i]);
            group.confirm(address(target), raise, 0);
        }
        vm.prank(many[0]);
        try group.execute(address(target), raise, 0) {
            vm.assertTrue(confirmations >= threshold);
        } catch {
            vm.assertTrue(confirmations < threshold);
        }
        vm.assertEq(target.number(), confirmations >= threshold ? 1 : 0);
    }

    function confirm(uint256 who, bytes memory data) private returns (bytes32) {
        return confirmCall(who, address(owned), data);
    }

    function confirmCall(uint256 who, address target, bytes memory data) private returns (bytes32) {
        vm.prank(people[who]);
        return owners.confirm(target, data, 0);
    }

    function execute(uint256 who, bytes memory data) private {
        vm.prank(people[who]);
        owners.execute(address(owned), data, 0);
    }

    function refuseExecution(bytes memory reason, bytes memory data) private {
        vm.prank(people[2]);
        vm.expectRevert(reason);
        owners.execute(address(owned), data, 0);
    }
}
