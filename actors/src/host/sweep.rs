//! The sweeper: tells entities that have been idle for long to leave memory, and the least recently used idle ones
//! earlier when there are too many. It only tells; each cell decides for itself, between two of its messages.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use steward_types::limits::OVERLOAD_RETRY_AFTER;
use tokio::sync::Notify;

use super::mailbox::{Leave, Leaver};
use super::node::Inner;
use crate::supervision::{Child, Restart};

/// The share of the idle time after which the sweeper looks again.
const SWEEPS_PER_IDLE_TIME: u32 = 4;
/// Under pressure, room is made for this share of all live entities at once.
const PRESSURE_SHARE: usize = 16;

/// The actor that sweeps. It has no state but the host, so a crash loses nothing.
pub(crate) struct Sweeper;

/// Look again, after a while or when there is pressure.
pub(crate) struct Sweep;

impl ractor::Message for Sweep {}

impl Sweeper {
    /// The sweeper of a host, as a child of its supervisors.
    pub(crate) fn child(host: &Arc<Inner>) -> Child {
        let host = Arc::downgrade(host);
        Child::new("sweeper", Restart::Always, move |supervisor| {
            let host = Weak::clone(&host);
            Box::pin(async move {
                let (sweeper, _) = Sweeper::spawn_linked(None, Sweeper, host, supervisor).await?;
                Ok(sweeper.get_cell())
            })
        })
    }
}

impl Actor for Sweeper {
    type Msg = Sweep;
    type State = Weak<Inner>;
    type Arguments = Weak<Inner>;

    async fn pre_start(&self, myself: ActorRef<Sweep>, host: Weak<Inner>) -> Result<Weak<Inner>, ActorProcessingErr> {
        myself.send_message(Sweep)?;
        Ok(host)
    }

    async fn handle(
        &self,
        myself: ActorRef<Sweep>,
        _: Sweep,
        host: &mut Weak<Inner>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(pressure) = host.upgrade().map(|host| Arc::clone(host.pressure())) else {
            myself.stop(None);
            return Ok(());
        };
        wait(host, &pressure).await;
        if let Some(host) = host.upgrade() {
            sweep(&host);
        }
        myself.send_message(Sweep)?;
        Ok(())
    }
}

/// Waits without keeping the host alive for longer than one wait. Under pressure it looks again soon, because those
/// that could not leave the last time may be idle by now.
async fn wait(host: &Weak<Inner>, pressure: &Notify) {
    let period = |host: Arc<Inner>| {
        let limits = host.limits();
        let pressed = host.live() >= limits.live_entities_max;
        (host.shared_clock(), if pressed { OVERLOAD_RETRY_AFTER } else { limits.idle_time_max / SWEEPS_PER_IDLE_TIME })
    };
    let Some((clock, period)) = host.upgrade().map(period) else { return };
    tokio::select! {
        () = pressure.notified() => {}
        () = clock.sleep(period) => {}
    }
}

fn sweep(host: &Inner) {
    let mut leavers = Vec::new();
    host.kinds().for_each(|kind| kind.leavers(&mut leavers));
    let limits = host.limits();
    let (now, usual) = (host.clock().monotonic(), limits.live_entities_max);
    if host.live() >= usual {
        let surplus = host.live() - usual + (usual / PRESSURE_SHARE).max(1);
        for leaver in least_recent(&mut leavers, surplus) {
            leaver.leave(Leave::Pressure);
        }
        return;
    }
    for (order, leaver) in &leavers {
        if now.saturating_sub(*order) >= limits.idle_time_max {
            leaver.leave(Leave::Idle);
        }
    }
}

fn least_recent(leavers: &mut [(Duration, Arc<dyn Leaver>)], count: usize) -> impl Iterator<Item = &Arc<dyn Leaver>> {
    let count = count.min(leavers.len());
    if count < leavers.len() {
        leavers.select_nth_unstable_by_key(count, |(order, _)| *order);
    }
    leavers[..count].iter().map(|(_, leaver)| leaver)
}
