// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Escrow} from "../src/Escrow.sol";
import {ReceiptLog} from "../src/ReceiptLog.sol";
import {Test} from "./Test.sol";
import {Token} from "./Token.sol";
import {Tree} from "./Tree.sol";

/// Orders, work, claims with right and with wrong proofs, refunds, pauses and time in any order; keeps its own books.
/// It is client, provider, operator of the log and owner in one.
contract EscrowHandler is Test {
    uint256 private constant ORDERS_MAX = 24;
    bytes32 private constant LOG = keccak256("log");

    Token public immutable token = new Token();
    ReceiptLog public immutable log = new ReceiptLog();
    Escrow public immutable escrow = new Escrow(token, address(this));

    struct Known {
        uint128 amount;
        uint64 deadline;
        bytes32 promptHash;
        uint64 indexMin;
        bool isPaid;
        bool isRefunded;
    }

    Known[] private known;
    bytes[] private receipts;
    bytes32[] private leaves;
    bytes32[] private prompts;
    mapping(uint256 index => bool) private spent;
    /// How many of the leaves were anchored.
    uint64 private anchored;

    uint256 public held;
    uint256 public paid;
    uint256 public refunded;
    /// What must never be, and was.
    string public broken;

    constructor() {
        token.approve(address(escrow), type(uint256).max);
    }

    function order(uint64 amount, uint8 prompt, uint24 time) external {
        if (known.length >= ORDERS_MAX) return;
        token.mint(address(this), amount);
        Escrow.Terms memory terms;
        (terms.provider, terms.amount, terms.log, terms.anchorer) = (address(this), amount, log, address(this));
        (terms.logId, terms.promptHash) = (LOG, keccak256(abi.encode(prompt % 2)));
        terms.deadline = uint64(block.timestamp) + time;
        try escrow.open(terms) {
            known.push(Known(amount, terms.deadline, terms.promptHash, anchored, false, false));
            held += amount;
        } catch {}
    }

    function work(uint8 prompt, bool isAnchored) external {
        if (leaves.length >= ORDERS_MAX) return;
        prompts.push(keccak256(abi.encode(prompt % 2)));
        receipts.push(Tree.receipt(prompts[leaves.length], uint128(leaves.length)));
        leaves.push(Tree.hashOf(receipts[leaves.length]));
        if (isAnchored) anchor();
    }

    function anchor() public {
        if (leaves.length == 0) return;
        anchored = uint64(leaves.length);
        log.anchor(LOG, anchored, Tree.root(leaves));
    }

    function claim(uint8 which, uint8 leaf, uint8 lie) external {
        if (known.length == 0 || leaves.length == 0) return;
        uint256 number = which % known.length;
        uint256 index = leaf % 2 == 0 ? leaf % leaves.length : fitting(number);
        bytes32[] memory path = Tree.path(leaves, index);
        bool isHonest = lie % 4 != 0 || path.length == 0;
        if (!isHonest) path[lie % path.length] = keccak256("lie");
        bool isPauseTime = escrow.paused();
        try escrow.claim(number + 1, receipts[index], uint64(index), path) {
            Known storage order_ = known[number];
            if (order_.isPaid || order_.isRefunded) broken = "paid twice";
            if (!isHonest || anchored != leaves.length) broken = "paid without a proof";
            if (index < order_.indexMin) broken = "paid for an old receipt";
            if (spent[index]) broken = "a receipt was paid twice";
            if (prompts[index] != order_.promptHash) broken = "paid for other work";
            if (isPauseTime) broken = "paid in a pause";
            order_.isPaid = true;
            spent[index] = true;
            held -= order_.amount;
            paid++;
        } catch {}
    }

    function refund(uint8 which) external {
        if (known.length == 0) return;
        uint256 number = which % known.length;
        try escrow.refund(number + 1) {
            if (block.timestamp <= known[number].deadline) broken = "refunded too early";
            close(known[number]);
        } catch {}
    }

    function decline(uint8 which, uint8 rarely) external {
        if (known.length == 0 || rarely % 8 != 0) return;
        uint256 number = which % known.length;
        try escrow.decline(number + 1) {
            close(known[number]);
        } catch {}
    }

    function pause(uint8 rarely) external {
        if (rarely % 4 != 0) return;
        try escrow.pause() {} catch {}
    }

    function unpause() external {
        try escrow.unpause() {} catch {}
    }

    function wait(uint16 time) external {
        vm.warp(block.timestamp + time);
    }

    /// A leaf about an order's work that was not paid yet, when there is one.
    function fitting(uint256 number) private view returns (uint256 index) {
        index = known[number].indexMin < leaves.length ? known[number].indexMin : 0;
        while (index + 1 < leaves.length && (spent[index] || prompts[index] != known[number].promptHash)) {
            index++;
        }
    }

    function close(Known storage order_) private {
        if (order_.isPaid || order_.isRefunded) broken = "refunded what was closed";
        order_.isRefunded = true;
        held -= order_.amount;
        refunded++;
    }
}

contract EscrowInvariantTest is Test {
    EscrowHandler private handler = new EscrowHandler();

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// That the handler can reach both ends; else the invariants would hold for nothing.
    function test_the_handler_pays_and_refunds() public {
        handler.order(100, 1, 2 hours);
        handler.order(50, 1, 2 hours);
        handler.work(1, true);
        handler.claim(0, 0, 1);
        handler.claim(1, 0, 1);
        vm.assertEq(handler.paid(), 1);
        handler.wait(2 hours + 1);
        handler.refund(1);
        vm.assertEq(handler.refunded(), 1);
    }

    function invariant_the_escrow_holds_what_is_owed() public view {
        vm.assertEq(handler.escrow().total(), handler.held());
        vm.assertEq(handler.token().balanceOf(address(handler.escrow())), handler.held());
    }

    function invariant_nothing_is_paid_twice_or_without_a_proof_or_refunded_early() public view {
        vm.assertEq(handler.broken(), "");
    }
}
