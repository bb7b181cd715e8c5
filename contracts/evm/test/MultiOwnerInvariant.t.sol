// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {MultiOwner} from "../src/MultiOwner.sol";
import {Test} from "./Test.sol";

/// What is owned: it counts the calls that it lets through.
contract Counter {
    address private immutable owner;
    uint256 public calls;

    constructor(address owner_) {
        owner = owner_;
    }

    function raise() external {
        require(msg.sender == owner);
        calls++;
    }
}

/// Six people, some of them owners, who confirm, take back, execute and replace themselves in any order; keeps its own
/// books of who confirmed what, and so knows what may be executed.
contract MultiOwnerHandler is Test {
    uint256 private constant PEOPLE = 6;

    address[] private first = [person(0), person(1), person(2)];
    MultiOwner public immutable owners = new MultiOwner(first, 2);
    Counter public immutable counter = new Counter(address(owners));

    /// How many calls were executed: of the counter, and changes of the owners.
    uint256 public raised;
    uint256 public changed;
    /// Whether a call was executed that should not have been, or was not that should.
    bool public broken;

    /// By our own books: who confirmed a call, until when it may be executed, and whether it was.
    mapping(bytes32 id => mapping(address => bool)) private confirmed;
    mapping(bytes32 id => uint256) private expiresAt;
    mapping(bytes32 id => bool) private executed;

    function confirm(uint8 who, uint8 what, uint8 salt) external {
        (address target, bytes memory data) = call(what);
        vm.prank(person(who));
        try owners.confirm(target, data, salt % 2) returns (bytes32 id) {
            if (!isOwner(person(who)) || executed[id]) broken = true;
            if (expiresAt[id] == 0) expiresAt[id] = block.timestamp + owners.PROPOSAL_TIME_MAX();
            confirmed[id][person(who)] = true;
        } catch {}
    }

    function withdraw(uint8 who, uint8 what, uint8 salt) external {
        (address target, bytes memory data) = call(what);
        bytes32 id = owners.idOf(target, data, salt % 2);
        vm.prank(person(who));
        try owners.withdraw(id) {
            if (!isOwner(person(who)) || executed[id]) broken = true;
            confirmed[id][person(who)] = false;
        } catch {}
    }

    function execute(uint8 who, uint8 what, uint8 salt) external {
        (address target, bytes memory data) = call(what);
        bytes32 id = owners.idOf(target, data, salt % 2);
        bool isDue = mayBeExecuted(id, person(who));
        vm.prank(person(who));
        try owners.execute(target, data, salt % 2) {
            if (!isDue) broken = true;
            executed[id] = true;
            if (target == address(counter)) raised++;
            else changed++;
        } catch {
            // The counter takes every call of its owner; a change of the owners may make no sense.
            if (isDue && target == address(counter)) broken = true;
        }
    }

    /// Executing again what was executed is tried at once: what is due once is not due twice.
    function executeTwice(uint8 who, uint8 what, uint8 salt) external {
        this.execute(who, what, salt);
        this.execute(who, what, salt);
    }

    /// Everybody confirms, so that changes of the owners happen often.
    function agree(uint8 what, uint8 salt) external {
        for (uint8 who = 0; who < PEOPLE; who++) {
            this.confirm(who, what, salt);
        }
        for (uint8 who = 0; who < PEOPLE; who++) {
            this.execute(who, what, salt);
        }
    }

    function stranger(uint8 who, uint8 threshold) external {
        vm.prank(person(who));
        try owners.changeOwners(first, threshold) {
            broken = true;
        } catch {}
    }

    function wait(uint24 time) external {
        vm.warp(block.timestamp + time);
    }

    function mayBeExecuted(bytes32 id, address caller) private view returns (bool) {
        address[] memory now_ = owners.allOwners();
        uint256 confirmations = 0;
        for (uint256 i = 0; i < now_.length; i++) {
            if (confirmed[id][now_[i]]) confirmations++;
        }
        bool isOpen = expiresAt[id] != 0 && block.timestamp <= expiresAt[id] && !executed[id];
        return isOpen && isOwner(caller) && confirmations >= owners.threshold();
    }

    function isOwner(address who) private view returns (bool) {
        address[] memory now_ = owners.allOwners();
        for (uint256 i = 0; i < now_.length; i++) {
            if (now_[i] == who) return true;
        }
        return false;
    }

    /// Half of the calls raise the counter; the others make some of the people the owners, with a threshold that may be
    /// nothing or too many.
    function call(uint8 what) private view returns (address target, bytes memory data) {
        if (what % 2 == 0) return (address(counter), abi.encodeCall(Counter.raise, ()));
        uint256 size = (what / 2) % (PEOPLE + 1);
        address[] memory next = new address[](size);
        for (uint256 i = 0; i < size; i++) {
            next[i] = person(what / 16 + i);
        }
        return (address(owners), abi.encodeCall(MultiOwner.changeOwners, (next, (what / 8) % (size + 2))));
    }

    function person(uint256 who) private pure returns (address) {
        return address(uint160(0xa0 + who % PEOPLE));
    }
}

contract MultiOwnerInvariantTest is Test {
    MultiOwnerHandler private handler = new MultiOwnerHandler();

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// That the handler can reach every end; else the invariants would hold for nothing.
    function test_the_handler_executes_and_changes_the_owners() public {
        handler.confirm(0, 0, 0);
        handler.execute(0, 0, 0);
        vm.assertEq(handler.raised(), 0);
        handler.confirm(1, 0, 0);
        handler.executeTwice(0, 0, 0);
        vm.assertEq(handler.raised(), 1);
        // Four owners from the second person on, of whom two must confirm.
        handler.agree(23, 0);
        vm.assertEq(handler.changed(), 1);
        vm.assertEq(handler.owners().allOwners().length, 4);
        vm.assertFalse(handler.broken());
    }

    function invariant_a_call_is_made_once_and_only_when_enough_owners_confirmed() public view {
        vm.assertFalse(handler.broken());
        vm.assertEq(handler.counter().calls(), handler.raised());
        vm.assertEq(handler.owners().epoch(), handler.changed());
    }

    function invariant_there_are_never_fewer_owners_than_must_confirm() public view {
        address[] memory owners = handler.owners().allOwners();
        uint256 threshold = handler.owners().threshold();
        vm.assertTrue(threshold > 0 && threshold <= owners.length && owners.length <= 32);
        for (uint256 i = 0; i < owners.length; i++) {
            vm.assertTrue(owners[i] != address(0));
            for (uint256 j = 0; j < i; j++) {
                vm.assertTrue(owners[i] != owners[j]);
            }
        }
    }
}
