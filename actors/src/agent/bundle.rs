//! A bundle as it is uploaded, and the check that it must pass before it becomes a version.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_scripting::bundle::{MAIN_FILE, PROJECT_PREFIX};
use steward_scripting::{Bundle, Diagnostic, Manifest, Program};
use steward_types::limits::{HTTP_TIME_MAX, SCRIPT_BYTES_MAX, SCRIPT_MODULES_MAX, SESSION_WAIT_TIME_MAX};
use thiserror::Error;

use super::record::FileRecord;

/// The manifest's name among a bundle's files.
pub const MANIFEST_FILE: &str = "manifest.toml";

/// Files by name, such as `agent.rhai` and `pricing.rhai`, and the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UploadedBundle {
    /// Scripts by file name.
    pub files: BTreeMap<String, String>,
    /// The manifest, as TOML.
    pub manifest: String,
}

/// A bundle that passed its check.
#[derive(Debug, Clone)]
pub struct CheckedBundle {
    /// The program, ready to run.
    pub program: Program,
    /// What the agent says about itself.
    pub manifest: Manifest,
    /// Every file with its text, the manifest among them.
    pub files: BTreeMap<String, String>,
}

/// Everything that is wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the bundle does not pass its check: {}", diagnostics.first().map(ToString::to_string).unwrap_or_default())]
pub struct BundleError {
    /// Each with file, line and column.
    pub diagnostics: Vec<Diagnostic>,
}

impl UploadedBundle {
    /// Checks the manifest and every script. Takes CPU time: call it on a blocking thread.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(self) -> Result<CheckedBundle, BundleError> {
        let mut diagnostics = self.check_files();
        let manifest = Manifest::parse(&self.manifest);
        match &manifest {
            Ok(manifest) => diagnostics.extend(times_too_long(manifest)),
            Err(error) => diagnostics.push(Diagnostic::of_file(MANIFEST_FILE, error.message.clone())),
        }
        // A script that is too large is not parsed.
        let program = if diagnostics.iter().any(|found| found.file != MANIFEST_FILE) {
            Err(Vec::new())
        } else {
            Program::check(&self.bundle())
        };
        match (manifest, program) {
            (Ok(manifest), Ok(program)) if diagnostics.is_empty() => {
                let mut files = self.files;
                files.insert(MANIFEST_FILE.to_owned(), self.manifest);
                Ok(CheckedBundle { program, manifest, files })
            }
            (_, program) => {
                diagnostics.extend(program.err().unwrap_or_default());
                Err(BundleError { diagnostics })
            }
        }
    }

    /// The same with these modules of the project, by their whole names, where it does not bring its own.
    #[must_use]
    pub fn with_modules(mut self, modules: BTreeMap<String, String>) -> Self {
        for (name, text) in modules {
            self.files.entry(format!("{name}.rhai")).or_insert(text);
        }
        self
    }

    fn check_files(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if !self.files.contains_key(MAIN_FILE) {
            found.push(
                Diagnostic::of_file(MAIN_FILE, "the bundle has no main script")
                    .with_help(format!("name the script with the handlers {MAIN_FILE}")),
            );
        }
        if self.files.len() > SCRIPT_MODULES_MAX + 1 {
            let message = format!("an agent has at most {SCRIPT_MODULES_MAX} modules, the project's among them");
            found.push(Diagnostic::of_file(MAIN_FILE, message));
        }
        for (name, text) in &self.files {
            if module_name(name).is_none() {
                found.push(
                    Diagnostic::of_file(name.chars().take(100).collect::<String>(), "not the name of a script")
                        .with_help("use a-z, 0-9 and _, and the ending .rhai"),
                );
            } else if text.len() > SCRIPT_BYTES_MAX {
                let message = format!("the script has {} bytes; {SCRIPT_BYTES_MAX} are allowed", text.len());
                found.push(Diagnostic::of_file(name, message));
            }
        }
        found
    }

    /// Its scripts, as the scripting crate takes them.
    pub fn bundle(&self) -> Bundle {
        bundle_of(&self.files)
    }
}

