//! A node that reaches a real chain through endpoints that break in every way, and that is killed at random moments.

use std::time::Duration;

use steward::client::Client;
use steward::process::NodeProcess;
use steward_chaos_chains::{Fault, Proxy, Rules};
use steward_types::{Clock as _, Entropy as _, Micros, SeededEntropy, SystemClock};

use crate::real_chain::RealChain;
use crate::tenant::{self, PROJECT, Tenant};

/// How many in a thousand calls are broken.
const PERMILLE: u64 = 100;
/// Three endpoints, of which two must agree.
const ENDPOINTS: u64 = 3;

/// A node in front of a chain, and what stands between them.
pub struct Stand {
    /// The node and its project.
    pub tenant: Tenant,
    proxies: Vec<Proxy>,
    dice: SeededEntropy,
    clock: SystemClock,
}

impl Stand {
    /// A node that reaches this chain through proxies that break nothing yet; `more` is the rest of the chain's
    /// configuration.
    pub async fn start(chain: &RealChain, more: &str) -> Self {
        let mut proxies = Vec::new();
        for number in 0..ENDPOINTS {
            proxies.push(Proxy::start(chain.dialect, &chain.url, number).await);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut setup = tenant::setup(&folder.path().join("node"));
        let endpoints: Vec<&str> = proxies.iter().map(|proxy| proxy.url().as_str()).collect();
        chain.tell(&mut setup, &endpoints, &format!("quorum = 2\n{more}"));
        let node = NodeProcess::start(setup).await.unwrap();
        let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000_000)).await;
        let tenant = Tenant { node, client, key, folder };
        Self { tenant, proxies, dice: SeededEntropy::new(11), clock: SystemClock::new() }
    }

    /// From now on calls break; the first endpoint lies too.
    pub fn break_calls(&self) {
        for (number, proxy) in self.proxies.iter().enumerate() {
            let sometimes = if number == 0 { Fault::ALL.to_vec() } else { Fault::honest() };
            proxy.rule(Rules { always: None, sometimes, permille: PERMILLE });
        }
    }

    /// How many calls broke so far.
    pub fn broken(&self) -> u64 {
        self.proxies.iter().flat_map(Proxy::fired).map(|(_, count)| count).sum()
    }

    /// Kills the node with SIGKILL at a random moment within this time, unless `work` is done before; says whether it
    /// was killed in the middle. Then it is started again.
    pub async fn kill_within(&mut self, time: Duration, work: impl Future) -> bool {
        let moment = Duration::from_micros(self.dice.next_u64() % u64::try_from(time.as_micros()).unwrap());
        let in_the_middle = tokio::select! {
            _ = work => false,
            () = self.clock.sleep(moment) => true,
        };
        self.kill_at_once().await;
        in_the_middle
    }

    /// Kills the node now, and starts it again.
    pub async fn kill_at_once(&mut self) {
        self.tenant.node.kill().await.unwrap();
        self.tenant.node.start_again().await.unwrap();
        self.tenant.client = Client::new(self.tenant.node.server(), Some(&self.tenant.key)).unwrap();
    }

    /// Looks every now and then until this is there, however long a long run takes.
    pub async fn until<T>(&self, mut ready: impl AsyncFnMut(&Tenant) -> Option<T>) -> T {
        loop {
            if let Some(found) = ready(&self.tenant).await {
                return found;
            }
            self.clock.sleep(LOOK_TIME).await;
        }
    }
}

/// How often it is looked whether something is there.
const LOOK_TIME: Duration = Duration::from_millis(50);
