//! The threads that scripts run on: how many there are, and how those that compute long give way to the rest.
//!
//! A script begins on a thread of ordinary priority. Once it has used `SCRIPT_FAST_TIME_MAX` of processor time, it waits
//! for the one slow lane whenever it computes, and its thread gives way to every other for good: only a privileged
//! process may take that back. So that thread ends with its script, and a fresh one takes its place.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use steward_types::limits::{SCRIPT_SLOW_LANES, SCRIPT_THREAD_IDLE_TIME, SCRIPT_THREADS_MAX, SCRIPT_WRITING_LANES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// A bounded number of threads for scripts; each holds one while it runs or waits a short while.
#[derive(Clone)]
pub struct ScriptThreads {
    places: Arc<Semaphore>,
    slow_lane: Arc<Semaphore>,
    writing_lane: Arc<Semaphore>,
    pool: Arc<Pool>,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    has_job: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
}

thread_local! {
    static HAS_GIVEN_WAY: Cell<bool> = const { Cell::new(false) };
}

impl ScriptThreads {
    /// At most `count` scripts at once.
    pub fn new(count: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count)),
            slow_lane: Arc::new(Semaphore::new(SCRIPT_SLOW_LANES)),
            writing_lane: Arc::new(Semaphore::new(SCRIPT_WRITING_LANES)),
            pool: Arc::default(),
        }
    }

    /// Runs `script` on a thread that may block. Dropping the future before it runs gives the turn in the queue up;
    /// later the script runs on, and its result is lost.
    ///
    /// # Errors
    /// Why there is no result: no thread could be started, or the script panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        script: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        let (sender, result) = oneshot::channel();
        let job = Box::new(move || {
            let result = script();
            drop(place);
            // Whoever asked may have gone.
            let _ = sender.send(result);
        });
        self.pool.start(job).map_err(|error| format!("no thread for a script could be started: {error}"))?;
        result.await.map_err(|_| "the script's thread ended before the script did".to_owned())
    }

    /// Leave to compute for long. Dropping the future gives the turn in the queue up.
    pub(super) async fn slow_lane(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.slow_lane).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Leave to commit a full buffer. Dropping the future gives the turn in the queue up.
    pub(super) async fn writing_lane(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.writing_lane).acquire_owned().await.expect("the semaphore is never closed")
    }
}

impl Default for ScriptThreads {
    fn default() -> Self {
        Self::new(SCRIPT_THREADS_MAX)
    }
}

impl fmt::Debug for ScriptThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptThreads").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Hands `job` to an idle thread, or to a new one.
    fn start(self: &Arc<Self>, job: Job) -> std::io::Result<()> {
        let mut state = self.state.lock();
        if state.idle > state.jobs.len() {
            state.jobs.push_back(job);
            drop(state);
            self.has_job.notify_one();
            return Ok(());
        }
        drop(state);
        let pool = Arc::clone(self);
        std::thread::Builder::new().name("script".to_owned()).spawn(move || pool.work(job)).map(drop)
    }

    /// Does one job after another, until there is none for a while or the thread has given way.
    fn work(&self, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            job();
            next = if HAS_GIVEN_WAY.get() { None } else { self.next() };
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        state.idle += 1;
        while state.jobs.is_empty() {
            if self.has_job.wait_for(&mut state, SCRIPT_THREAD_IDLE_TIME).timed_out() {
                break;
            }
        }
        state.idle -= 1;
        state.jobs.pop_front()
    }
}

/// Processor time that this thread has used so far.
pub(crate) fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let whole = Duration::from_secs(u64::try_from(used.tv_sec).unwrap_or(0));
    whole.saturating_add(Duration::from_nanos(u64::try_from(used.tv_nsec).unwrap_or(0)))
}

/// Lets every thread of ordinary priority go before this one, until this one ends.
pub(super) fn give_way() {
    if HAS_GIVEN_WAY.replace(true) {
        return;
    }
    // Linux schedules each thread by itself; elsewhere the whole process would have to give way.
    #[cfg(target_os = "linux")]
    if !becomes_idle() {
        tracing::debug!("a script that computes long keeps its priority");
    }
}

/// Puts this thread under `SCHED_IDLE`, see sched(7): whatever else wakes takes the processor from it at once, where a
/// mere nice value lets it finish its time slice. A turn that wakes a dozen times would wait a dozen slices.
#[cfg(target_os = "linux")]
fn becomes_idle() -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 names the calling thread, and the parameters outlive the call, which only reads them.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_is_used_again_unless_it_gave_way() {
        let threads = ScriptThreads::new(1);
        let name_of = || std::thread::current().id();
        let first = threads.run(name_of).await.unwrap();
        // The thread is idle once it can be seen to wait.
        while threads.pool.state.lock().idle == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(threads.run(name_of).await, Ok(first));
        while threads.pool.state.lock().idle == 0 {
            tokio::task::yield_now().await;
        }
        let given_way = threads.run(move || (give_way(), name_of()).1).await.unwrap();
        assert_eq!(given_way, first);
        assert_ne!(threads.run(name_of).await, Ok(first));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_leaves_its_place_free() {
        let threads = ScriptThreads::new(1);
        assert!(threads.run(|| panic!("as the test wants")).await.is_err());
        assert_eq!(threads.run(|| 1).await, Ok(1));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_the_thread_that_gives_way_is_scheduled_behind_the_rest() {
        let threads = ScriptThreads::new(1);
        // SAFETY: 0 names the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        assert_ne!(before, libc::SCHED_IDLE);
        assert_eq!(threads.run(move || (give_way(), policy()).1).await, Ok(libc::SCHED_IDLE));
        assert_eq!(policy(), before);
        assert_eq!(threads.run(policy).await, Ok(before));
    }
}
