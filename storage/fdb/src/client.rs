//! FoundationDB's client in this process: its library, loaded once, and its network thread, started once.
//!
//! The library keeps its state in globals, so the library stays until the process ends. The thread must end before
//! those globals are destroyed: a program calls [`stop`] before `main` returns.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use foundationdb::api::{FdbApiBuilder, NetworkAutoStop, get_max_api_version};
use foundationdb::options::NetworkOption;
use foundationdb::{FdbError, FdbResult};
use foundationdb_sys::LoadError;
use parking_lot::Mutex;

use crate::FdbOpenError;

/// Names the environment variable that names the client library.
pub const LIBRARY_VARIABLE: &str = "FDB_CLIENT_LIBRARY";
/// What the system's loader is asked for when nobody names a file.
const LIBRARY_NAME: &str = if cfg!(target_os = "macos") { "libfdb_c.dylib" } else { "libfdb_c.so" };
/// The version of the client's interface that this driver speaks; that of FoundationDB 7.3.
pub const API_VERSION: u32 = foundationdb_sys::FDB_API_VERSION;

enum Network {
    Down,
    Up(#[expect(dead_code, reason = "it stops the thread when it is dropped")] NetworkAutoStop),
    /// Why it did not start, or that it was stopped: it starts once a process.
    Gone(String),
}

static NETWORK: Mutex<Network> = Mutex::new(Network::Down);

/// Loads the library and starts the network thread, unless both are there already.
///
/// # Errors
/// The library's and the client's variants of [`FdbOpenError`].
pub fn start(library: Option<&Path>, trace_folder: Option<&Path>) -> Result<(), FdbOpenError> {
    let path = library_path(library);
    load(&path)?;
    let mut network = NETWORK.lock();
    match &*network {
        Network::Up(_) => return Ok(()),
        Network::Gone(reason) => return Err(client_error("start its network thread", reason.clone())),
        Network::Down => {}
    }
    let newest = u32::try_from(get_max_api_version()).unwrap_or(0);
    check_version(&path, newest)?;
    match boot(trace_folder) {
        Ok(guard) => {
            *network = Network::Up(guard);
            tracing::info!(library = %path.display(), version = client_version(), "FoundationDB's client is loaded");
            stop_at_exit();
            Ok(())
        }
        Err(error) => {
            *network = Network::Gone(describe(error));
            Err(client_error("start its network thread", describe(error)))
        }
    }
}

/// The version that the loaded library says it has, such as `7.3.79,4f1b…,fdb00b073000000`.
///
/// # Panics
/// When no library is loaded, so before a store was opened.
pub fn client_version() -> &'static str {
    // SAFETY: the library gives a static text that ends in a zero byte.
    let text = unsafe { CStr::from_ptr(foundationdb_sys::fdb_get_client_version()) };
    text.to_str().unwrap_or("unknown")
}

/// What FoundationDB says of an error, with its code.
pub(crate) fn describe(error: FdbError) -> String {
    format!("{} (FoundationDB error {})", error.message(), error.code())
}

pub(crate) fn client_error(doing: &'static str, reason: String) -> FdbOpenError {
    FdbOpenError::Client { doing, reason }
}

fn library_path(explicit: Option<&Path>) -> PathBuf {
    let named = || std::env::var_os(LIBRARY_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    explicit.map(Path::to_owned).or_else(named).unwrap_or_else(|| LIBRARY_NAME.into())
}

fn load(path: &Path) -> Result<(), FdbOpenError> {
    let path = path.to_owned();
    foundationdb_sys::load(&path).map_err(|error| match error {
        LoadError::Refused { reason } => FdbOpenError::LibraryMissing { path, reason },
        LoadError::Lacks { .. } => FdbOpenError::LibraryUnfit { path, problem: error.to_string() },
        LoadError::OtherLoaded { path: loaded } => FdbOpenError::LibraryOther { asked: path, loaded },
    })
}

fn check_version(path: &Path, newest: u32) -> Result<(), FdbOpenError> {
    if newest >= API_VERSION {
        return Ok(());
    }
    let problem = format!("it speaks API versions up to {newest}");
    Err(FdbOpenError::LibraryUnfit { path: path.to_owned(), problem })
}

fn boot(trace_folder: Option<&Path>) -> FdbResult<NetworkAutoStop> {
    let mut builder = FdbApiBuilder::default().build()?;
    if let Some(folder) = trace_folder {
        builder = builder.set_option(NetworkOption::TraceEnable(folder.display().to_string()))?;
        builder = builder.set_option(NetworkOption::TraceFormat("json".into()))?;
    }
    // SAFETY: the guard is dropped before the program exits, by `stop`, which is called or registered for that.
    unsafe { builder.boot() }
}

/// Stops the network thread and waits for its end; every store of this process should be closed before. No store opens
/// after that. Does nothing where there is none, or a second time.
///
/// A program that opens a store calls this before its `main` returns: what the library made meanwhile is destroyed at
/// exit, while the thread would still read it. A program that cannot, such as a test's, has the thread stopped at exit,
/// which is safe only as far as [`stop_at_exit`] was called after all that the library made.
pub fn stop() {
    let up = std::mem::replace(&mut *NETWORK.lock(), Network::Gone("the process is ending".into()));
    // The crate panics when the thread ended badly. Here nothing of it is left to lose.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(up)));
}

/// Has the network thread stopped at exit, before any global that the library has made so far is destroyed: what is
/// registered last runs first (atexit(3)). The library makes globals as it goes, each with a destructor that it
/// registers then, so this is called again whenever a database is done with. More than once does no harm.
pub(crate) fn stop_at_exit() {
    extern "C" fn at_exit() {
        stop();
    }
    // SAFETY: `at_exit` is a function of this program that takes nothing and does not unwind.
    unsafe { libc::atexit(at_exit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_too_old_is_named_with_what_it_speaks() {
        let said = check_version(Path::new("/opt/old/libfdb_c.so"), 710).unwrap_err().to_string();
        assert!(said.contains("/opt/old/libfdb_c.so") && said.contains("710") && said.contains("730"), "{said}");
        assert!(check_version(Path::new("x"), 730).is_ok() && check_version(Path::new("x"), 740).is_ok());
    }

    #[test]
    fn an_explicit_library_goes_before_all_others() {
        assert_eq!(library_path(Some(Path::new("/x/libfdb_c.so"))), Path::new("/x/libfdb_c.so"));
    }
}
