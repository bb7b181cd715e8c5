//! How an endpoint answered lately: the last calls, none older than a minute. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use steward_types::{Timestamp, limits};

use super::Class;

/// How a call ended, as far as health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With an answer, whatever it said.
    Served,
    /// Without one.
    Failed,
    /// With the wish to be left alone.
    Throttled,
}

/// The last calls of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Window {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    at: Timestamp,
    class: Class,
    ending: Ending,
    latency: Duration,
}

impl Window {
    pub(super) fn push(&mut self, class: Class, ending: Ending, latency: Duration, at: Timestamp) {
        if self.samples.len() >= limits::ENDPOINT_SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, class, ending, latency });
    }

    /// How many in a thousand calls ended so.
    pub(super) fn permille(&self, ending: Ending, now: Timestamp) -> u64 {
        let (mut all, mut such) = (0, 0);
        for sample in self.recent(now) {
            all += 1;
            such += u64::from(sample.ending == ending);
        }
        (such * 1_000_u64).checked_div(all).unwrap_or(0)
    }

    /// The latency that so many percent of the class's answers did not exceed; nothing without an answer.
    pub(super) fn latency(&self, class: Class, percent: usize, now: Timestamp) -> Option<Duration> {
        let served = self.recent(now).filter(|sample| sample.class == class && sample.ending == Ending::Served);
        let mut latencies: Vec<Duration> = served.map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        // The nearest rank: the smallest with at least so many percent at or below it.
        let rank = (latencies.len() * percent.min(100)).div_ceil(100).max(1);
        latencies.get(rank - 1).copied()
    }

    fn recent(&self, now: Timestamp) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| now.saturating_since(sample.at) <= limits::ENDPOINT_SAMPLE_TIME_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_quantile_is_the_nearest_rank_of_what_was_answered() {
        let mut window = Window::default();
        assert_eq!(window.latency(Class::Read, 70, at(0)), None);
        for millis in 1..=10 {
            window.push(Class::Read, Ending::Served, Duration::from_millis(millis), at(0));
        }
        window.push(Class::Read, Ending::Failed, Duration::from_secs(10), at(0));
        window.push(Class::Broadcast, Ending::Served, Duration::from_secs(10), at(0));
        let check = |percent, millis| {
            assert_eq!(window.latency(Class::Read, percent, at(0)), Some(Duration::from_millis(millis)), "{percent}");
        };
        check(0, 1);
        check(70, 7);
        check(71, 8);
        check(100, 10);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut window = Window::default();
        window.push(Class::Read, Ending::Failed, Duration::ZERO, at(0));
        window.push(Class::Read, Ending::Served, Duration::ZERO, at(50_000));
        assert_eq!(window.permille(Ending::Failed, at(60_000)), 500);
        assert_eq!(window.permille(Ending::Failed, at(60_001)), 0);
        for number in 0..1_000 {
            window.push(Class::Read, Ending::Throttled, Duration::ZERO, at(60_000 + number));
        }
        assert_eq!(window.samples.len(), limits::ENDPOINT_SAMPLES_MAX);
        assert_eq!(window.permille(Ending::Throttled, at(61_000)), 1_000);
    }
}
