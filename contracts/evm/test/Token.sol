// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A token that anyone may make.
contract Token is ERC20("Token", "TOK") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// A token that keeps a hundredth of what is sent: not fit for escrow or stake.
contract FeeToken is ERC20("FeeToken", "FEE") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        bool isTransfer = from != address(0) && to != address(0);
        if (isTransfer) super._update(from, address(0), amount / 100);
        super._update(from, to, isTransfer ? amount - amount / 100 : amount);
    }
}
