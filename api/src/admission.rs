//! Bounds at the edge: requests in flight for one key, watchers of one session.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts what is in flight by name, up to a bound each. Clones are the same.
#[derive(Debug)]
pub(crate) struct Admission<N: Eq + Hash> {
    most: usize,
    counts: Arc<Mutex<HashMap<N, usize>>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<N: Eq + Hash> {
    name: N,
    counts: Arc<Mutex<HashMap<N, usize>>>,
}

impl<N: Eq + Hash> Clone for Admission<N> {
    fn clone(&self) -> Self {
        Self { most: self.most, counts: Arc::clone(&self.counts) }
    }
}

impl<N: Eq + Hash + Clone> Admission<N> {
    /// At most `most` for each name.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// Takes a place; `None` when all are taken.
    pub(crate) fn take(&self, name: &N) -> Option<Permit<N>> {
        let mut counts = self.counts.lock();
        let count = counts.entry(name.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Permit { name: name.clone(), counts: Arc::clone(&self.counts) })
    }
}

impl<N: Eq + Hash> Drop for Permit<N> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_full_is_refused_until_one_leaves_and_leaves_no_trace() {
        let admission = Admission::new(2);
        let (first, second) = (admission.take(&"a").unwrap(), admission.take(&"a").unwrap());
        assert!(admission.take(&"a").is_none() && admission.take(&"b").is_some());
        drop(first);
        assert!(admission.take(&"a").is_some());
        drop(second);
        assert!(admission.counts.lock().is_empty());
    }
}
