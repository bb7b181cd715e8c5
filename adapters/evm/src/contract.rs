//! The calls that the driver makes: the receipt log's, with its bytecode, from the committed artifact of
//! `contracts/evm`, and those of a token (ERC-20).

alloy::sol!(ReceiptLog, "../../contracts/evm/artifacts/ReceiptLog.json");

alloy::sol! {
    /// What every token has: <https://eips.ethereum.org/EIPS/eip-20>.
    interface Erc20 {
        /// Pays from the caller's balance. Some tokens answer false instead of failing, some answer nothing.
        function transfer(address to, uint256 amount) external returns (bool);
        /// How much of the token somebody has.
        function balanceOf(address owner) external view returns (uint256);
    }
}
