//! Usage receipts: canonical leaf, RFC 9162 Merkle log, signed checkpoints, proofs and an offline verifier.
