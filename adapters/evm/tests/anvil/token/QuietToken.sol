// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// A token that answers false where others fail, as some old ones do. For tests; compiled into QuietToken.hex with
/// solc 0.8.37, the optimizer on (200 runs), for cancun, without metadata.
contract QuietToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address => uint256) public balanceOf;

    constructor() {
        balanceOf[msg.sender] = 1_000_000;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        if (balanceOf[msg.sender] < value) return false;
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}
