// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Escrow} from "../src/Escrow.sol";
import {IdentityRegistry} from "../src/IdentityRegistry.sol";
import {MultiOwner} from "../src/MultiOwner.sol";
import {ReceiptLog} from "../src/ReceiptLog.sol";
import {ReputationRegistry} from "../src/ReputationRegistry.sol";
import {Stake} from "../src/Stake.sol";
import {Test} from "./Test.sol";
import {Token} from "./Token.sol";
import {Tree} from "./Tree.sol";

/// What the calls that are paid for cost: gas-snapshot.txt, which run-tests.sh checks. The figures are those of the
/// test functions, without what a transaction costs by itself. Ten receipts are in the log.
contract GasTest is Test {
    address private constant CLIENT = address(0x0222);
    bytes32 private constant LOG = keccak256("log");
    bytes32 private constant PROMPT = keccak256("prompt");

    ReceiptLog private log = new ReceiptLog();
    Token private token = new Token();
    IdentityRegistry private identities = new IdentityRegistry();
    ReputationRegistry private reputation = new ReputationRegistry(identities);
    MultiOwner private owners;
    Stake private stake;
    Escrow private escrow;
    uint256 private agent;
    uint256 private order;
    Escrow.Terms private terms;
    bytes private receipt;
    bytes32[] private path;

    function setUp() public {
        address[] memory people = new address[](3);
        (people[0], people[1], people[2]) = (address(this), address(0xb), address(0xc));
        owners = new MultiOwner(people, 1);
        stake = new Stake(token, identities, 8 days, address(owners));
        escrow = new Escrow(token, address(owners));
        token.mint(address(this), 1_000);
        token.approve(address(stake), 1_000);
        token.approve(address(escrow), 1_000);
        token.mint(CLIENT, 1);
        agent = identities.register();
        identities.setMetadata(agent, reputation.LOG_KEY(), abi.encode(log, address(this), LOG));
        stake.deposit(agent, 100);
        uint64 deadline = uint64(block.timestamp) + 1 days;
        terms = Escrow.Terms(address(this), 100, deadline, log, address(this), LOG, PROMPT, 0);
        order = escrow.open(terms);
        bytes32[] memory leaves = new bytes32[](10);
        for (uint128 i = 0; i < 10; i++) {
            leaves[i] = Tree.hashOf(Tree.receipt(PROMPT, i));
        }
        receipt = Tree.receipt(PROMPT, 3);
        path = Tree.path(leaves, 3);
        log.anchor(LOG, 10, Tree.root(leaves));
    }

    function test_anchor_first() public {
        log.anchor(keccak256("another log"), 1_024, keccak256("its root"));
    }

    function test_anchor_further() public {
        log.anchor(LOG, 1_034, keccak256("next root"));
    }

    function test_verify_path_of_20() public view {
        log.verify(address(this), LOG, keccak256("leaf"), 0, new bytes32[](20));
    }

    function test_escrow_open() public {
        escrow.open(terms);
    }

    function test_escrow_claim_path_of_4() public {
        escrow.claim(order, receipt, 3, path);
    }

    function test_stake_deposit() public {
        stake.deposit(agent, 100);
    }

    function test_stake_give_notice() public {
        stake.giveNotice(agent, 50);
    }

    function test_identity_register() public {
        identities.register("ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi");
    }

    function test_reputation_give_feedback() public {
        vm.prank(CLIENT);
        reputation.giveFeedback(agent, 87, 0, "starred", "", "", "", 0);
    }

    function test_reputation_give_receipt_feedback() public {
        ReputationRegistry.Opinion memory opinion = ReputationRegistry.Opinion(87, 0, "starred", "", "", "", 0);
        ReputationRegistry.ReceiptProof memory proof = ReputationRegistry.ReceiptProof(Tree.hashOf(receipt), 3, path);
        vm.prank(CLIENT);
        reputation.giveReceiptFeedback(agent, opinion, proof);
    }

    function test_owners_confirm_and_pause() public {
        bytes memory pause = abi.encodeCall(escrow.pause, ());
        owners.confirm(address(escrow), pause, 0);
        owners.execute(address(escrow), pause, 0);
    }
}
