//! The Model port: generation, embedding, device accounting, and a scripted model for tests.
