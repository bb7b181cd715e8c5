// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// Reads a receipt's canonical bytes, the leaf of contracts/receipts/FORMAT.md, version 1.
///
/// Refuses bytes of another shape. Whether names are made of the letters that they may have is not checked: nothing
/// here reads them, and a verifier off the chain does.
library Receipt {
    uint256 private constant NAME_LENGTH_MAX = 63;
    /// What follows the model: two hashes and five numbers.
    uint256 private constant TAIL = 2 * 32 + 5 * 8;

    /// What contracts ask of a receipt.
    struct Fields {
        /// SHA-256 of the model's file; zero when no model took part.
        bytes32 modelHash;
        /// SHA-256 of the step's arguments.
        bytes32 promptHash;
        /// SHA-256 of the step's result.
        bytes32 responseHash;
        /// What it cost, in micro-units.
        uint64 price;
        /// When it was settled, in milliseconds since the Unix epoch.
        uint64 time;
    }

    /// The bytes are not a receipt.
    error NotAReceipt();

    /// What a receipt says.
    function read(bytes calldata leaf) internal pure returns (Fields memory fields) {
        if (leaf.length == 0 || leaf[0] != 0x01) revert NotAReceipt();
        uint256 place = afterName(leaf, afterName(leaf, 1));
        place = afterStep(leaf, place + 16 + 8);
        place = afterName(leaf, place + 16);
        bytes calldata flag = slice(leaf, place, 1);
        place += 1;
        if (flag[0] == 0x01) {
            place = afterName(leaf, place);
            fields.modelHash = bytes32(slice(leaf, place, 32));
            place += 32;
        } else if (flag[0] != 0x00) {
            revert NotAReceipt();
        }
        if (leaf.length != place + TAIL) revert NotAReceipt();
        bytes calldata tail = slice(leaf, place, TAIL);
        fields.promptHash = bytes32(tail[:32]);
        fields.responseHash = bytes32(tail[32:64]);
        fields.price = uint64(bytes8(tail[88:96]));
        fields.time = uint64(bytes8(tail[96:104]));
    }

    function afterName(bytes calldata leaf, uint256 place) private pure returns (uint256) {
        uint256 length = uint16(bytes2(slice(leaf, place, 2)));
        if (length == 0 || length > NAME_LENGTH_MAX) revert NotAReceipt();
        return place + 2 + length;
    }

    function afterStep(bytes calldata leaf, uint256 place) private pure returns (uint256) {
        uint256 numbers = uint32(bytes4(slice(leaf, place, 4)));
        if (numbers % 2 == 0) revert NotAReceipt();
        return place + 4 + 4 * numbers;
    }

    function slice(bytes calldata leaf, uint256 place, uint256 length) private pure returns (bytes calldata) {
        if (place + length > leaf.length) revert NotAReceipt();
        return leaf[place:place + length];
    }
}
