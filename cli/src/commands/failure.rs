//! How a command's error is told: in words to a person, as one object to a program, and with its code of the closed list
//! where a node, a store or a proof gave it one.

use std::error::Error;
use std::process::ExitCode;

use steward_actors::service::Failure;
use steward_receipts::{CheckpointError, GrowthError, ProofError};
use steward_storage::StoreError;
use steward_types::ErrorCode;

use crate::client;
use crate::output::{Output, Tone};

/// Tells a person, or with `--json` a program, what went wrong. Exit code 1; 2 is the parser's own.
pub fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    if output.is_json() {
        let told = serde_json::json!({ "code": code(error), "message": words(error, client::message) });
        output.line(serde_json::json!({ "error": told }).to_string());
    } else {
        let mut text = words(error, client::explain);
        if let Some(code) = code_here(error) {
            text.push('\n');
            text.push_str(&client::explained_in(code.reason()));
        }
        output.complain(Tone::Bad, "error:", text);
    }
    ExitCode::FAILURE
}

/// What went wrong, from the outside in.
fn words(error: &anyhow::Error, of_call: fn(&tonic::Status) -> String) -> String {
    let told = |cause: &(dyn Error + 'static)| cause.downcast_ref().map_or_else(|| cause.to_string(), of_call);
    error.chain().map(told).collect::<Vec<_>>().join(": ")
}

/// The code that a node gave, or what failed here; none where the command line itself refused.
fn code(error: &anyhow::Error) -> Option<String> {
    let of_node = error.chain().find_map(|cause| client::reason(cause.downcast_ref()?));
    of_node.or_else(|| code_here(error).map(|code| code.reason().to_owned()))
}

/// The code of what failed in this process.
fn code_here(error: &anyhow::Error) -> Option<ErrorCode> {
    error.chain().find_map(|cause| {
        let of_store = cause.downcast_ref().map(StoreError::code);
        let of_service = cause.downcast_ref().map(|failure: &Failure| failure.code);
        let is_proof = cause.is::<ProofError>() || cause.is::<GrowthError>() || cause.is::<CheckpointError>();
        of_store.or(of_service).or(is_proof.then_some(ErrorCode::ProofInvalid))
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn what_failed_here_has_its_code_and_what_the_command_line_refused_has_none() {
        let locked = || StoreError::Locked { folder: "d/store".to_owned() };
        let check = |error: anyhow::Error, expected: Option<&str>| assert_eq!(code(&error).as_deref(), expected);
        check(locked().into(), Some("STORE_LOCKED"));
        check(Err::<(), _>(locked()).context("d was not backed up").unwrap_err(), Some("STORE_LOCKED"));
        check(ProofError::LeafMismatch.into(), Some("PROOF_INVALID"));
        check(Failure::new(ErrorCode::ModelNotFound, "no").into(), Some("MODEL_NOT_FOUND"));
        check(tonic::Status::unavailable("nobody listens").into(), None);
        check(anyhow::anyhow!("nothing was done"), None);
    }
}
