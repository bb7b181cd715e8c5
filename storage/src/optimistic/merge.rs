//! A range read over a snapshot with a transaction's own writes laid over it. It says what to read next and takes what
//! was read, so it serves a snapshot at hand as well as one behind a network.

use std::collections::BTreeMap;

use bytes::Bytes;
use steward_types::limits::RANGE_BYTES_MAX;

use super::write_set::{CommitRequest, KeyRange};
use crate::{Page, key};

/// A range read in the making.
#[derive(Debug)]
pub struct RangeMerge {
    range: KeyRange,
    limit: usize,
    reverse: bool,
    rest: Option<KeyRange>,
    bytes: usize,
    page: Page,
}

impl RangeMerge {
    /// At most `limit` rows of `range`, from its last key down if `reverse`.
    pub fn new(range: KeyRange, limit: usize, reverse: bool) -> Self {
        Self { rest: Some(range.clone()), range, limit, reverse, bytes: 0, page: Page::default() }
    }

    /// What to read of the snapshot next and how many rows of it; `None` once the page is whole.
    pub fn wanted(&self) -> Option<(&KeyRange, usize)> {
        // One row more than is wanted tells whether there are more.
        self.rest.as_ref().map(|rest| (rest, self.limit + 1 - self.page.rows.len()))
    }

    /// Takes what [`wanted`](Self::wanted) asked for. `more` says that a limit, also one of the snapshot's own, ended
    /// the read behind the last of `rows`. `own` is what the transaction has written.
    pub fn add(&mut self, rows: Vec<(Bytes, Bytes)>, more: bool, own: &CommitRequest) {
        let Some((_, wanted)) = self.wanted() else { return };
        let Some(left) = self.rest.take() else { return };
        let cut_short = more && rows.len() < wanted;
        let (covered, next) = split(left, rows.last().filter(|_| more).map(|(key, _)| key), self.reverse);
        for row in overlay(rows, own, &covered, self.reverse) {
            let row_bytes = row.0.len() + row.1.len();
            let full = self.page.rows.len() >= self.limit;
            if full || (self.bytes + row_bytes > RANGE_BYTES_MAX && !self.page.rows.is_empty()) {
                self.page.more = true;
                return;
            }
            self.bytes += row_bytes;
            self.page.rows.push(row);
        }
        if cut_short && next.is_some() && !self.page.rows.is_empty() {
            // The snapshot's own limit in bytes is ours too: what is left is for the next page.
            self.page.more = true;
            return;
        }
        self.rest = next;
    }

    /// The page, and what the read depends on: up to the last row that it gave, when a limit ended it.
    pub fn finish(self) -> (Page, KeyRange) {
        let Self { range, page, .. } = self;
        let dependence = match page.rows.last().filter(|_| page.more) {
            Some((last, _)) if self.reverse => KeyRange { begin: last.clone(), end: range.end },
            Some((last, _)) => KeyRange { begin: range.begin, end: key::successor(last) },
            None => range,
        };
        (page, dependence)
    }
}

/// The part of `range` that rows up to `last` cover, and what is left of it. Without a last row all is covered.
fn split(range: KeyRange, last: Option<&Bytes>, reverse: bool) -> (KeyRange, Option<KeyRange>) {
    let Some(last) = last else { return (range, None) };
    let (middle, KeyRange { begin, end }) = (if reverse { last.clone() } else { key::successor(last) }, range);
    let (low, high) = (KeyRange { begin, end: middle.clone() }, KeyRange { begin: middle, end });
    let (covered, left) = if reverse { (high, low) } else { (low, high) };
    let something_left = left.begin < left.end;
    (covered, something_left.then_some(left))
}

fn overlay(
    mut rows: Vec<(Bytes, Bytes)>,
    own: &CommitRequest,
    covered: &KeyRange,
    reverse: bool,
) -> Vec<(Bytes, Bytes)> {
    if !own.clears.is_empty() {
        rows.retain(|(key, _)| !own.clears.iter().any(|range| range.contains(key)));
    }
    if own.writes_in(covered).next().is_none() {
        return rows;
    }
    let mut merged: BTreeMap<Bytes, Bytes> = rows.into_iter().collect();
    for (key, write) in own.writes_in(covered) {
        if let Some(value) = write.on(merged.remove(key)) {
            merged.insert(key.clone(), value);
        }
    }
    if reverse { merged.into_iter().rev().collect() } else { merged.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(&[b'k', n]), Bytes::from_static(b"v"))
    }

    #[test]
    fn a_read_that_the_snapshot_cut_short_ends_its_page_there() {
        let range = KeyRange { begin: Bytes::from_static(b"k"), end: Bytes::from_static(b"l") };
        let mut merge = RangeMerge::new(range, 100, false);
        merge.add((0..7).map(row).collect(), true, &CommitRequest::default());
        assert_eq!(merge.wanted(), None);
        let (page, dependence) = merge.finish();
        assert!(page.more && page.rows.len() == 7);
        assert_eq!(dependence.end, key::successor(&row(6).0));
    }

    #[test]
    fn a_cut_read_of_which_nothing_is_left_goes_on() {
        let range = KeyRange { begin: Bytes::from_static(b"k"), end: Bytes::from_static(b"l") };
        let mut own = CommitRequest::default();
        own.remove(KeyRange { begin: Bytes::from_static(b"k"), end: row(9).0 }).unwrap();
        let mut merge = RangeMerge::new(range, 100, false);
        merge.add((0..7).map(row).collect(), true, &own);
        assert_eq!(merge.wanted().map(|(rest, _)| rest.begin.clone()), Some(key::successor(&row(6).0)));
        merge.add(vec![row(9)], false, &own);
        assert_eq!(merge.finish().0, Page { rows: vec![row(9)], more: false });
    }
}
