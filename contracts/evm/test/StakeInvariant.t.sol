// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IdentityRegistry} from "../src/IdentityRegistry.sol";
import {Stake} from "../src/Stake.sol";
import {Test} from "./Test.sol";
import {Token} from "./Token.sol";

/// Three agents' stakes and everything that can happen to them in any order; keeps its own books.
contract StakeHandler is Test {
    uint64 private constant NOTICE = 8 days;

    Token public immutable token = new Token();
    IdentityRegistry public immutable identities = new IdentityRegistry();
    Stake public immutable stake = new Stake(token, identities, NOTICE, address(this));
    uint256[3] public agents;

    /// What somebody sent without a deposit.
    uint256 public donated;
    uint256 public deposited;
    uint256 public released;
    uint256 public slashed;
    /// The last notice of each agent, by our own clock.
    mapping(uint256 agentId => uint256) private noticeAt;
    /// Whether tokens ever left before their time, or a slash took more than there was.
    bool public broken;

    constructor() {
        for (uint256 i = 0; i < agents.length; i++) {
            agents[i] = identities.register();
        }
        token.approve(address(stake), type(uint256).max);
    }

    function deposit(uint8 who, uint64 amount) external {
        token.mint(address(this), amount);
        try stake.deposit(agent(who), amount) {
            deposited += amount;
        } catch {}
    }

    function donate(uint32 amount) external {
        token.mint(address(stake), amount);
        donated += amount;
    }

    function giveNotice(uint8 who, uint64 amount) external {
        try stake.giveNotice(agent(who), some(amount, stake.bondOf(agent(who)).staked)) {
            noticeAt[agent(who)] = block.timestamp;
        } catch {}
    }

    function withdrawNotice(uint8 who) external {
        try stake.withdrawNotice(agent(who)) {} catch {}
    }

    function release(uint8 who) external {
        uint256 before = token.balanceOf(address(this));
        try stake.release(agent(who)) {
            released += token.balanceOf(address(this)) - before;
            if (block.timestamp < noticeAt[agent(who)] + NOTICE) broken = true;
        } catch {}
    }

    function slash(uint8 who, uint64 amount, bool isTooMuch) external {
        Stake.Bond memory bond = stake.bondOf(agent(who));
        uint256 available = uint256(bond.staked) + bond.leaving;
        uint128 wanted = isTooMuch ? uint128(available) + 1 + amount : some(amount, available);
        try stake.slash(agent(who), wanted, address(0xdead), bytes32(0)) {
            slashed += wanted;
            if (wanted > available) broken = true;
        } catch {}
    }

    function pause() external {
        try stake.pause() {} catch {}
    }

    function wait(uint24 time) external {
        vm.warp(block.timestamp + time);
    }

    function agent(uint8 who) private view returns (uint256) {
        return agents[who % agents.length];
    }

    function some(uint64 amount, uint256 most) private pure returns (uint128) {
        return uint128(most == 0 ? amount : amount % (most + 1));
    }
}

contract StakeInvariantTest is Test {
    StakeHandler private handler = new StakeHandler();

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// That the handler can reach every end; else the invariants would hold for nothing.
    function test_the_handler_releases_and_slashes() public {
        handler.deposit(0, 100);
        handler.giveNotice(0, 60);
        handler.slash(0, 30, false);
        handler.wait(8 days);
        handler.release(0);
        vm.assertEq(handler.slashed(), 30);
        vm.assertEq(handler.released(), 30);
    }

    function invariant_the_stakes_are_what_the_contract_holds() public view {
        Stake stake = handler.stake();
        uint256 sum = 0;
        for (uint256 i = 0; i < 3; i++) {
            Stake.Bond memory bond = stake.bondOf(handler.agents(i));
            sum += uint256(bond.staked) + bond.leaving;
        }
        vm.assertEq(sum, stake.total());
        vm.assertEq(handler.token().balanceOf(address(stake)), sum + handler.donated());
        vm.assertEq(handler.deposited(), sum + handler.released() + handler.slashed());
    }

    function invariant_nothing_leaves_before_its_time_and_no_slash_exceeds_the_stake() public view {
        vm.assertFalse(handler.broken());
    }
}
