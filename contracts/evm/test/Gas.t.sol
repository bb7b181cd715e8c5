// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ReceiptLog} from "../src/ReceiptLog.sol";
import {Test} from "./Test.sol";

/// What the calls that are paid for cost: gas-snapshot.txt, which run-tests.sh checks. The figures are those of the
/// test functions, without what a transaction costs by itself.
contract GasTest is Test {
    ReceiptLog private log = new ReceiptLog();
    bytes32 private constant LOG = keccak256("log");

    function setUp() public {
        log.anchor(LOG, 1_000_000, keccak256("root"));
    }

    function test_anchor_first() public {
        log.anchor(keccak256("another log"), 1_024, keccak256("its root"));
    }

    function test_anchor_further() public {
        log.anchor(LOG, 1_001_024, keccak256("next root"));
    }

    function test_verify_path_of_20() public view {
        log.verify(address(this), LOG, keccak256("leaf"), 0, new bytes32[](20));
    }
}
