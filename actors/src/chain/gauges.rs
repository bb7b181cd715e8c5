//! What metrics say of the outboxes that this node has, beside its pools' endpoints. An outbox is one node's at a time; on
//! the others its gauges are 0.

use std::sync::Arc;

use metrics::gauge;
use parking_lot::Mutex;
use steward_adapters::outbox::Outbox;
use steward_types::Timestamp;

use super::settings::ChainSettings;

/// Where a chain's entity leaves how its outbox is, for whoever asks for metrics. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct OutboxGauge(Arc<Mutex<Option<Standing>>>);

#[derive(Debug, Clone, Copy)]
struct Standing {
    intents: u64,
    oldest: Option<Timestamp>,
    is_stalled: bool,
}

/// The entity's hold on the place: what it left there goes with it.
#[derive(Debug)]
pub(super) struct ShownOutbox(OutboxGauge);

impl ShownOutbox {
    pub(super) const fn new(gauge: OutboxGauge) -> Self {
        Self(gauge)
    }

    /// Leaves how the outbox is now.
    pub(super) fn show(&self, outbox: &Outbox) {
        let standing = Standing {
            intents: outbox.intents().len() as u64,
            oldest: outbox.intents().values().map(|intent| intent.submitted).min(),
            is_stalled: outbox.head().stall.is_some(),
        };
        *self.0.0.lock() = Some(standing);
    }
}

impl Drop for ShownOutbox {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

impl ChainSettings {
    /// Sets the gauges of this chain to what is so now. Asks neither chain nor store.
    pub fn show_metrics(&self, now: Timestamp) {
        if let Some(pool) = &self.pool {
            pool.show_metrics();
        }
        let standing = *self.outbox_gauge.0.lock();
        let (intents, stalled) = standing.map_or((0, false), |standing| (standing.intents, standing.is_stalled));
        let oldest = standing.and_then(|standing| standing.oldest);
        let age = oldest.map_or(0.0, |oldest| now.saturating_since(oldest).as_secs_f64());
        let chain = || self.chain.id().to_string();
        let intents = u32::try_from(intents).unwrap_or(u32::MAX);
        gauge!("steward_outbox_intents", "chain" => chain()).set(f64::from(intents));
        gauge!("steward_outbox_oldest_seconds", "chain" => chain()).set(age);
        gauge!("steward_outbox_stalled", "chain" => chain()).set(f64::from(u8::from(stalled)));
    }
}
