//! Whether the history of one append-only register is linearizable.
//!
//! A read returns the whole list or its length, so the order of all operations shows in what they returned: the append
//! that made the list `n` long stands before every read of `n`, and both before the append that made it `n + 1` long.
//! The history is linearizable exactly if that order exists (every list is a beginning of the longest one) and no
//! operation stands before another that had returned when it was asked. An append whose outcome is not known may stand
//! anywhere after it was asked, or nowhere.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was asked of the register, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The value was appended: the list afterwards, the value last.
    Appended {
        /// The value.
        value: String,
        /// The list.
        list: Vec<String>,
    },
    /// Whether the value was appended, now or later, is not known.
    Unknown {
        /// The value.
        value: String,
    },
    /// The list was so long.
    Length(usize),
}

/// One operation of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// When it was asked, by the clock of the process that asks all.
    pub asked: Duration,
    /// When it was answered.
    pub answered: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What is wrong with a history; empty when it is linearizable.
pub fn violations(history: &[Operation]) -> Vec<String> {
    let mut found = Vec::new();
    let longest = longest(history);
    let places: BTreeMap<&str, usize> = (1..).zip(longest).map(|(place, value)| (value.as_str(), place)).collect();
    if places.len() != longest.len() {
        found.push(format!("an append was done twice: {}", doubled(longest).join(", ")));
    }
    found.extend(lists(history, longest));
    found.extend(made_up(history, longest));
    found.extend(out_of_time(history, &places));
    found
}

fn longest(history: &[Operation]) -> &[String] {
    let lists = history.iter().filter_map(|operation| match &operation.outcome {
        Outcome::Appended { list, .. } => Some(list.as_slice()),
        Outcome::Unknown { .. } | Outcome::Length(_) => None,
    });
    lists.max_by_key(|list| list.len()).unwrap_or_default()
}

fn doubled(list: &[String]) -> Vec<&str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    list.iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().filter(|&(_, count)| count > 1).map(|(value, _)| value).collect()
}

/// Every list is a beginning of the longest and ends with its own append.
fn lists(history: &[Operation], longest: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for operation in history {
        let Outcome::Appended { value, list } = &operation.outcome else { continue };
        if !longest.starts_with(list) {
            found.push(format!("two orders: the append of {value} saw {list:?}, which is no beginning of {longest:?}"));
        }
        if list.last() != Some(value) {
            found.push(format!("the append of {value} saw a list that ends with {:?}", list.last()));
        }
    }
    found
}

/// Every value was asked for.
fn made_up(history: &[Operation], longest: &[String]) -> Vec<String> {
    let asked: Vec<&str> = history.iter().filter_map(|operation| value_of(&operation.outcome)).collect();
    let strange = longest.iter().filter(|value| !asked.contains(&value.as_str()));
    strange.map(|value| format!("nobody appended {value}")).collect()
}

fn value_of(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Appended { value, .. } | Outcome::Unknown { value } => Some(value),
        Outcome::Length(_) => None,
    }
}

/// No operation stands before one that had been answered when it was asked.
fn out_of_time(history: &[Operation], places: &BTreeMap<&str, usize>) -> Vec<String> {
    // By time; an answer and a question of the same moment may have been at once.
    let mut moments: Vec<(Duration, bool, usize)> = Vec::new();
    for (number, operation) in history.iter().enumerate() {
        moments.push((operation.asked, false, number));
        if !matches!(operation.outcome, Outcome::Unknown { .. }) {
            moments.push((operation.answered, true, number));
        }
    }
    moments.sort_unstable();
    let (mut newest, mut found) = (None::<(Rank, usize)>, Vec::new());
    for (_, is_answer, number) in moments {
        let Some(rank) = rank(&history[number].outcome, places) else { continue };
        match newest {
            Some((before, earlier)) if !is_answer && !before.may_stand_before(rank) => {
                let (earlier, later) = (told(&history[earlier]), told(&history[number]));
                found.push(format!("stale: {later} was asked after {earlier} had been answered"));
            }
            Some((before, _)) if is_answer && before >= rank => {}
            _ if is_answer => newest = Some((rank, number)),
            _ => {}
        }
    }
    found
}

/// Where an operation stands: the append that makes the list `n` long, then the reads of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    length: usize,
    is_read: bool,
}

impl Rank {
    fn may_stand_before(self, other: Self) -> bool {
        self < other || (self == other && self.is_read)
    }
}

