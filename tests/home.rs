//! Somebody's home: the real binary with plain arguments; what `login` remembers stays in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::{parts, tenant};

/// The home.
pub struct Home(pub PathBuf);

impl Home {
    /// A home in a folder.
    pub fn new(folder: &Path) -> Self {
        let home = folder.join("home");
        std::fs::create_dir_all(&home).unwrap();
        Self(home)
    }

    /// A program that finds this home, and nothing that whoever runs the tests has logged in to.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("HOME", &self.0).env("XDG_CONFIG_HOME", self.0.join("config"));
        for inherited in ["STEWARD_SERVER", "STEWARD_KEY", "STEWARD_PROJECT", "STEWARD_CA"] {
            command.env_remove(inherited);
        }
        command
    }

    /// What a command does, whatever that is.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(parts::steward()).args(arguments).output().unwrap()
    }

    /// Standard output of a command that works.
    pub fn told(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    }

    /// What a command that works prints with `--json`, a value a line.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let told = self.told(&[&["--json"][..], arguments].concat());
        told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Standard output and error of a command that fails with exit code 1.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {said}");
        said
    }

    /// Writes an agent's folder.
    pub fn agent(&self, name: &str, script: &str) {
        let folder = self.0.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let models = format!("[models]\nchat = {:?}\n", tenant::MODEL);
        std::fs::write(folder.join("manifest.toml"), format!("name = {name:?}\n{models}")).unwrap();
        std::fs::write(folder.join("agent.rhai"), script).unwrap();
    }
}
