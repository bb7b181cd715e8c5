// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

/// An owner who may stop a contract that holds tokens, but not for long: a pause ends by itself, and the next one has
/// to wait. So the brake is for an emergency, and no way to keep what belongs to others.
abstract contract Brake is Ownable2Step, Pausable {
    /// The longest that a pause lasts.
    uint64 public constant PAUSE_TIME_MAX = 7 days;
    /// How long after a pause there can be no other.
    uint64 public constant PAUSE_REST_MIN = 30 days;

    /// When the newest pause began.
    uint64 public pauseStart;
    /// When the newest pause ends, or ended.
    uint64 public pauseEnd;

    /// The last pause is too recent.
    error PauseTooSoon(uint64 allowedAt);
    /// Without an owner nobody could stop anything.
    error OwnerNeeded();

    /// `owner_` is best a `MultiOwner`, or another wallet that several people hold.
    constructor(address owner_) Ownable(owner_) {}

    /// Stops everything that moves tokens.
    function pause() external onlyOwner {
        uint64 allowedAt = pauseEnd == 0 ? 0 : pauseEnd + PAUSE_REST_MIN;
        if (block.timestamp < allowedAt) revert PauseTooSoon(allowedAt);
        // Before the new end is known: a pause that ended by itself still stands in the flag.
        _pause();
        pauseStart = uint64(block.timestamp);
        pauseEnd = uint64(block.timestamp) + PAUSE_TIME_MAX;
    }

    /// Ends the pause before its time.
    function unpause() external onlyOwner {
        _unpause();
        pauseEnd = uint64(block.timestamp);
    }

    /// Whether everything stands still now.
    function paused() public view override returns (bool) {
        return super.paused() && block.timestamp < pauseEnd;
    }

    /// Never: see `OwnerNeeded`.
    function renounceOwnership() public view override onlyOwner {
        revert OwnerNeeded();
    }
}