/// Times of the manifest that no step waits for. Manifests that were deployed before this was checked are read without:
/// their steps wait as long as they may.
fn times_too_long(manifest: &Manifest) -> Vec<Diagnostic> {
    let times = [
        ("http.timeout_ms", manifest.http.timeout_ms, HTTP_TIME_MAX),
        ("approvals.timeout_ms", manifest.approvals.timeout_ms, SESSION_WAIT_TIME_MAX),
    ];
    let too_long = |(field, millis, most): (&str, Option<u64>, Duration)| {
        let millis = millis.filter(|millis| u128::from(*millis) > most.as_millis())?;
        let message = format!("{field} is {millis}; {} ms are the most", most.as_millis());
        Some(Diagnostic::of_file(MANIFEST_FILE, message))
    };
    times.into_iter().filter_map(too_long).collect()
}

impl CheckedBundle {
    /// Where each file is to be kept.
    pub fn file_records(&self) -> BTreeMap<String, FileRecord> {
        self.files.iter().map(|(name, text)| (name.clone(), FileRecord::of(text))).collect()
    }
}

/// SHA-256 over names and hashes of files: the same for the same bundle on every machine.
pub(super) fn bundle_hash(files: &BTreeMap<String, FileRecord>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"steward bundle\0");
    for (name, file) in files {
        hash.update(u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(name.as_bytes());
        hash.update(file.hash);
    }
    hash.finalize().into()
}

/// The scripting crate's bundle of these files.
pub(super) fn bundle_of(files: &BTreeMap<String, String>) -> Bundle {
    let mut bundle = Bundle::new(files.get(MAIN_FILE).cloned().unwrap_or_default());
    for (name, text) in files {
        if let Some(module) = module_name(name).filter(|_| name != MAIN_FILE) {
            bundle.modules.insert(module.to_owned(), text.clone());
        }
    }
    bundle
}

fn module_name(file: &str) -> Option<&str> {
    let module = file.strip_suffix(".rhai")?;
    let name = module.strip_prefix(PROJECT_PREFIX).unwrap_or(module);
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let short = !name.is_empty() && name.len() <= steward_types::limits::NAME_BYTES_MAX;
    (short && name.bytes().all(good)).then_some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(files: &[(&str, &str)]) -> UploadedBundle {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        UploadedBundle { files, manifest: "name = \"clerk\"".to_owned() }
    }

    #[test]
    fn a_good_bundle_passes_and_keeps_its_manifest_as_a_file() {
        let checked = bundle(&[("agent.rhai", "fn on_message(msg) { reply(msg.text); }")]).check().unwrap();
        assert_eq!(checked.manifest.name.as_str(), "clerk");
        assert!(checked.file_records().contains_key(MANIFEST_FILE));
    }

    #[test]
    fn everything_wrong_is_found_at_once() {
        let check = |bundle: UploadedBundle, files: &[&str]| {
            let found = bundle.check().unwrap_err().diagnostics;
            let names: Vec<&str> = found.iter().map(|found| found.file.as_str()).collect();
            assert_eq!(names, files);
        };
        check(bundle(&[]), &["agent.rhai"]);
        check(bundle(&[("agent.rhai", ""), ("../x.rhai", "")]), &["../x.rhai"]);
        check(bundle(&[("agent.rhai", &" ".repeat(SCRIPT_BYTES_MAX + 1))]), &["agent.rhai"]);
        let mut wrong = bundle(&[("agent.rhai", "fn on_message(msg) { caht(msg); }")]);
        wrong.manifest = "nam = 1".to_owned();
        check(wrong, &["manifest.toml", "agent.rhai"]);
    }

    #[test]
    fn a_time_that_no_step_waits_for_is_refused_with_the_most() {
        let with = |times: &str| UploadedBundle {
            manifest: format!("name = \"clerk\"\n{times}"),
            ..bundle(&[("agent.rhai", "fn on_message(msg) { reply(msg.text); }")])
        };
        with("[http]\ntimeout_ms = 30_000\n[approvals]\ntimeout_ms = 31_536_000_000").check().unwrap();
        let refused = with("[http]\ntimeout_ms = 30_001\n[approvals]\ntimeout_ms = 31_536_000_001").check();
        let said: Vec<String> = refused.unwrap_err().diagnostics.iter().map(ToString::to_string).collect();
        let http = "manifest.toml: http.timeout_ms is 30001; 30000 ms are the most";
        let approvals = "manifest.toml: approvals.timeout_ms is 31536000001; 31536000000 ms are the most";
        assert_eq!(said, [http, approvals]);
    }
}
