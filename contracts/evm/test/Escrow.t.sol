// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {Escrow} from "../src/Escrow.sol";
import {MultiOwner} from "../src/MultiOwner.sol";
import {Receipt} from "../src/Receipt.sol";
import {ReceiptLog} from "../src/ReceiptLog.sol";
import {FeeToken, Token} from "./Token.sol";
import {Vectors} from "./Vectors.sol";

contract EscrowTest is Vectors {
    address private constant OWNER = address(0x0111);
    address private constant CLIENT = address(0x0222);
    address private constant PROVIDER = address(0x0333);
    /// The receipt of the vectors that is claimed with; a model took part in it.
    uint64 private constant INDEX = 4;

    Token private token = new Token();
    ReceiptLog private log = new ReceiptLog();
    Escrow private escrow = new Escrow(token, OWNER);
    bytes private receipt;
    bytes32[] private path;
    uint64 private start;

    function setUp() public {
        vm.warp(1_000_000);
        start = uint64(block.timestamp);
        token.mint(CLIENT, 1_000);
        vm.prank(CLIENT);
        token.approve(address(escrow), type(uint256).max);
        receipt = leaf(INDEX);
        path = inclusion(INDEX, LEAVES).path;
    }

    function test_a_receipt_in_the_named_log_is_paid_once() public {
        uint256 id = open(terms());
        vm.assertEq(token.balanceOf(address(escrow)), 100);
        anchor();
        claim(id);
        vm.assertEq(token.balanceOf(PROVIDER), 100);
        vm.assertEq(escrow.total(), 0);
        claimFails(id, abi.encodeWithSelector(Escrow.NotOpen.selector, id));
        uint256 second = open(terms());
        anchorMore();
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(Escrow.ReceiptTooOld.selector, INDEX, LEAVES));
        escrow.claim(second, receipt, INDEX, path);
    }

    function test_one_receipt_does_not_pay_two_orders() public {
        uint256 first = open(terms());
        uint256 second = open(terms());
        anchor();
        claim(first);
        claimFails(second, abi.encodeWithSelector(Escrow.AlreadyClaimed.selector, leafHash(INDEX)));
        vm.warp(start + 1 days + 1);
        escrow.refund(second);
        vm.assertEq(token.balanceOf(CLIENT), 900);
    }

    function test_nothing_is_paid_without_a_proof() public {
        uint256 id = open(terms());
        claimFails(id, abi.encodeWithSelector(Escrow.NotAnchored.selector, leafHash(INDEX)));
        vm.prank(CLIENT);
        log.anchor(logId(), LEAVES, root(LEAVES));
        claimFails(id, abi.encodeWithSelector(Escrow.NotAnchored.selector, leafHash(INDEX)));
        anchor();
        vm.startPrank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(Escrow.NotAnchored.selector, leafHash(INDEX)));
        escrow.claim(id, receipt, INDEX + 1, path);
        vm.expectRevert(Receipt.NotAReceipt.selector);
        escrow.claim(id, abi.encodePacked(receipt, hex"00"), INDEX, path);
        vm.stopPrank();
        claim(id);
    }

    function test_a_receipt_about_other_work_is_refused() public {
        Escrow.Terms memory other = terms();
        other.promptHash = keccak256("something else");
        uint256 wrongPrompt = open(other);
        other = terms();
        other.modelHash = keccak256("another model");
        uint256 wrongModel = open(other);
        other.modelHash = 0;
        uint256 anyModel = open(other);
        anchor();
        bytes32 prompt = leafField(INDEX, "prompt_hash");
        bytes32 model = leafField(INDEX, "model.hash");
        claimFails(wrongPrompt, abi.encodeWithSelector(Escrow.OtherWork.selector, prompt, model));
        claimFails(wrongModel, abi.encodeWithSelector(Escrow.OtherWork.selector, prompt, model));
        claim(anyModel);
    }

    function test_only_the_provider_claims_and_declines() public {
        uint256 id = open(terms());
        anchor();
        vm.startPrank(CLIENT);
        vm.expectRevert(abi.encodeWithSelector(Escrow.NotAllowed.selector, CLIENT));
        escrow.claim(id, receipt, INDEX, path);
        vm.expectRevert(abi.encodeWithSelector(Escrow.NotAllowed.selector, CLIENT));
        escrow.decline(id);
        vm.stopPrank();
        vm.prank(PROVIDER);
        escrow.decline(id);
        vm.assertEq(token.balanceOf(CLIENT), 1_000);
    }

    function test_an_order_of_a_farthing_does_not_use_a_receipt_up() public {
        uint256 id = open(terms());
        Escrow.Terms memory decoy = terms();
        decoy.provider = CLIENT;
        decoy.amount = 1;
        uint256 farthing = open(decoy);
        anchor();
        vm.prank(CLIENT);
        escrow.claim(farthing, receipt, INDEX, path);
        claim(id);
        vm.assertEq(token.balanceOf(PROVIDER), 100);
    }

    function test_claims_end_and_refunds_begin_with_the_deadline() public {
        uint256 id = open(terms());
        uint256 late = open(terms());
        anchor();
        uint64 deadline = start + 1 days;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlineNotOver.selector, deadline));
        escrow.refund(id);
        claim(id);
        vm.warp(deadline + 1);
        claimFails(late, abi.encodeWithSelector(Escrow.DeadlineOver.selector, deadline));
        escrow.refund(late);
        vm.expectRevert(abi.encodeWithSelector(Escrow.NotOpen.selector, late));
        escrow.refund(late);
    }

    function test_a_pause_takes_no_time_from_the_provider() public {
        uint256 id = open(terms());
        anchor();
        vm.prank(OWNER);
        escrow.pause();
        claimFails(id, abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        escrow.refund(id);
        vm.prank(PROVIDER);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        escrow.decline(id);
        vm.prank(CLIENT);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        escrow.open(terms());
        vm.warp(start + 3 days);
        vm.prank(OWNER);
        escrow.unpause();
        uint64 deadline = start + 3 days + escrow.PAUSE_GRACE();
        vm.assertEq(escrow.deadlineOf(id), deadline);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlineNotOver.selector, deadline));
        escrow.refund(id);
        claim(id);
    }

    function test_a_pause_after_the_deadline_gives_the_provider_nothing() public {
        uint256 id = open(terms());
        anchor();
        vm.warp(start + 2 days);
        vm.prank(OWNER);
        escrow.pause();
        vm.warp(escrow.pauseEnd());
        claimFails(id, abi.encodeWithSelector(Escrow.DeadlineOver.selector, start + 1 days));
        escrow.refund(id);
    }

    function test_terms_that_make_no_sense_are_refused() public {
        Escrow.Terms memory wrong = terms();
        wrong.amount = 0;
        openFails(wrong, abi.encodeWithSelector(Escrow.TermsEmpty.selector));
        wrong = terms();
        wrong.provider = address(0);
        openFails(wrong, abi.encodeWithSelector(Escrow.TermsEmpty.selector));
        wrong = terms();
        wrong.deadline = start + 1 hours - 1;
        openFails(wrong, abi.encodeWithSelector(Escrow.DeadlineOutOfRange.selector, wrong.deadline));
        wrong.deadline = start + 365 days + 1;
        openFails(wrong, abi.encodeWithSelector(Escrow.DeadlineOutOfRange.selector, wrong.deadline));
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        FeeToken fee = new FeeToken();
        Escrow taxed = new Escrow(fee, OWNER);
        fee.mint(CLIENT, 100);
        vm.startPrank(CLIENT);
        fee.approve(address(taxed), 100);
        vm.expectRevert(abi.encodeWithSelector(Escrow.TokenUnsuited.selector, 100, 99));
        taxed.open(terms());
        vm.stopPrank();
    }

    function test_several_owners_stop_it_together() public {
        address[] memory people = new address[](3);
        (people[0], people[1], people[2]) = (address(0xa), address(0xb), address(0xc));
        MultiOwner owners = new MultiOwner(people, 2);
        vm.prank(OWNER);
        escrow.transferOwnership(address(owners));
        bytes memory accept = abi.encodeCall(escrow.acceptOwnership, ());
        bytes memory pause = abi.encodeCall(escrow.pause, ());
        for (uint256 i = 0; i < 2; i++) {
            vm.startPrank(people[i]);
            owners.confirm(address(escrow), accept, 0);
            owners.confirm(address(escrow), pause, 0);
            vm.stopPrank();
        }
        vm.startPrank(people[2]);
        owners.execute(address(escrow), accept, 0);
        owners.execute(address(escrow), pause, 0);
        vm.stopPrank();
        vm.assertEq(escrow.owner(), address(owners));
        vm.assertTrue(escrow.paused());
    }

    function test_only_the_owner_pauses() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        escrow.pause();
    }

    function testFuzz_no_changed_receipt_is_paid(uint256 place, uint8 value) public {
        uint256 id = open(terms());
        anchor();
        place = bound(place, 0, receipt.length - 1);
        vm.assume(uint8(receipt[place]) != value);
        receipt[place] = bytes1(value);
        vm.prank(PROVIDER);
        vm.expectRevert();
        escrow.claim(id, receipt, INDEX, path);
    }

    function terms() private view returns (Escrow.Terms memory) {
        return Escrow.Terms({
            provider: PROVIDER,
            amount: 100,
            deadline: start + 1 days,
            log: log,
            anchorer: PROVIDER,
            logId: logId(),
            promptHash: leafField(INDEX, "prompt_hash"),
            modelHash: leafField(INDEX, "model.hash")
        });
    }

    function open(Escrow.Terms memory terms_) private returns (uint256) {
        vm.prank(CLIENT);
        return escrow.open(terms_);
    }

    function openFails(Escrow.Terms memory terms_, bytes memory reason) private {
        vm.prank(CLIENT);
        vm.expectRevert(reason);
        escrow.open(terms_);
    }

    function anchor() private {
        vm.prank(PROVIDER);
        log.anchor(logId(), LEAVES, root(LEAVES));
    }

    function anchorMore() private {
        vm.prank(PROVIDER);
        log.anchor(logId(), LEAVES + 1, keccak256("more"));
    }

    function claim(uint256 id) private {
        vm.prank(PROVIDER);
        escrow.claim(id, receipt, INDEX, path);
    }

    function claimFails(uint256 id, bytes memory reason) private {
        vm.prank(PROVIDER);
        vm.expectRevert(reason);
        escrow.claim(id, receipt, INDEX, path);
    }
}
