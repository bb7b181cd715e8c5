//! All end-to-end tests, as one binary, so that they link once.

mod browser;
mod cli;
mod demo;
mod docs;
mod grpcurl;
mod hostile;
mod kill;
mod openai;
mod parts;
mod tenant;
mod tidy;
