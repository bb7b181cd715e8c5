//! All end-to-end tests, as one binary, so that they link once.
#![expect(missing_docs, reason = "a test binary has no API")]

mod kill;
mod parts;
mod tidy;
