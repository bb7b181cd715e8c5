//! Reads a cluster file as far as is needed to say what is wrong with it. FoundationDB's client reads it again, and
//! answers to a wrong one by waiting.

use std::path::Path;

use crate::FdbOpenError;

/// Checks that the file is there and names coordinators.
///
/// # Errors
/// [`FdbOpenError::ClusterFileUnreadable`] and [`FdbOpenError::ClusterFileMalformed`], naming the file.
pub fn check(path: &Path) -> Result<(), FdbOpenError> {
    let unreadable = |source| FdbOpenError::ClusterFileUnreadable { path: path.to_owned(), source };
    let malformed = |problem| FdbOpenError::ClusterFileMalformed { path: path.to_owned(), problem };
    let text = std::fs::read(path).map_err(unreadable)?;
    if path.to_str().is_none() {
        return Err(malformed("its path is not UTF-8, which FoundationDB's client needs".into()));
    }
    check_text(&String::from_utf8_lossy(&text)).map_err(malformed)
}

/// The rules of FoundationDB's "Administration" guide, "Cluster file format".
fn check_text(text: &str) -> Result<(), String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or("it is empty")?;
    if lines.next().is_some() {
        return Err("it has more than one line".into());
    }
    let (name, coordinators) = line.split_once('@').ok_or("it has no `@` before the coordinators")?;
    let (description, id) = name.split_once(':').ok_or("it has no `:` between the description and the id")?;
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_word(description) || !is_word(id) {
        return Err(format!("`{name}` is not a description and an id of letters and digits"));
    }
    coordinators.split(',').try_for_each(check_coordinator)
}

fn check_coordinator(coordinator: &str) -> Result<(), String> {
    let address = coordinator.strip_suffix(":tls").unwrap_or(coordinator);
    let wrong = || format!("the coordinator `{coordinator}` is not an address and a port");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_foundationdb_writes_is_valid() {
        for text in [
            "local:abc123@127.0.0.1:4500\n",
            "# a comment\n\nname_1:Xy9@10.0.0.1:4500:tls,10.0.0.2:4500:tls",
            "a:b@[::1]:4500,db.example.org:4501",
        ] {
            assert_eq!(check_text(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_cluster_file_is_told_apart() {
        for (text, problem) in [
            ("", "empty"),
            ("# only a comment", "empty"),
            ("a:b@127.0.0.1:4500\na:b@127.0.0.1:4501", "one line"),
            ("127.0.0.1:4500", "no `@`"),
            ("local@127.0.0.1:4500", "no `:`"),
            ("lo cal:1@127.0.0.1:4500", "letters"),
            ("local:1@127.0.0.1", "127.0.0.1"),
            ("local:1@127.0.0.1:4500,", "address and a port"),
            ("local:1@127.0.0.1:99999", "99999"),
        ] {
            let said = check_text(text).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }
}
