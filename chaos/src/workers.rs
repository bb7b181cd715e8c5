//! Everyone who works during a run: sessions and registers, until there is enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use steward::client::Client;
use steward::process::NodeProcess;
use steward_types::SystemClock;
use tokio::task::JoinSet;

use crate::plan::Plan;
use crate::project;
use crate::registers::{self, Checked};
use crate::workload::{self, Clients, History, Load};

/// The project of the registers, apart so that the other's books are the sessions' alone.
const REGISTERS: &str = "registers";

/// The workers. Dropping it ends them.
pub struct Workers {
    sessions: JoinSet<anyhow::Result<History>>,
    registers: JoinSet<anyhow::Result<Checked>>,
    enough: Arc<AtomicBool>,
}

impl Workers {
    /// Starts a plan's workers; `clients` are the sessions', one for each node.
    ///
    /// # Errors
    /// When the registers' project cannot be made.
    pub async fn start(
        plan: &Plan,
        nodes: &[NodeProcess],
        clients: &[Client],
        load: &Arc<Load>,
    ) -> anyhow::Result<Self> {
        let enough = Arc::new(AtomicBool::new(plan.kills == 0));
        let (mut sessions, mut registers) = (JoinSet::new(), JoinSet::new());
        for number in 0..plan.sessions {
            let (load, enough) = (Arc::clone(load), Arc::clone(&enough));
            let clients = Clients::new(clients.to_vec(), number as usize);
            sessions.spawn(workload::session(clients, load, format!("session-{number}"), plan.messages, enough));
        }
        if plan.registers > 0 {
            let shared = Arc::new(registers::Shared {
                clients: project::create(nodes, REGISTERS, registers::AGENT, &[]).await?,
                roots: roots(nodes)?,
                pulse: Arc::clone(&load.pulse),
                enough: Arc::clone(&enough),
                clock: SystemClock::new(),
            });
            for number in 0..plan.registers {
                let (shared, seed) = (Arc::clone(&shared), plan.seed.wrapping_add(u64::from(number)));
                registers.spawn(registers::registers(shared, format!("register-{number}"), seed));
            }
        }
        Ok(Self { sessions, registers, enough })
    }

    /// Returns when one ends before there is enough, which only one that broke does, and says why.
    pub async fn broken(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.sessions.join_next() => ended.map(|ended| ended.map(drop)),
            Some(ended) = self.registers.join_next() => ended.map(|ended| ended.map(drop)),
            else => Ok(Ok(())),
        };
        match ended {
            Ok(Ok(())) => anyhow::anyhow!("a worker ended before the faults were done"),
            Ok(Err(broken)) => broken,
            Err(crashed) => crashed.into(),
        }
    }

    /// Tells them that there is enough.
    pub fn enough(&self) {
        self.enough.store(true, Ordering::SeqCst);
    }

    /// Waits until all have ended, and gives what they saw.
    ///
    /// # Errors
    /// What did not go as promised.
    pub async fn finish(mut self) -> anyhow::Result<(Vec<History>, Checked)> {
        let (mut histories, mut checked) = (Vec::new(), Checked::default());
        while let Some(ended) = self.sessions.join_next().await {
            histories.push(ended??);
        }
        while let Some(ended) = self.registers.join_next().await {
            checked = checked.and(ended??);
        }
        Ok((histories, checked))
    }
}

/// Clients of each node with its root key.
///
/// # Errors
/// When a key cannot be read.
pub fn roots(nodes: &[NodeProcess]) -> anyhow::Result<Vec<Client>> {
    nodes.iter().map(|node| node.root_client().context("a node's root key")).collect()
}
