//! One loaded generator and the thread that serves it: sequences take turns step by step, new ones wait in a bounded
//! queue. The thread ends when the replica is dropped, and frees the model with it. When the device fails, the thread
//! takes the model, and all that it has begun, to another one.

mod home;
mod job;
mod prefixes;
mod schedule;
mod sequence;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use steward_inference::{ModelError, ReplicaLoad};
use steward_types::limits::REPLICA_QUEUE_MAX;
use steward_types::{Clock, ModelId};

use crate::tokenizer::GeneratorTokenizer;
pub use home::{FindHome, Home, note_failure};
pub use job::{Job, Order};
use schedule::Schedule;

/// What the thread needs to serve.
#[derive(Debug)]
pub struct Engine {
    /// The model's name, for errors and for the device's ledger.
    pub id: ModelId,
    /// Where it is.
    pub home: Home,
    /// Where else it can be.
    pub find_home: FindHome,
    /// Tokens to bytes.
    pub tokenizer: Arc<GeneratorTokenizer>,
    /// Measures what each sequence took.
    pub clock: Arc<dyn Clock>,
}

/// A handle to the serving thread.
#[derive(Debug)]
pub struct Replica {
    id: ModelId,
    door: Arc<Door>,
}

/// Where requests come in and the thread is woken.
#[derive(Debug, Default)]
pub struct Door {
    lobby: Mutex<Lobby>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lobby {
    waiting: VecDeque<Job>,
    active: u32,
    /// The name of the device that the model is on.
    device: String,
    /// Something changed since the thread last looked.
    is_rung: bool,
    is_closed: bool,
}

impl Replica {
    /// Starts the thread. [`ModelError::Failed`] when the system gives none.
    pub fn start(engine: Engine) -> Result<Self, ModelError> {
        let (id, door) = (engine.id.clone(), Arc::new(Door::default()));
        door.tell_device(engine.home.device.name());
        let served = Arc::clone(&door);
        std::thread::Builder::new()
            .name(format!("model {id}"))
            .spawn(move || {
                // Closes the door also when the thread panics, so that nobody waits for it.
                let _closed = CloseOnDrop(Arc::clone(&served));
                Schedule::new(engine, served).run();
            })
            .map_err(|error| ModelError::Failed { what: format!("no thread for the replica: {error}") })?;
        Ok(Self { id, door })
    }

    /// What the serving thread is woken by.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Puts a job in the queue. [`ModelError::Busy`] when it is full.
    pub fn submit(&self, job: Job) -> Result<(), ModelError> {
        let mut lobby = self.door.lobby.lock();
        if lobby.is_closed {
            return Err(ModelError::Failed { what: "the replica has stopped".to_owned() });
        }
        if lobby.waiting.len() >= REPLICA_QUEUE_MAX {
            let reason = format!("{REPLICA_QUEUE_MAX} generations wait already");
            return Err(ModelError::Busy { id: self.id.clone(), reason });
        }
        lobby.waiting.push_back(job);
        drop(lobby);
        self.door.ring();
        Ok(())
    }

    /// The name of the device that the model is on.
    pub fn device(&self) -> String {
        self.door.lobby.lock().device.clone()
    }

    /// How busy it is.
    pub fn load(&self) -> ReplicaLoad {
        let lobby = self.door.lobby.lock();
        ReplicaLoad { active: lobby.active, waiting: u32::try_from(lobby.waiting.len()).unwrap_or(u32::MAX) }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.door.close();
    }
}

impl Door {
    /// Wakes the thread: credit was granted, or somebody has gone.
    pub fn ring(&self) {
        self.lobby.lock().is_rung = true;
        self.changed.notify_one();
    }

    /// Lets nobody in any more; who waits is told by the end of their stream.
    fn close(&self) {
        let waiting = {
            let mut lobby = self.lobby.lock();
            lobby.is_closed = true;
            std::mem::take(&mut lobby.waiting)
        };
        self.ring();
        drop(waiting);
    }

    /// Takes the next job that waits, if any.
    fn take(&self) -> Option<Job> {
        self.lobby.lock().waiting.pop_front()
    }

    /// Puts a job back as the next, unless the door was closed meanwhile: then its stream ends, as that of all others did.
    fn put_back(&self, job: Job) {
        let mut lobby = self.lobby.lock();
        if !lobby.is_closed {
            lobby.waiting.push_front(job);
        }
    }

    /// Notes on which device the model is.
    fn tell_device(&self, name: &str) {
        name.clone_into(&mut self.lobby.lock().device);
    }

    /// Whether jobs wait.
    fn is_awaited(&self) -> bool {
        !self.lobby.lock().waiting.is_empty()
    }

    /// Takes all jobs that wait.
    fn take_all(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.lobby.lock().waiting)
    }

    /// Notes how many sequences are active, and says whether to go on serving. When there is `nothing_to_do`, it waits
    /// until the bell rings.
    fn attend(&self, active: usize, progress: Progress) -> bool {
        let mut lobby = self.lobby.lock();
        lobby.active = u32::try_from(active).unwrap_or(u32::MAX);
        while progress == Progress::Stalled && !lobby.is_rung && !lobby.is_closed {
            self.changed.wait(&mut lobby);
        }
        lobby.is_rung = false;
        !lobby.is_closed
    }
}

/// Whether a round of the schedule did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Made,
    Stalled,
}

impl Progress {
    const fn of(made: bool) -> Self {
        if made { Self::Made } else { Self::Stalled }
    }
}

struct CloseOnDrop(Arc<Door>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
