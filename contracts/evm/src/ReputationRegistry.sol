// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IdentityRegistry} from "./IdentityRegistry.sol";
import {ReceiptLog} from "./ReceiptLog.sol";

/// What clients say of agents, after ERC-8004 (revision of January 2026); with `giveReceiptFeedback` they show as well
/// that there was work to speak of: a receipt in the log that the agent itself names.
///
/// Anyone may say anything, so that a summary is over clients whom the asker names. Nobody owns the registry.
contract ReputationRegistry {
    /// Where an agent names its receipt log: the metadata key of `abi.encode(ReceiptLog, anchorer, logId)`.
    string public constant LOG_KEY = "receiptLog";
    /// The most decimal places of a value.
    uint8 public constant DECIMALS_MAX = 18;

    /// What is kept of a feedback.
    struct Feedback {
        int128 value;
        uint8 valueDecimals;
        bool isRevoked;
        string tag1;
        string tag2;
        bytes32 receipt;
    }

    /// What a client says.
    struct Opinion {
        int128 value;
        uint8 valueDecimals;
        string tag1;
        string tag2;
        string endpoint;
        string feedbackURI;
        bytes32 feedbackHash;
    }

    /// That a receipt is number `index` in the agent's log.
    struct ReceiptProof {
        bytes32 leafHash;
        uint64 index;
        bytes32[] path;
    }

    /// What `readAllFeedback` gives, row by row, and how many rows are filled.
    struct Page {
        uint256 rows;
        address[] clients;
        uint64[] indexes;
        int128[] values;
        uint8[] decimals;
        string[] tag1s;
        string[] tag2s;
        bool[] revoked;
    }

    IdentityRegistry private immutable identities;

    // Written through a reference, in `give`.
    // slither-disable-next-line uninitialized-state
    mapping(uint256 agentId => mapping(address client => Feedback[])) private feedbacks;
    mapping(uint256 agentId => address[]) private clients;
    mapping(bytes32 feedback => mapping(address responder => uint64)) private responses;
    mapping(bytes32 feedback => address[]) private responders;
    mapping(bytes32 use => bool) private usedReceipts;

    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        int128 value,
        uint8 valueDecimals,
        string indexed indexedTag1,
        string tag1,
        string tag2,
        string endpoint,
        string feedbackURI,
        bytes32 feedbackHash
    );
    event FeedbackReceipt(
        uint256 indexed agentId, address indexed clientAddress, uint64 feedbackIndex, bytes32 indexed leafHash
    );
    event FeedbackRevoked(uint256 indexed agentId, address indexed clientAddress, uint64 indexed feedbackIndex);
    event ResponseAppended(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        address indexed responder,
        string responseURI,
        bytes32 responseHash
    );

    /// Owners and those who act for them do not praise their own agents.
    error OwnFeedback(address caller, uint256 agentId);
    /// More decimal places than a value may have.
    error TooManyDecimals(uint8 valueDecimals);
    /// There is no such feedback.
    error NoFeedback(uint256 agentId, address client, uint64 feedbackIndex);
    /// It was revoked already.
    error AlreadyRevoked(uint256 agentId, uint64 feedbackIndex);
    /// A response says where it is to be read.
    error ResponseEmpty();
    /// A summary over everybody is a summary over whoever made up the most accounts: name the clients.
    error ClientsNeeded();
    /// The agent names no receipt log.
    error NoReceiptLog(uint256 agentId);
    /// The receipt is not in the agent's newest anchored tree.
    error NotAnchored(bytes32 leafHash);
    /// The client has spoken about this receipt.
    error ReceiptUsed(bytes32 leafHash);

    constructor(IdentityRegistry identities_) {
        identities = identities_;
    }

    /// The registry of the agents that are spoken of.
    function getIdentityRegistry() external view returns (address) {
        return address(identities);
    }

    /// Says something of an agent.
    function giveFeedback(
        uint256 agentId,
        int128 value,
        uint8 valueDecimals,
        string calldata tag1,
        string calldata tag2,
        string calldata endpoint,
        string calldata feedbackURI,
        bytes32 feedbackHash
    ) external {
        give(agentId, Opinion(value, valueDecimals, tag1, tag2, endpoint, feedbackURI, feedbackHash), 0);
    }

    /// Says something of an agent, and shows a receipt from the log that the agent names. That it is the caller's own
    /// is not shown, but each client can use a receipt once.
    function giveReceiptFeedback(uint256 agentId, Opinion calldata opinion, ReceiptProof calldata proof) external {
        bytes memory named = identities.getMetadata(agentId, LOG_KEY);
        if (named.length != 96) revert NoReceiptLog(agentId);
        (ReceiptLog log, address anchorer, bytes32 logId) = abi.decode(named, (ReceiptLog, address, bytes32));
        bytes32 use = keccak256(abi.encode(agentId, msg.sender, proof.leafHash));
        if (usedReceipts[use]) revert ReceiptUsed(proof.leafHash);
        usedReceipts[use] = true;
        uint64 feedbackIndex = give(agentId, opinion, proof.leafHash);
        emit FeedbackReceipt(agentId, msg.sender, feedbackIndex, proof.leafHash);
        if (!log.verify(anchorer, logId, proof.leafHash, proof.index, proof.path)) revert NotAnchored(proof.leafHash);
    }

    /// Takes back what the caller said.
    function revokeFeedback(uint256 agentId, uint64 feedbackIndex) external {
        Feedback storage feedback = find(agentId, msg.sender, feedbackIndex);
        if (feedback.isRevoked) revert AlreadyRevoked(agentId, feedbackIndex);
        feedback.isRevoked = true;
        emit FeedbackRevoked(agentId, msg.sender, feedbackIndex);
    }

    /// Answers a feedback. Anyone may.
    function appendResponse(
        uint256 agentId,
        address clientAddress,
        uint64 feedbackIndex,
        string calldata responseURI,
        bytes32 responseHash
    ) external {
        if (bytes(responseURI).length == 0) revert ResponseEmpty();
        find(agentId, clientAddress, feedbackIndex);
        bytes32 key = keyOf(agentId, clientAddress, feedbackIndex);
        if (responses[key][msg.sender]++ == 0) responders[key].push(msg.sender);
        emit ResponseAppended(agentId, clientAddress, feedbackIndex, msg.sender, responseURI, responseHash);
    }

    /// How many feedbacks of these clients there are under these tags (empty: any), and the mean of their values, with
    /// as many decimal places as the finest of them.
    function getSummary(uint256 agentId, address[] calldata clientAddresses, string calldata tag1, string calldata tag2)
        external
        view
        returns (uint64 count, int128 summaryValue, uint8 summaryValueDecimals)
    {
        if (clientAddresses.length == 0) revert ClientsNeeded();
        int256 sum = 0;
        for (uint256 i = 0; i < clientAddresses.length; i++) {
            Feedback[] storage given = feedbacks[agentId][clientAddresses[i]];
            for (uint256 j = 0; j < given.length; j++) {
                Feedback storage feedback = given[j];
                if (!shown(feedback, tag1, tag2, false)) continue;
                count++;
                // 128 bits, 18 decimal places and 2^64 of them fit.
                sum += int256(feedback.value) * int256(10 ** uint256(DECIMALS_MAX - feedback.valueDecimals));
                if (feedback.valueDecimals > summaryValueDecimals) summaryValueDecimals = feedback.valueDecimals;
            }
        }
        if (count == 0) return (0, 0, 0);
        int256 mean = sum / int256(uint256(count)) / int256(10 ** uint256(DECIMALS_MAX - summaryValueDecimals));
        summaryValue = SafeCast.toInt128(mean);
    }

    /// One feedback. Indices count from 1.
    function readFeedback(uint256 agentId, address clientAddress, uint64 feedbackIndex)
        external
        view
        returns (int128 value, uint8 valueDecimals, string memory tag1, string memory tag2, bool isRevoked)
    {
        Feedback storage feedback = find(agentId, clientAddress, feedbackIndex);
        return (feedback.value, feedback.valueDecimals, feedback.tag1, feedback.tag2, feedback.isRevoked);
    }

    /// Every feedback of these clients (none named: of everybody) under these tags (empty: any), in arrays of one length.
    function readAllFeedback(
        uint256 agentId,
        address[] memory clientAddresses,
        string memory tag1,
        string memory tag2,
        bool includeRevoked
    )
        external
        view
        returns (
            address[] memory clientsOf,
            uint64[] memory feedbackIndexes,
            int128[] memory values,
            uint8[] memory valueDecimals,
            string[] memory tag1s,
            string[] memory tag2s,
            bool[] memory revokedStatuses
        )
    {
        if (clientAddresses.length == 0) clientAddresses = clients[agentId];
        Page memory page = collect(agentId, clientAddresses, tag1, tag2, includeRevoked);
        clientsOf = page.clients;
        feedbackIndexes = page.indexes;
        values = page.values;
        valueDecimals = page.decimals;
        tag1s = page.tag1s;
        tag2s = page.tag2s;
        revokedStatuses = page.revoked;
    }

    /// The leaf hash of the receipt that a feedback showed; zero when it showed none.
    function receiptOf(uint256 agentId, address clientAddress, uint64 feedbackIndex) external view returns (bytes32) {
        return find(agentId, clientAddress, feedbackIndex).receipt;
    }

    /// The number of a client's newest feedback; zero when there is none.
    function getLastIndex(uint256 agentId, address clientAddress) external view returns (uint64) {
        return uint64(feedbacks[agentId][clientAddress].length);
    }

    /// Everyone who ever said something of an agent.
    function getClients(uint256 agentId) external view returns (address[] memory) {
        return clients[agentId];
    }

    /// How many responses these accounts gave to a feedback; no accounts: everybody.
    function getResponseCount(
        uint256 agentId,
        address clientAddress,
        uint64 feedbackIndex,
        address[] calldata responderAddresses
    ) external view returns (uint64 count) {
        bytes32 key = keyOf(agentId, clientAddress, feedbackIndex);
        address[] memory counted = responderAddresses;
        if (counted.length == 0) counted = responders[key];
        for (uint256 i = 0; i < counted.length; i++) {
            count += responses[key][counted[i]];
        }
    }

    function give(uint256 agentId, Opinion memory opinion, bytes32 receipt) private returns (uint64 feedbackIndex) {
        if (identities.isAuthorizedOrOwner(msg.sender, agentId)) revert OwnFeedback(msg.sender, agentId);
        if (opinion.valueDecimals > DECIMALS_MAX) revert TooManyDecimals(opinion.valueDecimals);
        Feedback[] storage given = feedbacks[agentId][msg.sender];
        if (given.length == 0) clients[agentId].push(msg.sender);
        given.push(Feedback(opinion.value, opinion.valueDecimals, false, opinion.tag1, opinion.tag2, receipt));
        feedbackIndex = uint64(given.length);
        emit NewFeedback(
            agentId,
            msg.sender,
            feedbackIndex,
            opinion.value,
            opinion.valueDecimals,
            opinion.tag1,
            opinion.tag1,
            opinion.tag2,
            opinion.endpoint,
            opinion.feedbackURI,
            opinion.feedbackHash
        );
    }

    function collect(
        uint256 agentId,
        address[] memory clientAddresses,
        string memory tag1,
        string memory tag2,
        bool includeRevoked
    ) private view returns (Page memory page) {
        for (uint256 i = 0; i < clientAddresses.length; i++) {
            Feedback[] storage given = feedbacks[agentId][clientAddresses[i]];
            for (uint256 j = 0; j < given.length; j++) {
                if (shown(given[j], tag1, tag2, includeRevoked)) page.rows++;
            }
        }
        allocate(page);
        uint256 row = 0;
        for (uint256 i = 0; i < clientAddresses.length; i++) {
            Feedback[] storage given = feedbacks[agentId][clientAddresses[i]];
            for (uint256 j = 0; j < given.length; j++) {
                if (!shown(given[j], tag1, tag2, includeRevoked)) continue;
                page.clients[row] = clientAddresses[i];
                page.indexes[row] = uint64(j + 1);
                fill(page, row, given[j]);
                row++;
            }
        }
    }

    function allocate(Page memory page) private pure {
        page.clients = new address[](page.rows);
        page.indexes = new uint64[](page.rows);
        page.values = new int128[](page.rows);
        page.decimals = new uint8[](page.rows);
        page.tag1s = new string[](page.rows);
        page.tag2s = new string[](page.rows);
        page.revoked = new bool[](page.rows);
    }

    function fill(Page memory page, uint256 row, Feedback storage feedback) private view {
        page.values[row] = feedback.value;
        page.decimals[row] = feedback.valueDecimals;
        page.tag1s[row] = feedback.tag1;
        page.tag2s[row] = feedback.tag2;
        page.revoked[row] = feedback.isRevoked;
    }

    function shown(Feedback storage feedback, string memory tag1, string memory tag2, bool includeRevoked)
        private
        view
        returns (bool)
    {
        return (includeRevoked || !feedback.isRevoked) && (bytes(tag1).length == 0 || same(feedback.tag1, tag1))
            && (bytes(tag2).length == 0 || same(feedback.tag2, tag2));
    }

    function find(uint256 agentId, address client, uint64 feedbackIndex) private view returns (Feedback storage) {
        Feedback[] storage given = feedbacks[agentId][client];
        if (feedbackIndex == 0 || feedbackIndex > given.length) revert NoFeedback(agentId, client, feedbackIndex);
        return given[feedbackIndex - 1];
    }

    function same(string storage left, string memory right) private pure returns (bool) {
        return keccak256(bytes(left)) == keccak256(bytes(right));
    }

    function keyOf(uint256 agentId, address client, uint64 feedbackIndex) private pure returns (bytes32) {
        return keccak256(abi.encode(agentId, client, feedbackIndex));
    }
}
