//! One direction of one connection.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::rules::Rules;
use crate::{NEVER, Shared};

const CHUNK_BYTES: usize = 64 << 10;

/// Passes bytes on until either side ends.
pub(crate) async fn carry(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    shared: &Shared,
    is_held: impl Fn(&Rules) -> bool,
) {
    let (mut chunk, mut rules) = (vec![0; CHUNK_BYTES], shared.rules.subscribe());
    loop {
        let Ok(read @ 1..) = from.read(&mut chunk).await else { return };
        if is_held(&rules.borrow()) {
            shared.withheld.fetch_add(read as u64, Ordering::SeqCst);
        }
        if rules.wait_for(|rules| !is_held(rules)).await.is_err() {
            return;
        }
        let passed = shared.pass(read);
        if to.write_all(&chunk[..passed]).await.is_err() {
            return;
        }
        if passed < read {
            shared.break_all();
            return std::future::pending().await;
        }
    }
}

impl Shared {
    /// How many of so many bytes may pass; fewer for the piece that the cut is in.
    fn pass(&self, bytes: usize) -> usize {
        let wanted = i64::try_from(bytes).unwrap_or(NEVER);
        let spend = |left: i64| (left != NEVER).then(|| if left < wanted { NEVER } else { left - wanted });
        match self.bytes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(left) if left < wanted => {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                usize::try_from(left).unwrap_or(0)
            }
            Ok(_) | Err(_) => bytes,
        }
    }
}
