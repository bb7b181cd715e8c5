//! Logs that a chain anchors by itself: when their receipts have waited long enough, or enough of them wait, whichever
//! comes first. Neither makes a root of its own: both only want the log, and what is wanted is anchored once.

use std::sync::Arc;
use std::time::Duration;

use steward_types::limits::{ANCHOR_INTERVAL_MIN, ANCHOR_WATCH_RETRY_TIME};
use steward_types::{ProjectId, Timestamp};

use super::entity::ChainActor;
use super::messages::ChainEvent;
use super::settings::Follow;
use crate::host::{Context, Fault};
use crate::receipt_log;

impl ChainActor {
    /// Follows a log from now on, or no longer. Being told again what is known changes nothing.
    pub(super) fn follow(&mut self, project: ProjectId, follow: Option<Follow>) {
        if self.desk.follows.get(&project) == follow.as_ref() {
            return;
        }
        self.looked.remove(&project);
        self.grown.remove(&project);
        self.end_watch(&project);
        match follow {
            Some(follow) => self.desk.follows.insert(project, follow),
            None => self.desk.follows.remove(&project),
        };
    }

    /// When a followed log is to be looked at next. One that was not looked at since the start is due at once.
    pub(super) fn due_at(&self, project: &ProjectId) -> Timestamp {
        let Some(looked) = self.looked.get(project) else { return Timestamp::EPOCH };
        let interval = if self.grown.contains(project) { ANCHOR_INTERVAL_MIN } else { self.interval(project) };
        looked.saturating_add(interval)
    }

    /// Wants the followed logs whose receipts have waited long enough, or of which enough wait.
    pub(super) async fn look_at_followed(&mut self, context: &Context<Self>, now: Timestamp) -> Result<(), Fault> {
        let due: Vec<ProjectId> =
            self.desk.follows.keys().filter(|project| self.due_at(project) <= now).cloned().collect();
        for project in due {
            self.look_at(context, project, now).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, context: &Context<Self>, project: ProjectId, now: Timestamp) -> Result<(), Fault> {
        let store = &*context.environment().store;
        let size = receipt_log::head(store, &project).await?.map_or(0, |head| head.size());
        let anchored = receipt_log::newest_anchor_on(store, &project, self.id.as_str()).await?;
        // A node that starts again takes up where the newest anchor left off.
        let anchored_at = anchored.as_ref().map_or(Timestamp::EPOCH, |anchored| anchored.anchored_at);
        let anchored = anchored.map_or(0, |anchored| anchored.size);
        let since = self.looked.get(&project).copied().unwrap_or(anchored_at);
        let is_late = since.saturating_add(self.interval(&project)) <= now;
        let is_full = self.full_at(&project, anchored).is_some_and(|full_at| size >= full_at);
        self.grown.remove(&project);
        if (is_late || is_full) && size > anchored {
            self.desk.want(project.clone(), now);
        }
        self.looked.insert(project, if is_late || is_full { now } else { since });
        Ok(())
    }

    /// Watches each followed log of which only so many receipts may wait, unless it is wanted already.
    pub(super) async fn watch_followed(&mut self, context: &Context<Self>) -> Result<(), Fault> {
        let is_unwatched = |project: &ProjectId| {
            !self.watches.contains_key(project)
                && !self.grown.contains(project)
                && !self.desk.wanted.contains_key(project)
        };
        let limited = self.desk.follows.iter().filter(|(_, follow)| follow.receipts.is_some());
        let unwatched: Vec<ProjectId> =
            limited.map(|(project, _)| project).filter(|project| is_unwatched(project)).cloned().collect();
        for project in unwatched {
            let store = Arc::clone(&context.environment().store);
            let anchored = receipt_log::newest_anchor_on(&*store, &project, self.id.as_str()).await?;
            let Some(full_at) = self.full_at(&project, anchored.map_or(0, |anchored| anchored.size)) else { continue };
            let (clock, watched) = (Arc::clone(context.clock()), project.clone());
            let watch = context.work(async move {
                if let Err(error) = receipt_log::grown_to(&*store, &watched, full_at).await {
                    tracing::warn!(project = %watched, %error, "a receipt log could not be watched");
                    clock.sleep(ANCHOR_WATCH_RETRY_TIME).await;
                }
                ChainEvent::Grown(watched)
            });
            self.watches.insert(project, watch);
        }
        Ok(())
    }

    /// A watch has ended: its log is looked at, no sooner than a second after it was last.
    pub(super) fn has_grown(&mut self, project: ProjectId) {
        self.end_watch(&project);
        if self.desk.follows.contains_key(&project) {
            self.grown.insert(project);
        }
    }

    fn end_watch(&mut self, project: &ProjectId) {
        if let Some(watch) = self.watches.remove(project) {
            watch.cancel();
        }
    }

    /// The size at which as many receipts wait as may: no root covers them that is on the chain or on its way.
    fn full_at(&self, project: &ProjectId, anchored: u64) -> Option<u64> {
        let receipts = self.desk.follows.get(project)?.receipts?;
        let in_hand = self.desk.in_hand().filter(|(wish, _)| wish.project == *project).map(|(wish, _)| wish.size);
        Some(in_hand.chain([anchored]).max().unwrap_or(0).saturating_add(receipts))
    }

    fn interval(&self, project: &ProjectId) -> Duration {
        let follow = self.desk.follows.get(project);
        follow.map_or(Duration::MAX, |follow| Duration::from_millis(follow.interval_ms).max(ANCHOR_INTERVAL_MIN))
    }
}
