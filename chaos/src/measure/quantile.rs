//! Quantiles of measured times.

use std::time::Duration;

/// The time that so many of a thousand stay within, in milliseconds; zero of none.
pub fn millis(times: &[Duration], per_mille: usize) -> u128 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * per_mille).div_ceil(1000).saturating_sub(1);
    times.get(at).map_or(0, Duration::as_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=30).map(Duration::from_millis).collect();
        assert_eq!([500, 990, 1000].map(|q| millis(&times, q)), [15, 30, 30]);
        assert_eq!(millis(&[], 500), 0);
    }
}
