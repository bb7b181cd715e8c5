//! A range read over a snapshot with a transaction's own writes laid over it.

use std::collections::BTreeMap;

use bytes::Bytes;
use steward_types::limits::RANGE_BYTES_MAX;

use super::Snapshot;
use super::write_set::{CommitRequest, KeyRange};
use crate::{Page, StoreError, key};

/// At most `limit` rows of `range`, as the transaction sees them.
pub(super) fn read(
    snapshot: &dyn Snapshot,
    own: &CommitRequest,
    range: &KeyRange,
    limit: usize,
    reverse: bool,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let (mut rest, mut bytes) = (Some(range.clone()), 0);
    while let Some(left) = rest {
        // One row more than is wanted tells whether there are more.
        let wanted = limit + 1 - page.rows.len();
        let rows = snapshot.rows(&left, wanted, reverse)?;
        let (covered, next) = split(left, rows.last().filter(|_| rows.len() >= wanted).map(|(key, _)| key), reverse);
        rest = next;
        for row in overlay(rows, own, &covered, reverse) {
            let row_bytes = row.0.len() + row.1.len();
            if page.rows.len() >= limit || (bytes + row_bytes > RANGE_BYTES_MAX && !page.rows.is_empty()) {
                page.more = true;
                return Ok(page);
            }
            bytes += row_bytes;
            page.rows.push(row);
        }
    }
    Ok(page)
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
