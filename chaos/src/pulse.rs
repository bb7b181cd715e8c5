//! Who got something done when: what healing is measured by.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use steward_types::{Clock as _, SystemClock};
use tokio::sync::Notify;

/// That everyone has gone on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healed {
    /// How long it took.
    pub took: Duration,
    /// Who was last.
    pub last: String,
}

/// When each worker of a run last finished something.
#[derive(Debug)]
pub struct Pulse {
    clock: SystemClock,
    last: Mutex<BTreeMap<String, Duration>>,
    beaten: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { clock: SystemClock::new(), last: Mutex::default(), beaten: Notify::new() }
    }
}

impl Pulse {
    /// A worker begins: from now on it is waited for.
    pub fn begin(&self, who: &str) {
        self.last.lock().insert(who.to_owned(), Duration::ZERO);
    }

    /// A worker has finished something.
    pub fn beat(&self, who: &str) {
        self.last.lock().insert(who.to_owned(), self.clock.monotonic());
        self.beaten.notify_one();
    }

    /// A worker ends: it is not waited for any more.
    pub fn end(&self, who: &str) {
        self.last.lock().remove(who);
        self.beaten.notify_one();
    }

    /// Waits until every worker has finished something that ended after this was called, and returns who was last and
    /// how long that one took. One waits at a time.
    ///
    /// # Errors
    /// Who has not, when `within` is over.
    pub async fn all(&self, within: Duration) -> Result<Healed, Vec<String>> {
        let since = self.clock.monotonic();
        loop {
            let late: Vec<String> = self.late(since);
            let passed = self.clock.monotonic().saturating_sub(since);
            if late.is_empty() {
                return Ok(Healed { took: passed, last: self.newest() });
            }
            let Some(left) = within.checked_sub(passed) else { return Err(late) };
            tokio::select! {
                () = self.beaten.notified() => {}
                () = self.clock.sleep(left) => {}
            }
        }
    }

    fn newest(&self) -> String {
        let last = self.last.lock();
        last.iter().max_by_key(|(_, last)| **last).map(|(who, _)| who.clone()).unwrap_or_default()
    }

    fn late(&self, since: Duration) -> Vec<String> {
        self.last.lock().iter().filter(|&(_, &last)| last <= since).map(|(who, _)| who.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_each_worker_once_and_names_who_is_late() {
        let pulse = Pulse::default();
        for who in ["a", "b", "c"] {
            pulse.begin(who);
        }
        pulse.beat("a");
        pulse.end("c");
        assert_eq!(pulse.all(Duration::ZERO).await, Err(vec!["a".to_owned(), "b".to_owned()]));
        let (all, ()) = tokio::join!(pulse.all(Duration::from_secs(60)), async {
            pulse.beat("a");
            pulse.beat("b");
        });
        assert_eq!(all.map(|healed| healed.last), Ok("b".to_owned()));
    }
}
