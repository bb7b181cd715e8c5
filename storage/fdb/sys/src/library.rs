//! Finds `libfdb_c` and keeps it for the life of the process: the library itself can be started once a process only.

use std::ffi::{CStr, CString, OsStr, c_int, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::functions::Functions;

/// Why the library cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// The system's loader refuses the file.
    Refused {
        /// What the loader says, which names the file.
        reason: String,
    },
    /// The file is a library, but not one of FoundationDB's client, or too old a one.
    Lacks {
        /// The function that it lacks.
        function: &'static str,
    },
    /// Another file is loaded already.
    OtherLoaded {
        /// That file, as it was asked for.
        path: PathBuf,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason } => write!(f, "{reason}"),
            Self::Lacks { function } => write!(f, "it lacks the function {function}"),
            Self::OtherLoaded { path } => write!(f, "{} is loaded already", path.display()),
        }
    }
}

impl std::error::Error for LoadError {}

#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    functions: Functions,
}

static LOADED: OnceLock<Loaded> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads the library at `path`, or by its name from where the system's loader looks. Once it succeeded it does nothing
/// but compare the path. A failure changes nothing, so another path may be tried.
///
/// # Errors
/// [`LoadError`], when the functions of this crate must not be called.
pub fn load(path: &Path) -> Result<(), LoadError> {
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = LOADED.get() {
        let same = loaded.path == path;
        return if same { Ok(()) } else { Err(LoadError::OtherLoaded { path: loaded.path.clone() }) };
    }
    let functions = Functions::resolve(&Library::open(path)?)?;
    // Nobody else sets it: this thread holds the lock.
    let _ = LOADED.set(Loaded { path: path.to_owned(), functions });
    Ok(())
}

/// The path that the library was loaded by, if it was.
pub fn loaded_from() -> Option<&'static Path> {
    LOADED.get().map(|loaded| &*loaded.path)
}

/// The functions of the loaded library.
///
/// # Panics
/// When none is loaded: to call before [`load`] succeeded is a bug.
pub(crate) fn functions() -> &'static Functions {
    &LOADED.get().expect("the FoundationDB client library is loaded before it is called").functions
}

/// An open shared library. It is never closed: FoundationDB's client cannot be unloaded.
pub(crate) struct Library(*mut c_void);

impl Library {
    fn open(path: &Path) -> Result<Self, LoadError> {
        let name = c_string(path.as_os_str())?;
        // SAFETY: `name` ends in a zero byte. The library's initialisers run, as they would if it were linked.
        let handle = unsafe { libc::dlopen(name.as_ptr(), RESOLVE) };
        if handle.is_null() { Err(LoadError::Refused { reason: last_error() }) } else { Ok(Self(handle)) }
    }

    /// The address of a function.
    pub(crate) fn symbol(&self, name: &'static CStr) -> Result<*mut c_void, LoadError> {
        // SAFETY: the handle came from `dlopen` and is never closed; the name ends in a zero byte.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        let function = name.to_str().unwrap_or_default();
        if address.is_null() { Err(LoadError::Lacks { function }) } else { Ok(address) }
    }
}

/// All of the library's own needs at once, so that a broken one fails here; its names stay its own.
const RESOLVE: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL;

fn c_string(path: &OsStr) -> Result<CString, LoadError> {
    let refused = |_| LoadError::Refused { reason: format!("{}: a path must not hold a zero byte", path.display()) };
    CString::new(path.as_bytes()).map_err(refused)
}

fn last_error() -> String {
    // SAFETY: `dlerror` gives null or a text of this thread that lives until the next call of its family.
    let text = unsafe {
        let text = libc::dlerror();
        if text.is_null() { c"the loader gives no reason" } else { CStr::from_ptr(text) }
    };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_client_library_is_refused_with_the_reason() {
        let missing = load(Path::new("/nowhere/libfdb_c.so")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/libfdb_c.so"), "{missing}");
        let other = load(Path::new("libm.so.6")).unwrap_err();
        assert!(matches!(other, LoadError::Lacks { .. }), "{other:?}");
        assert_eq!(loaded_from(), None);
    }
}
