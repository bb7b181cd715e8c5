//! New keystore files: a key that is made here, or one that exists, encrypted under a password.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use steward_adapters::signer::SecretKey;
use steward_adapters_signers::{SecretText, keystore};
use steward_types::{Entropy as _, SystemEntropy};
use zeroize::Zeroizing;

use crate::args::{self, NewWallet};
use crate::node::chains::signing::Family;
use crate::output::Output;

/// Fewest characters of a password: a keystore file is what a thief may guess at for years.
const PASSWORD_CHARS_MIN: usize = 8;

/// Makes a key and writes it.
///
/// # Errors
/// When the file exists or cannot be written, or there is no password.
pub(super) fn new(wallet: &NewWallet, output: Output) -> anyhow::Result<()> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemEntropy.fill(&mut bytes[..]);
    // One in 2^127 is no key of secp256k1, and is refused below.
    write(&SecretKey::from_bytes(*bytes), wallet, output)
}

/// Writes a key that exists.
///
/// # Errors
/// When the key cannot be read, the file exists or cannot be written, or there is no password.
pub(super) fn import(key_file: Option<&Path>, wallet: &NewWallet, output: Output) -> anyhow::Result<()> {
    let text = match key_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            SecretText::new(text)
        }
        None => ask("the key: ", "--key-file", output)?,
    };
    let secret = family(wallet).read_secret(text.expose())?;
    write(&secret, wallet, output)
}

fn write(secret: &SecretKey, wallet: &NewWallet, output: Output) -> anyhow::Result<()> {
    let (file, family) = (&wallet.file, family(wallet));
    ensure!(!file.exists(), "{} exists already, and a key is never overwritten", file.display());
    let account = family.local(secret)?.address().to_owned();
    let password = match &wallet.password_file {
        Some(file) => SecretText::read(file)?,
        None => ask_twice(output)?,
    };
    let count = password.expose().chars().count();
    ensure!(
        count >= PASSWORD_CHARS_MIN,
        "the password has {count} characters, and {PASSWORD_CHARS_MIN} are the fewest"
    );
    // The format has room for an address of Ethereum's.
    let digits = account.strip_prefix("0x").map(str::to_ascii_lowercase);
    keystore::create(file, secret.expose(), &password, digits.as_deref(), &SystemEntropy)?;
    if output.is_json() {
        let said = serde_json::json!({ "account": account, "keystore": file.display().to_string() });
        output.line(said.to_string());
        return Ok(());
    }
    output.facts(&[("account", account), ("keystore", file.display().to_string())]);
    output.line("Keep a copy of the file and of its password: without either, what the account has is lost.");
    Ok(())
}

fn family(wallet: &NewWallet) -> Family {
    match wallet.family {
        args::Family::Evm => Family::Evm,
        args::Family::Cosmos => Family::Cosmos { prefix: wallet.prefix.clone() },
        args::Family::Solana => Family::Solana,
    }
}

fn ask_twice(output: Output) -> anyhow::Result<SecretText> {
    let password = ask("a password for the keystore: ", "--password-file", output)?;
    let again = ask("the same again: ", "--password-file", output)?;
    ensure!(password.expose() == again.expose(), "the two differ; nothing was written");
    Ok(password)
}

/// Reads a line that the terminal does not show.
fn ask(prompt: &str, instead: &str, output: Output) -> anyhow::Result<SecretText> {
    ensure!(
        std::io::stdin().is_terminal() && !output.is_json(),
        "nobody is here to be asked for {}: give {instead} FILE",
        prompt.trim_end_matches(": ")
    );
    output.part(prompt);
    enable_raw_mode()?;
    let line = read_hidden();
    disable_raw_mode()?;
    output.line("");
    line.map(SecretText::new)
}

fn read_hidden() -> anyhow::Result<String> {
    let mut line = String::new();
    loop {
        let Event::Key(key) = read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Ok(line),
            KeyCode::Char('c' | 'd') if is_control => anyhow::bail!("nothing was written"),
            KeyCode::Backspace => drop(line.pop()),
            KeyCode::Char(letter) if !is_control => line.push(letter),
            _ => {}
        }
    }
}
