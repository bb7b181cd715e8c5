//! A node as its operator handles it: the command line with the root key, and what `/metrics` shows.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use steward::process::NodeProcess;

use crate::parts;

/// Whether the command line does what these words say, and what it says to them.
pub fn asked(node: &NodeProcess, words: &[&str]) -> (bool, String) {
    let key = std::fs::read_to_string(node.root_key_file()).unwrap();
    let mut steward = Command::new(parts::steward());
    let ended = steward.args(["--server", node.server(), "--key", key.trim()]).args(words).output().unwrap();
    (ended.status.success(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
}

/// What the command line says to these words, which it does.
pub fn told(node: &NodeProcess, words: &[&str]) -> String {
    let (is_done, said) = asked(node, words);
    assert!(is_done, "{words:?}: {said}");
    said
}

/// What the node's metrics say; they are for whoever asks from this machine.
pub fn metrics(node: &NodeProcess) -> String {
    let mut stream = TcpStream::connect(node.server().trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
