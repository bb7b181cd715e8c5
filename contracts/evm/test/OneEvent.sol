// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// What a log on a chain costs without a tree: an event for each receipt. Only compared with; see bench.mjs.
contract OneEvent {
    event Recorded(bytes32 indexed logId, bytes32 leafHash);

    /// One receipt a transaction.
    function record(bytes32 logId, bytes32 leafHash) external {
        emit Recorded(logId, leafHash);
    }

    /// Many receipts in one transaction.
    function recordAll(bytes32 logId, bytes32[] calldata leafHashes) external {
        for (uint256 i = 0; i < leafHashes.length; i++) {
            emit Recorded(logId, leafHashes[i]);
        }
    }
}
