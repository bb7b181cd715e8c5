//! Lanes: which account of an API key a direct call spends from.
//!
//! Two calls that spend from one account conflict in the store. So each call in flight has a lane, and with it an
//! account, of its own; the lowest free lane is taken first, so that few allowances are out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use steward_types::ProjectId;
use steward_types::limits::KEY_REQUESTS_MAX;

use super::account_id::AccountId;

/// The lanes of all API keys on one node. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Lanes(Arc<Mutex<HashMap<(ProjectId, String), KeyLanes>>>);

#[derive(Debug, Default)]
struct KeyLanes {
    free: BTreeSet<u16>,
    /// The lowest lane that was never taken.
    fresh: u16,
}

/// A lane that a call has to itself until this is dropped.
#[derive(Debug)]
pub struct Lane {
    lanes: Lanes,
    project: ProjectId,
    key: String,
    number: u16,
}

impl Lanes {
    /// No lane is taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the key's lowest free lane; `None` when [`KEY_REQUESTS_MAX`] calls of the key are in flight.
    pub fn take(&self, project: &ProjectId, key: &str) -> Option<Lane> {
        let mut keys = self.0.lock();
        let lanes = keys.entry((project.clone(), key.to_owned())).or_default();
        let number = match lanes.free.pop_first() {
            Some(number) => number,
            None if usize::from(lanes.fresh) < KEY_REQUESTS_MAX => {
                lanes.fresh += 1;
                lanes.fresh - 1
            }
            None => return None,
        };
        Some(Lane { lanes: self.clone(), project: project.clone(), key: key.to_owned(), number })
    }
}

impl Lane {
    /// The account that the call spends from.
    pub fn account(&self) -> AccountId {
        AccountId::key(self.project.clone(), self.key.clone(), self.number)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut keys = self.lanes.0.lock();
        let name = (self.project.clone(), std::mem::take(&mut self.key));
        if let Some(lanes) = keys.get_mut(&name) {
            lanes.free.insert(self.number);
            // A key without calls in flight is forgotten.
            if lanes.free.len() == usize::from(lanes.fresh) {
                keys.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_in_flight_has_a_lane_of_its_own_and_the_lowest_free_one() {
        let (lanes, project): (_, ProjectId) = (Lanes::new(), "acme".parse().unwrap());
        let first = lanes.take(&project, "ci").unwrap();
        let second = lanes.take(&project, "ci").unwrap();
        assert_eq!((first.number, second.number), (0, 1));
        assert_eq!(lanes.take(&project, "other").unwrap().number, 0);
        drop(first);
        assert_eq!(lanes.take(&project, "ci").unwrap().number, 0);
        drop(second);
        assert!(lanes.0.lock().is_empty());
        let all: Vec<_> = (0..KEY_REQUESTS_MAX).map(|_| lanes.take(&project, "ci").unwrap()).collect();
        assert!(lanes.take(&project, "ci").is_none());
        drop(all);
    }
}
