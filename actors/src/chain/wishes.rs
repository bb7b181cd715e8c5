//! What projects want of a chain: that their logs are anchored as they are now.

use steward_adapters::outbox::Intent;
use steward_types::{ErrorCode, ProjectId, Timestamp};

use super::desk::End;
use super::entity::{ChainActor, Waiter, bug};
use super::messages::{ChainResponse, PendingAnchor};
use super::records::AnchorWish;
use crate::host::{Context, Fault, Reply};
use crate::receipt_log;

impl ChainActor {
    pub(super) async fn anchor(
        &mut self,
        project: ProjectId,
        reply: Reply<ChainResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let store = &*context.environment().store;
        let Some(head) = receipt_log::head(store, &project).await? else {
            let message = format!("the log of {project} has no receipt yet");
            reply.send(ChainResponse::Refused(ErrorCode::ReceiptPending, message));
            return Ok(());
        };
        let newest = receipt_log::newest_anchor_on(store, &project, self.id.as_str()).await?;
        if let Some(anchored) = newest.filter(|anchored| anchored.size >= head.size()) {
            reply.send(ChainResponse::Anchored(Box::new(anchored)));
            return Ok(());
        }
        let in_hand = self.desk.in_hand().any(|(wish, _)| wish.project == project && wish.size >= head.size());
        if !in_hand {
            self.desk.want(project.clone(), context.clock().now());
        }
        self.waiters.retain(|waiter| waiter.reply.is_wanted());
        self.waiters.push(Waiter { project, size: head.size(), reply });
        self.advance(context).await
    }

    pub(super) fn pending(&self, project: &ProjectId) -> Vec<PendingAnchor> {
        let of_project = self.desk.in_hand().filter(|(wish, _)| wish.project == *project);
        of_project.map(|(wish, intent)| self.pending_anchor(wish, intent)).collect()
    }

    pub(super) fn pending_anchor(&self, wish: &AnchorWish, intent: &Intent) -> PendingAnchor {
        let newest = intent.attempts.last();
        let state = match (&intent.landing, newest) {
            (Some(_), _) => "included",
            (None, Some(attempt)) if attempt.sent => "sent",
            _ => "recorded",
        };
        PendingAnchor {
            size: wish.size,
            root: wish.root,
            state: state.to_owned(),
            transaction: newest.map(|attempt| attempt.transaction.hash.clone()).unwrap_or_default(),
            block: intent.landing.as_ref().map_or(0, |landing| landing.inclusion.block),
            contract: self.desk.contract.clone().unwrap_or_default(),
            recorded: wish.recorded,
        }
    }

    /// Makes intents of what is wanted, each of the log as it is now.
    pub(super) async fn submit_wanted(
        &mut self,
        context: &Context<Self>,
        now: Timestamp,
        ends: &[End],
    ) -> Result<(), Fault> {
        let environment = context.environment();
        for project in self.desk.ready(now).map_err(bug)? {
            let head = receipt_log::head(&*environment.store, &project).await?;
            let anchored = receipt_log::newest_anchor_on(&*environment.store, &project, self.id.as_str()).await?;
            // What ends now is not recorded yet.
            let ending = ends.iter().filter_map(|end| match end {
                End::Anchored { project: of, root } if *of == project => Some(root.size),
                _ => None,
            });
            let anchored = ending.chain(anchored.map(|anchored| anchored.size)).max().unwrap_or(0);
            let Some(head) = head.filter(|head| head.size() > anchored) else {
                self.desk.wanted.remove(&project);
                continue;
            };
            let log_id = steward_receipts::log_id(&environment.identity.log_origin(&project));
            let (size, root, checkpoint) = (head.size(), head.root(), head.checkpoint);
            let wish = AnchorWish { project, size, root, checkpoint, recorded: now };
            self.desk.submit(wish, log_id, now).map_err(bug)?;
        }
        Ok(())
    }
}
