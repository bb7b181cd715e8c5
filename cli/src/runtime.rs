//! How a program of ours lives and ends: its work on a runtime, then in order what runs beside it.

use std::future::Future;
use std::time::Duration;

/// How long background tasks may take to end once the program's work is done.
const BACKGROUND_END_TIME: Duration = Duration::from_secs(5);

/// Does `work` on a runtime of this program's own. When it is done, what it left running is ended: tasks first, then
/// the network thread of FoundationDB's client, which must not live on when `main` returns.
///
/// # Errors
/// When the system gives no threads.
pub fn run<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(BACKGROUND_END_TIME);
    steward_storage_fdb::client::stop();
    Ok(done)
}
