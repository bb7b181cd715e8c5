//! Asks endpoints that failed, or were left alone, whether they are well again, though nobody needs them now. Never asks
//! one that is well, and no more often than its breaker, its throttling and its punishment allow.

use futures::stream::{FuturesUnordered, StreamExt as _};
use steward_types::Timestamp;

use super::Pool;
use super::round::Question;
use crate::chain::Head;
use crate::endpoint::Class;

impl Pool {
    /// When to [`tend`](Self::tend) the endpoints next; nothing while all of them are well.
    pub fn tend_at(&self) -> Option<Timestamp> {
        self.roster.lock().tend_at()
    }

    /// Waits until it is time, however long all stay well, and tends the endpoints once. Dropping it is safe.
    pub async fn tend_when_due(&self) {
        loop {
            let troubled = self.troubled.notified();
            let now = self.clock.now();
            match self.tend_at() {
                Some(at) if at <= now => return self.tend().await,
                Some(at) => tokio::select! {
                    () = troubled => {}
                    () = self.clock.sleep(at.saturating_since(now)) => {}
                },
                None => troubled.await,
            }
        }
    }

    /// Asks each endpoint whose time has come for its newest block, which closes its breaker or opens it again.
    pub async fn tend(&self) {
        let due = self.roster.lock().due(self.clock.now());
        let question: &Question<'_, Head> = &|chain| chain.head();
        let asked = due.into_iter().filter_map(|number| self.begin(number, Class::Read, question));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let all = async {
            while asked.next().await.is_some() {}
            Ok(())
        };
        // Each endpoint has taken note of how it went; who did not answer in time is no longer waited for.
        if self.in_time(all).await.is_err() {
            tracing::debug!(chain = %self.id, "an endpoint did not say in time whether it is well");
        }
    }
}
