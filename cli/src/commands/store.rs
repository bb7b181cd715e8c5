//! `steward store`: a stopped node's store into one file, and back.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use steward_storage::Store as _;
use steward_storage_embedded::{BackupProgress, EmbeddedConfig, EmbeddedStore};
use steward_types::SystemClock;

use crate::args::StoreCommand;
use crate::node::STORE_FOLDER;
use crate::output::{Output, Tone};

/// Runs one of `store`.
///
/// # Errors
/// When the store is in use, or a file cannot be read or written, or the backup is damaged.
pub async fn run(command: StoreCommand, output: Output) -> anyhow::Result<()> {
    match command {
        StoreCommand::Backup { data, file } => backup(&data, &file, output).await,
        StoreCommand::Restore { file, data } => restore(&file, &data, output),
    }
}

async fn backup(data: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let store = EmbeddedStore::open(&EmbeddedConfig::new(data.join(STORE_FOLDER)), Arc::new(SystemClock::new()))?;
    let spinner = output.spinner("backing up");
    let shown = spinner.clone();
    let written = store.backup(file, move |progress| shown.set_message(told("backing up", progress))).await;
    spinner.finish_and_clear();
    let summary = written.with_context(|| format!("{} was not backed up", data.display()))?;
    store.close().await?;
    report(output, &format!("backed up to {}", file.display()), summary.total);
    Ok(())
}

fn restore(file: &Path, data: &Path, output: Output) -> anyhow::Result<()> {
    let folder = data.join(STORE_FOLDER);
    ensure!(!folder.exists(), "{} is there already: name another folder", folder.display());
    std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let spinner = output.spinner("restoring");
    let restored = EmbeddedStore::restore(file, &EmbeddedConfig::new(folder), |progress| {
        spinner.set_message(told("restoring", progress));
    });
    spinner.finish_and_clear();
    let summary = restored.with_context(|| format!("{} was not restored", file.display()))?;
    report(output, &format!("restored to {}", data.display()), summary.total);
    Ok(())
}

fn told(what: &str, progress: BackupProgress) -> String {
    format!("{what}: {} rows, {} KiB", progress.rows, progress.bytes >> 10)
}

fn report(output: Output, what: &str, total: BackupProgress) {
    if output.is_json() {
        output.line(serde_json::json!({ "rows": total.rows, "bytes": total.bytes }).to_string());
    } else {
        output.line(format!("{} ({} rows, {} bytes)", output.paint(Tone::Good, what), total.rows, total.bytes));
    }
}
