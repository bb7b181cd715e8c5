//! How much a node works on at once. What comes from outside beyond that waits for a place, first come, first served, and is
//! refused when it has not got one in time: what is let in takes about as long as it usually does, however much is asked
//! for, and a queue that only grows is nobody's.
//!
//! Work is what the node itself does for a session: transactions and scripts. A turn that waits for a model, a server, a
//! chain, a person or another session has no place meanwhile. What the node owes already (a turn in flight, a timer, an
//! answer) is never refused and waits for nothing: it is only counted.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use steward_types::Clock;
use steward_types::limits::{PLACE_WAIT_TIME, PLACE_WAITERS_MAX, TURNS_AT_WORK_A_PROCESSOR};
use thiserror::Error;
use tokio::sync::oneshot;

/// How much is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrowdLimits {
    /// Messages that are taken and turns that are worked on at once.
    pub at_work_max: NonZeroUsize,
    /// How long somebody from outside waits for a place.
    pub wait_time: Duration,
}

impl Default for CrowdLimits {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { at_work_max: processors.saturating_mul(TURNS_AT_WORK_A_PROCESSOR), wait_time: PLACE_WAIT_TIME }
    }
}

/// There was no place in time. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node works on {at_work} messages and turns already, and there was no place for another within {waited:?}")]
pub struct Crowded {
    at_work: usize,
    waited: Duration,
}

/// The places of one node.
#[derive(Debug)]
pub struct Crowd {
    clock: Arc<dyn Clock>,
    limits: CrowdLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    at_work: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place at work, until it is dropped.
#[derive(Debug)]
struct Place(Arc<Crowd>);

/// What is worked on: it has a place, but while it waits for something outside.
#[derive(Debug)]
pub(crate) struct AtWork {
    crowd: Arc<Crowd>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    place: Option<Place>,
    /// Waits outside that have not ended; steps may wait side by side.
    outside: u32,
}

impl Crowd {
    /// With these limits.
    pub fn new(clock: Arc<dyn Clock>, limits: CrowdLimits) -> Self {
        Self { clock, limits, state: Mutex::default() }
    }

    /// A place for somebody from outside. Dropping the future gives the place in the queue up.
    ///
    /// # Errors
    /// [`Crowded`] when there is none in time, or too many wait.
    pub(crate) async fn admit(self: &Arc<Self>) -> Result<AtWork, Crowded> {
        let place = match self.place_or_wait() {
            Ok(place) => place,
            Err(None) => return Err(self.refuse(Duration::ZERO)),
            Err(Some(coming)) => match select(coming, self.clock.sleep(self.limits.wait_time)).await {
                Either::Left((Ok(place), _)) => place,
                Either::Left((Err(_), _)) | Either::Right(_) => return Err(self.refuse(self.limits.wait_time)),
            },
        };
        Ok(AtWork::new(place))
    }

    /// A place for what the node owes, whether there is room or not.
    pub(crate) fn enter(self: &Arc<Self>) -> AtWork {
        AtWork::new(self.place())
    }

    fn place(self: &Arc<Self>) -> Place {
        self.state.lock().at_work += 1;
        Place(Arc::clone(self))
    }

    /// A place; or the way on which one comes, or nothing when too many wait.
    fn place_or_wait(self: &Arc<Self>) -> Result<Place, Option<oneshot::Receiver<Place>>> {
        let mut state = self.state.lock();
        // Whoever leaves gives a place that is free to who waits, so that nobody waits while there is room.
        if state.has_room(&self.limits) {
            state.at_work += 1;
            return Ok(Place(Arc::clone(self)));
        }
        if state.waiting.len() >= PLACE_WAITERS_MAX {
            state.waiting.retain(|waiter| !waiter.is_closed());
            if state.waiting.len() >= PLACE_WAITERS_MAX {
                return Err(None);
            }
        }
        let (sender, coming) = oneshot::channel();
        state.waiting.push_back(sender);
        Err(Some(coming))
    }

    fn refuse(&self, waited: Duration) -> Crowded {
        counter!("steward_turns_refused_total").increment(1);
        Crowded { at_work: self.state.lock().at_work, waited }
    }

    /// Sets the gauges of what is worked on and of who waits.
    pub(crate) fn show_metrics(&self) {
        let state = self.state.lock();
        let waiting = state.waiting.iter().filter(|waiter| !waiter.is_closed()).count();
        gauge!("steward_turns_at_work").set(state.at_work as f64);
        gauge!("steward_turns_waiting").set(waiting as f64);
    }

    /// Gives a place back, and to whoever has waited longest.
    fn leave(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.at_work = state.at_work.saturating_sub(1);
        let next = if state.has_room(&self.limits) { state.next_waiter() } else { None };
        state.at_work += usize::from(next.is_some());
        drop(state);
        if let Some(next) = next {
            // One that has gone meanwhile drops the place, which comes back here.
            drop(next.send(Place(Arc::clone(self))));
        }
    }
}

impl State {
    const fn has_room(&self, limits: &CrowdLimits) -> bool {
        self.at_work < limits.at_work_max.get()
    }

