// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ReceiptLog} from "../src/ReceiptLog.sol";
import {Test} from "./Test.sol";

/// Anchors whatever comes, for a few accounts and logs, and remembers what was taken.
contract ReceiptLogHandler is Test {
    ReceiptLog public immutable log = new ReceiptLog();
    /// Whether a head was ever seen to shrink, or to change its root at one size.
    bool public broken;
    uint256 public taken;
    uint256 public refused;

    function anchor(uint8 account, uint8 logNumber, uint64 size, bytes32 root, bool near) external {
        address anchorer = address(uint160(0xa11ce + account % 3));
        bytes32 logId = bytes32(uint256(logNumber % 2));
        (uint64 before, bytes27 prefix) = log.headOf(anchorer, logId);
        // Near the head, where the interesting sizes are.
        if (near) size = before + uint64(size % 4);
        vm.prank(anchorer);
        try log.anchor(logId, size, root) {
            taken++;
        } catch {
            refused++;
        }
        (uint64 now_, bytes27 prefixNow) = log.headOf(anchorer, logId);
        if (now_ < before || (now_ == before && prefixNow != prefix)) broken = true;
    }
}

contract ReceiptLogInvariantTest is Test {
    ReceiptLogHandler private handler = new ReceiptLogHandler();

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_a_head_only_grows() public view {
        vm.assertFalse(handler.broken());
    }

    function afterInvariant() public view {
        vm.assertTrue(handler.taken() > 0 && handler.refused() > 0, "both ends were seen");
    }
}
