// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {Brake} from "../src/Brake.sol";
import {IdentityRegistry} from "../src/IdentityRegistry.sol";
import {Stake} from "../src/Stake.sol";
import {Test} from "./Test.sol";
import {FeeToken, Token} from "./Token.sol";

contract StakeTest is Test {
    uint64 private constant NOTICE = 10 days;
    address private constant OWNER = address(0x0111);
    address private constant VICTIM = address(0x0222);
    bytes32 private constant RECEIPT = keccak256("receipt");

    Token private token = new Token();
    IdentityRegistry private identities = new IdentityRegistry();
    Stake private stake = new Stake(token, identities, NOTICE, OWNER);
    uint256 private agent;

    function setUp() public {
        agent = identities.register();
        token.mint(address(this), 1_000);
        token.approve(address(stake), type(uint256).max);
        stake.deposit(agent, 100);
    }

    function test_a_stake_leaves_when_its_notice_is_over_and_not_before() public {
        stake.giveNotice(agent, 60);
        uint64 leavesAt = stake.bondOf(agent).leavesAt;
        vm.assertEq(leavesAt, block.timestamp + NOTICE);
        vm.warp(leavesAt - 1);
        vm.expectRevert(abi.encodeWithSelector(Stake.NoticeNotOver.selector, agent, leavesAt));
        stake.release(agent);
        vm.warp(leavesAt);
        stake.release(agent);
        vm.assertEq(token.balanceOf(address(this)), 960);
        vm.expectRevert(abi.encodeWithSelector(Stake.NoticeNotOver.selector, agent, 0));
        stake.release(agent);
        checkBond(40, 0);
    }

    function test_a_second_notice_makes_the_first_wait_too() public {
        stake.giveNotice(agent, 60);
        vm.warp(block.timestamp + NOTICE - 1);
        stake.giveNotice(agent, 1);
        vm.assertEq(stake.bondOf(agent).leavesAt, block.timestamp + NOTICE);
        checkBond(39, 61);
        stake.withdrawNotice(agent);
        checkBond(100, 0);
        vm.expectRevert(Stake.AmountZero.selector);
        stake.withdrawNotice(agent);
    }

    function test_a_slash_takes_first_what_would_leave_and_never_more_than_there_is() public {
        stake.giveNotice(agent, 30);
        vm.prank(OWNER);
        stake.slash(agent, 50, VICTIM, RECEIPT);
        checkBond(50, 0);
        vm.assertEq(token.balanceOf(VICTIM), 50);
        vm.prank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(Stake.StakeTooSmall.selector, agent, 50, 51));
        stake.slash(agent, 51, VICTIM, RECEIPT);
    }

    function test_a_notice_that_was_slashed_away_releases_nothing() public {
        stake.giveNotice(agent, 30);
        vm.prank(OWNER);
        stake.slash(agent, 30, VICTIM, RECEIPT);
        vm.warp(block.timestamp + NOTICE);
        vm.expectRevert(abi.encodeWithSelector(Stake.NoticeNotOver.selector, agent, block.timestamp));
        stake.release(agent);
    }

    function test_a_stake_goes_with_the_agent() public {
        address buyer = address(0xb0b);
        identities.transferFrom(address(this), buyer, agent);
        vm.expectRevert(abi.encodeWithSelector(Stake.NotAgentOwner.selector, address(this), agent));
        stake.giveNotice(agent, 1);
        vm.prank(buyer);
        stake.giveNotice(agent, 100);
        vm.warp(block.timestamp + NOTICE);
        vm.prank(buyer);
        stake.release(agent);
        vm.assertEq(token.balanceOf(buyer), 100);
    }

    function test_who_may_not_does_not() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        stake.slash(agent, 1, address(this), RECEIPT);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        stake.pause();
        vm.startPrank(VICTIM);
        bytes memory refused = abi.encodeWithSelector(Stake.NotAgentOwner.selector, VICTIM, agent);
        vm.expectRevert(refused);
        stake.giveNotice(agent, 1);
        vm.expectRevert(refused);
        stake.withdrawNotice(agent);
        vm.expectRevert(refused);
        stake.release(agent);
        vm.stopPrank();
    }

    function test_a_pause_stops_what_moves_tokens_and_ends_by_itself() public {
        stake.giveNotice(agent, 10);
        vm.warp(block.timestamp + NOTICE);
        vm.startPrank(OWNER);
        stake.pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        stake.slash(agent, 1, VICTIM, RECEIPT);
        vm.stopPrank();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        stake.deposit(agent, 1);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        stake.release(agent);
        vm.warp(stake.pauseEnd() - 1);
        vm.assertTrue(stake.paused());
        vm.warp(stake.pauseEnd());
        stake.release(agent);
    }

    function test_one_pause_does_not_follow_another() public {
        vm.startPrank(OWNER);
        stake.pause();
        uint64 allowedAt = uint64(block.timestamp) + stake.PAUSE_TIME_MAX() + stake.PAUSE_REST_MIN();
        vm.warp(allowedAt - 1);
        vm.expectRevert(abi.encodeWithSelector(Brake.PauseTooSoon.selector, allowedAt));
        stake.pause();
        vm.warp(allowedAt);
        stake.pause();
        stake.unpause();
        vm.assertFalse(stake.paused());
        vm.expectRevert(Pausable.ExpectedPause.selector);
        stake.unpause();
        vm.expectRevert(Brake.OwnerNeeded.selector);
        stake.renounceOwnership();
        vm.stopPrank();
    }

    function test_an_unsuited_token_or_agent_or_amount_is_refused() public {
        FeeToken fee = new FeeToken();
        Stake taxed = new Stake(fee, identities, NOTICE, OWNER);
        fee.mint(address(this), 1_000);
        fee.approve(address(taxed), 1_000);
        vm.expectRevert(abi.encodeWithSelector(Stake.TokenUnsuited.selector, 1_000, 990));
        taxed.deposit(agent, 1_000);
        vm.expectRevert();
        stake.deposit(agent + 1, 1);
        vm.expectRevert(Stake.AmountZero.selector);
        stake.deposit(agent, 0);
        vm.expectRevert(Stake.AmountZero.selector);
        stake.giveNotice(agent, 0);
        vm.expectRevert(abi.encodeWithSelector(Stake.StakeTooSmall.selector, agent, 100, 101));
        stake.giveNotice(agent, 101);
        vm.prank(OWNER);
        vm.expectRevert(Stake.AmountZero.selector);
        stake.slash(agent, 0, VICTIM, RECEIPT);
    }

    function test_a_notice_time_out_of_range_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Stake.NoticeTimeOutOfRange.selector, 8 days - 1));
        new Stake(IERC20(token), identities, 8 days - 1, OWNER);
        vm.expectRevert(abi.encodeWithSelector(Stake.NoticeTimeOutOfRange.selector, 365 days + 1));
        new Stake(IERC20(token), identities, 365 days + 1, OWNER);
    }

    function testFuzz_a_slash_and_what_is_left_make_up_the_stake(uint128 leaving, uint128 slashed) public {
        leaving = uint128(bound(leaving, 1, 100));
        slashed = uint128(bound(slashed, 1, 100));
        stake.giveNotice(agent, leaving);
        vm.prank(OWNER);
        stake.slash(agent, slashed, VICTIM, RECEIPT);
        Stake.Bond memory bond = stake.bondOf(agent);
        vm.assertEq(bond.staked + bond.leaving + slashed, 100);
        vm.assertEq(bond.leaving, slashed < leaving ? leaving - slashed : 0);
        vm.assertEq(token.balanceOf(address(stake)), 100 - slashed);
        vm.assertEq(stake.total(), 100 - slashed);
    }

    function checkBond(uint256 staked, uint256 leaving) private view {
        Stake.Bond memory bond = stake.bondOf(agent);
        vm.assertEq(bond.staked, staked);
        vm.assertEq(bond.leaving, leaving);
    }
}