    /// Who has waited longest and still does.
    fn next_waiter(&mut self) -> Option<oneshot::Sender<Place>> {
        std::iter::from_fn(|| self.waiting.pop_front()).find(|waiter| !waiter.is_closed())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("at_work", &self.at_work).field("waiting", &self.waiting.len()).finish()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl AtWork {
    fn new(place: Place) -> Self {
        let crowd = Arc::clone(&place.0);
        Self { crowd, held: Mutex::new(Held { place: Some(place), outside: 0 }) }
    }

    /// Waits for something outside, without a place meanwhile.
    pub(crate) async fn outside<T>(&self, wait: impl Future<Output = T>) -> T {
        self.go_outside();
        let _outside = Outside(self);
        wait.await
    }

    /// Gives the place back until [`come_back`](Self::come_back).
    pub(crate) fn go_outside(&self) {
        let place = {
            let mut held = self.held.lock();
            held.outside += 1;
            held.place.take()
        };
        drop(place);
    }

    /// Takes a place again once nothing outside is waited for, whether there is room or not.
    pub(crate) fn come_back(&self) {
        let mut held = self.held.lock();
        held.outside = held.outside.saturating_sub(1);
        if held.outside == 0 {
            held.place = Some(self.crowd.place());
        }
    }
}

/// A wait outside, until it is dropped.
struct Outside<'a>(&'a AtWork);

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.0.come_back();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use steward_types::{ManualClock, Timestamp};

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn crowd(at_work_max: usize) -> (Arc<Crowd>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let limits = CrowdLimits { at_work_max: NonZeroUsize::new(at_work_max).unwrap(), wait_time: WAIT };
        (Arc::new(Crowd::new(Arc::clone(&clock) as _, limits)), clock)
    }

    fn at_work(crowd: &Crowd) -> usize {
        crowd.state.lock().at_work
    }

    #[tokio::test]
    async fn a_place_goes_to_whoever_has_waited_longest() {
        let (crowd, _) = crowd(1);
        let first = crowd.admit().await.unwrap();
        let (mut second, mut third) = (pin!(crowd.admit()), pin!(crowd.admit()));
        assert!(futures::poll!(second.as_mut()).is_pending() && futures::poll!(third.as_mut()).is_pending());
        drop(first);
        assert!(futures::poll!(third.as_mut()).is_pending(), "the second waited longer");
        let second = second.await.unwrap();
        assert_eq!(at_work(&crowd), 1);
        drop(second);
        drop(third.await.unwrap());
        assert_eq!(at_work(&crowd), 0);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused_and_forgotten() {
        let (crowd, clock) = crowd(1);
        let first = crowd.admit().await.unwrap();
        let mut second = pin!(crowd.admit());
        assert!(futures::poll!(second.as_mut()).is_pending());
        clock.advance(WAIT);
        let refused = second.await.unwrap_err();
        assert_eq!(refused, Crowded { at_work: 1, waited: WAIT });
        drop(first);
        assert_eq!(at_work(&crowd), 0, "nobody got the place");
        crowd.admit().await.unwrap();
    }

    #[tokio::test]
    async fn a_place_that_comes_too_late_comes_back() {
        let (crowd, _) = crowd(1);
        let first = crowd.admit().await.unwrap();
        {
            let mut gone = pin!(crowd.admit());
            assert!(futures::poll!(gone.as_mut()).is_pending());
            // The place is on its way when who waited for it goes.
            drop(first);
            assert_eq!(at_work(&crowd), 1);
        }
        assert_eq!(at_work(&crowd), 0);
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let (crowd, _) = crowd(1);
        let _first = crowd.admit().await.unwrap();
        let mut waiting: Vec<_> = (0..PLACE_WAITERS_MAX).map(|_| Box::pin(crowd.admit())).collect();
        for waiter in &mut waiting {
            assert!(futures::poll!(waiter.as_mut()).is_pending());
        }
        assert_eq!(crowd.admit().await.unwrap_err().waited, Duration::ZERO);
        waiting.pop();
        assert!(futures::poll!(pin!(crowd.admit())).is_pending(), "one that went is not counted");
    }

    #[tokio::test]
    async fn who_waits_outside_has_no_place_and_takes_one_back_though_there_is_no_room() {
        let (crowd, _) = crowd(1);
        let first = crowd.admit().await.unwrap();
        first.go_outside();
        // Two steps side by side are one turn.
        first.go_outside();
        assert_eq!(at_work(&crowd), 0);
        let second = crowd.admit().await.unwrap();
        first.come_back();
        assert_eq!(at_work(&crowd), 1);
        first.come_back();
        assert_eq!(at_work(&crowd), 2, "what is in hand waits for nothing");
        let owed = crowd.enter();
        drop((first, second));
        assert_eq!(at_work(&crowd), 1);
        assert!(futures::poll!(pin!(crowd.admit())).is_pending());
        drop(owed);
        assert_eq!(at_work(&crowd), 0);
    }

    #[tokio::test]
    async fn a_wait_outside_that_is_dropped_takes_the_place_back() {
        let (crowd, _) = crowd(1);
        let first = crowd.admit().await.unwrap();
        {
            let mut outside = pin!(first.outside(std::future::pending::<()>()));
            assert!(futures::poll!(outside.as_mut()).is_pending());
            assert_eq!(at_work(&crowd), 0);
        }
        assert_eq!(at_work(&crowd), 1);
    }
}
