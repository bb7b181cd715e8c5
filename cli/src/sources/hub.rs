//! Models on a hub that speaks Hugging Face's URLs. `HF_ENDPOINT` names another host, `HF_TOKEN` a key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::output::Output;

/// How long the hub may take to take a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may send nothing.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(60);

/// Fetches one file of a repository, unless it is kept already.
///
/// # Errors
/// When the hub refuses, or the connection breaks.
pub async fn fetch(repository: &str, path: &str, cache: &Path, output: Output) -> anyhow::Result<PathBuf> {
    let kept = cache.join("hf").join(repository).join(path);
    if kept.exists() {
        return Ok(kept);
    }
    let host = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_owned());
    let url = format!("{}/{repository}/resolve/main/{path}", host.trim_end_matches('/'));
    let http = reqwest::Client::builder().connect_timeout(CONNECT_TIME_MAX).read_timeout(SILENCE_TIME_MAX).build()?;
    let mut request = http.get(&url);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.with_context(|| format!("{url} does not answer"))?;
    ensure!(response.status().is_success(), "{url} answers {}", response.status());
    let folder = kept.parent().unwrap_or(cache);
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let expected = response.content_length();
    let bar = output.progress(&format!("fetching {path}"), expected.unwrap_or(0));
    let part = kept.with_extension("part");
    let mut file = tokio::fs::File::create(&part).await?;
    let (mut body, mut written) = (response.bytes_stream(), 0);
    while let Some(bytes) = body.next().await {
        let bytes = bytes.with_context(|| format!("{url} broke off"))?;
        file.write_all(&bytes).await?;
        written += bytes.len() as u64;
        bar.set_position(written);
    }
    file.sync_all().await?;
    bar.finish_and_clear();
    ensure!(expected.is_none_or(|expected| expected == written), "{url} broke off after {written} bytes");
    tokio::fs::rename(&part, &kept).await?;
    Ok(kept)
}