/// An append of unknown outcome that no list shows stands nowhere.
fn rank(outcome: &Outcome, places: &BTreeMap<&str, usize>) -> Option<Rank> {
    match outcome {
        Outcome::Length(length) => Some(Rank { length: *length, is_read: true }),
        Outcome::Appended { list, .. } => Some(Rank { length: list.len(), is_read: false }),
        Outcome::Unknown { value } => places.get(value.as_str()).map(|&length| Rank { length, is_read: false }),
    }
}

fn told(operation: &Operation) -> String {
    match &operation.outcome {
        Outcome::Appended { value, list } => format!("the append of {value} as number {}", list.len()),
        Outcome::Unknown { value } => format!("the append of {value}"),
        Outcome::Length(length) => format!("a read of length {length}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(asked: u64, answered: u64, outcome: Outcome) -> Operation {
        Operation { asked: Duration::from_millis(asked), answered: Duration::from_millis(answered), outcome }
    }

    /// An append of the list's last value.
    fn append(asked: u64, answered: u64, list: &str) -> Operation {
        let list: Vec<String> = list.chars().map(String::from).collect();
        at(asked, answered, Outcome::Appended { value: list.last().cloned().unwrap(), list })
    }

    fn unknown(asked: u64, value: &str) -> Operation {
        at(asked, asked + 1, Outcome::Unknown { value: value.to_owned() })
    }

    fn read(asked: u64, answered: u64, length: usize) -> Operation {
        at(asked, answered, Outcome::Length(length))
    }

    fn check(history: &[Operation], expected: &[&str]) {
        let found = violations(history);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?}");
        }
    }

    #[test]
    fn histories_that_some_order_explains_are_good() {
        check(&[], &[]);
        check(&[append(0, 1, "a"), append(2, 3, "ab"), read(4, 5, 2)], &[]);
        // At the same time either order is right, and so is either read.
        check(&[append(0, 9, "ba"), append(0, 9, "b"), read(1, 8, 0), read(2, 7, 2)], &[]);
        // An append of unknown outcome may be done late, or never.
        check(&[unknown(0, "x"), append(5, 6, "a"), read(7, 8, 1), append(9, 10, "axb")], &[]);
        check(&[unknown(0, "x"), append(5, 6, "a"), append(9, 10, "ab")], &[]);
        check(&[append(0, 1, "a"), read(2, 3, 1), read(4, 5, 1)], &[]);
    }

    #[test]
    fn a_lost_append_is_found() {
        check(&[append(0, 1, "a"), append(2, 3, "b")], &["two orders", "stale"]);
        check(&[append(0, 1, "a"), append(2, 3, "ab"), append(4, 5, "ac")], &["two orders", "stale"]);
    }

    #[test]
    fn a_doubled_append_is_found() {
        check(&[unknown(0, "a"), append(2, 3, "aab")], &["done twice: a"]);
    }

    #[test]
    fn two_orders_are_found() {
        check(&[append(0, 9, "ab"), append(0, 9, "ba")], &["two orders"]);
    }

    #[test]
    fn an_append_that_is_not_last_in_its_own_list_is_found() {
        let list = vec!["a".to_owned(), "b".to_owned()];
        let wrong = at(0, 9, Outcome::Appended { value: "a".to_owned(), list });
        check(&[wrong, unknown(0, "b")], &["ends with"]);
    }

    #[test]
    fn a_value_that_nobody_appended_is_found() {
        check(&[append(0, 1, "xa")], &["nobody appended x"]);
    }

    #[test]
    fn a_stale_read_is_found() {
        check(&[append(0, 1, "a"), read(2, 3, 0)], &["stale: a read of length 0"]);
        check(&[append(0, 9, "a"), read(1, 2, 1), read(3, 4, 0)], &["stale: a read of length 0"]);
    }

    #[test]
    fn an_append_into_the_past_is_found() {
        check(&[append(2, 3, "a"), append(0, 1, "ab")], &["stale: the append of a as number 1"]);
        check(&[read(0, 1, 1), append(2, 3, "a")], &["stale: the append of a as number 1"]);
    }

    #[test]
    fn an_append_of_unknown_outcome_that_shows_before_it_was_asked_is_found() {
        check(&[append(0, 1, "xa"), unknown(5, "x")], &["stale: the append of x"]);
    }
}
