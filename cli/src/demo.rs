//! `steward demo`: everything that Steward promises, on real parts, in a few minutes on one machine.
//!
//! It talks to its node as any client does, kills it as an unlucky machine would, and prints what came of it.

mod parts;
mod story;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use steward_types::{Clock as _, SystemClock};

use crate::args::Demo;
use crate::output::{Output, Tone};

use self::parts::Treasury;

/// Where the demo keeps things.
#[derive(Debug, Clone)]
pub struct Places {
    /// Fetched once, used again by later runs.
    pub models: PathBuf,
    /// npm packages, likewise.
    pub packages: PathBuf,
    /// The node's data; made anew by each run.
    pub node: PathBuf,
    /// The proof that the demo leaves.
    pub proof: PathBuf,
}

/// Runs the demo.
///
/// # Errors
/// What part could not be had, or what did not go as promised.
pub async fn run(demo: Demo, output: Output) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let root = std::path::absolute(&demo.dir)?;
    let run = root.join("demo");
    if run.exists() {
        std::fs::remove_dir_all(&run).with_context(|| format!("{} cannot be removed", run.display()))?;
    }
    let places = Places {
        models: root.join("models"),
        packages: root.join("npm"),
        node: run.join("node"),
        proof: run.join("proof.json"),
    };
    std::fs::create_dir_all(&places.node).with_context(|| format!("{} cannot be made", places.node.display()))?;

    heading(output, 1, "A real model");
    parts::fetch_models(&places.models, output).await?;

    heading(output, 2, "A node on the embedded store, and a chain");
    let anvil = parts::start_chain(&demo, &places, output).await?;
    let treasury = Treasury::start().await?;
    let mut node = parts::start_node(&places.node, anvil.url().as_str(), output).await?;
    output.line(format!("  node    {} (process {})", node.server(), node.id()));
    output.line(format!("  chain   eip155:31337 at {}", anvil.url()));
    output.line(format!("  outside {} (counts what is really done)", treasury.url()));

    heading(output, 3, "A project with a budget, an agent, a session");
    let session = story::set_up(&node, &places.models, output).await?;
    let (id, sent) = story::open(&session, treasury.url()).await?;

    heading(output, 4, "The turn, killed twice on its way");
    story::turn_with_kills(&session, &id, &sent, &mut node, &treasury, &demo).await?;
    let effects = treasury.effects();
    ensure!(effects.done == 1, "the transfer was done {} times", effects.done);
    ensure!(
        effects.asked == 2,
        "the transfer was asked for {} times, not once before and once after the kill",
        effects.asked
    );
    let tick = output.paint(Tone::Good, "✓");
    output.line(format!("  {tick} the transfer was asked for twice, before and after the kill, and done once"));

    heading(output, 5, "What it cost, and the proof");
    story::account(&session, &id, output).await?;
    story::anchor_and_prove(&session, &id, &places.proof, anvil.url().as_str(), output).await?;

    let took = clock.monotonic();
    output.line(format!("\n{} in {} s", output.paint(Tone::Good, "all of it held"), took.as_secs()));
    if demo.keep {
        let key = node.root_key_file();
        output.line(format!(
            "the node goes on until Ctrl-C; in another terminal:\n  export STEWARD_SERVER={} STEWARD_KEY=$(cat {}) STEWARD_PROJECT={}\n  steward sessions show {id}",
            node.server(),
            key.display(),
            story::PROJECT,
        ));
        tokio::signal::ctrl_c().await?;
    }
    node.stop().await
}

fn heading(output: Output, number: u32, text: &str) {
    if !output.is_json() {
        output.line(format!("\n{}", output.paint(Tone::Heading, format!("{number}. {text}"))));
    }
}

/// The folder with the examples: beside the sources, since the demo is run from a clone.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}
