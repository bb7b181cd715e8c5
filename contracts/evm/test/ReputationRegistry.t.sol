// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {IdentityRegistry} from "../src/IdentityRegistry.sol";
import {ReceiptLog} from "../src/ReceiptLog.sol";
import {ReputationRegistry} from "../src/ReputationRegistry.sol";
import {Vectors} from "./Vectors.sol";

contract ReputationRegistryTest is Vectors {
    address private constant ALICE = address(0x0a);
    address private constant BOB = address(0x0b);
    uint64 private constant INDEX = 4;

    IdentityRegistry private identities = new IdentityRegistry();
    ReputationRegistry private reputation = new ReputationRegistry(identities);
    ReceiptLog private log = new ReceiptLog();
    uint256 private agent;

    function setUp() public {
        agent = identities.register();
    }

    function test_feedback_is_kept_and_told() public {
        vm.expectEmit(address(reputation));
        emit ReputationRegistry.NewFeedback(
            agent, ALICE, 1, 9_977, 2, "uptime", "uptime", "week", "https://a", "ipfs://f", keccak256("file")
        );
        vm.prank(ALICE);
        reputation.giveFeedback(agent, 9_977, 2, "uptime", "week", "https://a", "ipfs://f", keccak256("file"));
        (int128 value, uint8 decimals, string memory tag1, string memory tag2, bool isRevoked) =
            reputation.readFeedback(agent, ALICE, 1);
        vm.assertEq(value, 9_977);
        vm.assertEq(decimals, 2);
        vm.assertEq(tag1, "uptime");
        vm.assertEq(tag2, "week");
        vm.assertFalse(isRevoked);
        vm.assertEq(reputation.getLastIndex(agent, ALICE), 1);
        vm.assertEq(reputation.getClients(agent).length, 1);
        vm.assertEq(reputation.receiptOf(agent, ALICE, 1), bytes32(0));
        vm.assertEq(reputation.getIdentityRegistry(), address(identities));
    }

    function test_a_summary_is_the_mean_of_named_clients_by_tag_without_what_was_revoked() public {
        give(ALICE, 10, 0, "speed");
        give(ALICE, -325, 1, "speed");
        give(BOB, 1, 0, "speed");
        give(BOB, 100, 0, "other");
        address[] memory both = new address[](2);
        (both[0], both[1]) = (ALICE, BOB);
        // (10 - 32.5 + 1) / 3 = -7.1666
        checkSummary(both, "speed", 3, -71, 1);
        checkSummary(both, "", 4, 196, 1);
        checkSummary(both, "none", 0, 0, 0);
        vm.prank(ALICE);
        reputation.revokeFeedback(agent, 2);
        checkSummary(both, "speed", 2, 5, 0);
        vm.expectRevert(ReputationRegistry.ClientsNeeded.selector);
        reputation.getSummary(agent, new address[](0), "", "");
    }

    function test_all_feedback_is_read_in_rows() public {
        give(ALICE, 1, 0, "a");
        give(ALICE, 2, 0, "b");
        give(BOB, 3, 1, "a");
        vm.prank(ALICE);
        reputation.revokeFeedback(agent, 1);
        (
            address[] memory clients,
            uint64[] memory indexes,
            int128[] memory values,
            uint8[] memory decimals,
            string[] memory tags,,
            bool[] memory revoked
        ) = reputation.readAllFeedback(agent, new address[](0), "", "", true);
        vm.assertEq(clients.length, 3);
        vm.assertTrue(revoked[0] && !revoked[1] && !revoked[2]);
        vm.assertEq(clients[2], BOB);
        vm.assertEq(indexes[1], 2);
        vm.assertEq(values[2], 3);
        vm.assertEq(decimals[2], 1);
        vm.assertEq(tags[1], "b");
        (clients,,,,,,) = reputation.readAllFeedback(agent, new address[](0), "a", "", false);
        vm.assertEq(clients.length, 1);
        vm.assertEq(clients[0], BOB);
    }

    function test_owners_and_their_operators_do_not_praise_their_own() public {
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.OwnFeedback.selector, address(this), agent));
        reputation.giveFeedback(agent, 1, 0, "", "", "", "", 0);
        identities.setApprovalForAll(ALICE, true);
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.OwnFeedback.selector, ALICE, agent));
        vm.prank(ALICE);
        reputation.giveFeedback(agent, 1, 0, "", "", "", "", 0);
    }

    function test_feedback_that_makes_no_sense_is_refused() public {
        vm.startPrank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.TooManyDecimals.selector, 19));
        reputation.giveFeedback(agent, 1, 19, "", "", "", "", 0);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, agent + 1));
        reputation.giveFeedback(agent + 1, 1, 0, "", "", "", "", 0);
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.NoFeedback.selector, agent, ALICE, 1));
        reputation.revokeFeedback(agent, 1);
        reputation.giveFeedback(agent, 1, 0, "", "", "", "", 0);
        reputation.revokeFeedback(agent, 1);
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.AlreadyRevoked.selector, agent, 1));
        reputation.revokeFeedback(agent, 1);
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.NoFeedback.selector, agent, ALICE, 0));
        reputation.readFeedback(agent, ALICE, 0);
        vm.stopPrank();
    }

    function test_anyone_answers_and_answers_are_counted() public {
        give(ALICE, 1, 0, "");
        reputation.appendResponse(agent, ALICE, 1, "ipfs://sorry", 0);
        reputation.appendResponse(agent, ALICE, 1, "ipfs://refunded", 0);
        vm.prank(BOB);
        reputation.appendResponse(agent, ALICE, 1, "ipfs://spam", 0);
        vm.assertEq(reputation.getResponseCount(agent, ALICE, 1, new address[](0)), 3);
        address[] memory bob = new address[](1);
        bob[0] = BOB;
        vm.assertEq(reputation.getResponseCount(agent, ALICE, 1, bob), 1);
        vm.expectRevert(ReputationRegistry.ResponseEmpty.selector);
        reputation.appendResponse(agent, ALICE, 1, "", 0);
        vm.expectRevert(abi.encodeWithSelector(ReputationRegistry.NoFeedback.selector, agent, ALICE, 2));
        reputation.appendResponse(agent, ALICE, 2, "ipfs://x", 0);
    }

    function test_feedback_carries_a_receipt_of_the_agents_own_log_once_a_client() public {
        nameLog();
        log.anchor(logId(), LEAVES, root(LEAVES));
        vm.expectEmit(address(reputation));
        emit ReputationRegistry.FeedbackReceipt(agent, ALICE, 1, leafHash(INDEX));
        giveWithReceipt(ALICE, "");
        vm.assertEq(reputation.receiptOf(agent, ALICE, 1), leafHash(INDEX));
        giveWithReceipt(ALICE, abi.encodeWithSelector(ReputationRegistry.ReceiptUsed.selector, leafHash(INDEX)));
        giveWithReceipt(BOB, "");
    }

    function test_feedback_with_a_receipt_from_elsewhere_is_refused() public {
        giveWithReceipt(ALICE, abi.encodeWithSelector(ReputationRegistry.NoReceiptLog.selector, agent));
        nameLog();
        // Somebody else anchors a tree of that name.
        vm.prank(BOB);
        log.anchor(logId(), LEAVES, root(LEAVES));
        giveWithReceipt(ALICE, abi.encodeWithSelector(ReputationRegistry.NotAnchored.selector, leafHash(INDEX)));
        vm.assertEq(reputation.getLastIndex(agent, ALICE), 0);
    }

    function testFuzz_a_summary_of_equal_values_is_that_value(int128 value, uint8 decimals, uint8 count) public {
        decimals = uint8(bound(decimals, 0, 18));
        uint256 times = bound(count, 1, 8);
        for (uint256 i = 0; i < times; i++) {
            give(ALICE, value, decimals, "x");
        }
        address[] memory one = new address[](1);
        one[0] = ALICE;
        checkSummary(one, "x", uint64(times), value, decimals);
    }

    function give(address client, int128 value, uint8 decimals, string memory tag) private {
        vm.prank(client);
        reputation.giveFeedback(agent, value, decimals, tag, "", "", "", 0);
    }

    function nameLog() private {
        identities.setMetadata(agent, reputation.LOG_KEY(), abi.encode(log, address(this), logId()));
    }

    function giveWithReceipt(address client, bytes memory refused) private {
        ReputationRegistry.Opinion memory opinion = ReputationRegistry.Opinion(100, 0, "starred", "", "", "", 0);
        ReputationRegistry.ReceiptProof memory proof =
            ReputationRegistry.ReceiptProof(leafHash(INDEX), INDEX, inclusion(INDEX, LEAVES).path);
        vm.prank(client);
        if (refused.length > 0) vm.expectRevert(refused);
        reputation.giveReceiptFeedback(agent, opinion, proof);
    }

    function checkSummary(address[] memory clients, string memory tag, uint64 count, int128 mean, uint8 decimals)
        private
        view
    {
        (uint64 counted, int128 value, uint8 places) = reputation.getSummary(agent, clients, tag, "");
        vm.assertEq(counted, count);
        vm.assertEq(value, mean);
        vm.assertEq(places, decimals);
    }
}
