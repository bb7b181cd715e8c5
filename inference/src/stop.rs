//! Finds stop sequences in text that arrives piece by piece, and holds back what may be the beginning of one.

/// Text that may be handed out, and whether a stop sequence was found after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// What may be handed out now.
    pub text: String,
    /// Whether a stop sequence followed it; the rest was thrown away.
    pub stopped: bool,
}

/// Looks for stop sequences across the pieces of a text.
#[derive(Debug, Clone, Default)]
pub struct StopScanner {
    stops: Vec<String>,
    held: String,
}

impl StopScanner {
    /// Looks for any of `stops`, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        debug_assert!(stops.iter().all(|stop| !stop.is_empty()));
        Self { stops, held: String::new() }
    }

    /// Takes the next piece and gives out what is certain: everything before the first stop sequence, or everything
    /// that cannot be part of one.
    pub fn push(&mut self, piece: &str) -> Scanned {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Scanned { text, stopped: true };
        }
        let kept = self.stops.iter().map(|stop| longest_overlap(&self.held, stop)).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - kept);
        Scanned { text: std::mem::replace(&mut self.held, tail), stopped: false }
    }

    /// What was held back, when the text has ended.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` with which `stop` begins.
fn longest_overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().min(text.len());
    (1..=longest).rev().find(|&bytes| stop.is_char_boundary(bytes) && text.ends_with(&stop[..bytes])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut scanner = StopScanner::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            let scanned = scanner.push(piece);
            text.push_str(&scanned.text);
            if scanned.stopped {
                return (text, true);
            }
        }
        text.push_str(&scanner.finish());
        (text, false)
    }

    #[test]
    fn a_stop_sequence_is_found_across_pieces() {
        let check = |stops: &[&str], pieces: &[&str], text: &str, stopped| {
            assert_eq!(scan(stops, pieces), (text.to_owned(), stopped), "{pieces:?}");
        };
        check(&["END"], &["a E", "N", "D b"], "a ", true);
        check(&["END"], &["a E", "N", "x"], "a ENx", false);
        check(&["END"], &["a E", "N"], "a EN", false);
        check(&["aab"], &["a", "a", "a", "b"], "a", true);
        check(&["é"], &["caf", "é"], "caf", true);
        check(&["xy", "abc"], &["ab", "xy"], "ab", true);
        check(&[], &["a", "b"], "ab", false);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[abc]{0,20}", stop in "[abc]{1,4}", cuts in proptest::collection::vec(0usize..20, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let expected = text.split_once(stop.as_str()).map_or((text.clone(), false), |(before, _)| (before.to_owned(), true));
            prop_assert_eq!(scan(&[&stop], &pieces), expected);
        }
    }
}
