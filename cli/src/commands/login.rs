//! `steward login`: tries server and key once, then remembers them.

use anyhow::Context as _;
use steward_api::proto::v1::ListProjectsRequest;

use crate::args::Global;
use crate::client::{self, Client};
use crate::credentials::{self, Credentials};
use crate::output::{Output, Tone};

/// Runs `login`.
///
/// # Errors
/// When the node does not take the key.
pub async fn run(global: &Global, output: Output) -> anyhow::Result<()> {
    let key = global.key.clone().context("give the key: steward login --server URL --key stw_…")?;
    let (server, key) = client::resolve(&Global { key: Some(key), ..global.clone() })?;
    let client = Client::new(&server, Some(&key))?;
    let seen = client.projects().list(ListProjectsRequest::default()).await?.into_inner();
    let file = credentials::file()?;
    credentials::save(&file, &Credentials { server: server.clone(), key })?;
    let projects: Vec<&str> = seen.projects.iter().map(|project| project.name.as_str()).collect();
    if output.is_json() {
        output.line(serde_json::json!({ "server": server, "projects": projects }).to_string());
    } else {
        let sees = if projects.is_empty() { "no project yet".to_owned() } else { projects.join(", ") };
        output.line(format!("{} at {server}; the key sees {sees}", output.paint(Tone::Good, "logged in")));
        output.line(output.paint(Tone::Faint, format!("remembered in {}", file.display())));
    }
    Ok(())
}
