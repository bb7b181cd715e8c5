//! The contract's calls and bytecode, from the committed artifact of `contracts/evm`.

alloy::sol!(ReceiptLog, "../../contracts/evm/artifacts/ReceiptLog.json");
