//! End-to-end tests in one binary, and the tidy test.
