//! How much memory a thread's live allocations take, so that a script can be stopped before it takes too much.
//!
//! Rhai bounds each single value; only the allocator sees their sum. A binary that runs scripts installs
//! [`MeteredAllocator`]; without it the bound on the sum does not work, and those on single values still do.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// Another allocator, with a counter a thread.
///
/// ```
/// use steward_scripting::MeteredAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: MeteredAllocator<std::alloc::System> = MeteredAllocator(std::alloc::System);
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MeteredAllocator<A>(pub A);

thread_local! {
    // Without a destructor and without lazy initialisation, so that the allocator may use it at any time.
    static ALLOCATED_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Bytes allocated minus bytes freed by this thread. Negative on a thread that frees what others allocated.
pub(crate) fn allocated_by_this_thread() -> isize {
    ALLOCATED_BYTES.get()
}

fn count(bytes: isize) {
    // A thread that is being torn down has no counter any more, and runs no script.
    let _ = ALLOCATED_BYTES.try_with(|counter| counter.set(counter.get().wrapping_add(bytes)));
}

// SAFETY: every call goes to the inner allocator unchanged; counting touches a thread's own plain cell only and
// never allocates. A layout's size is at most `isize::MAX`, so the casts lose nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for MeteredAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, which is the inner allocator's own.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as in `alloc`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from the inner allocator with this layout.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the pointer came from the inner allocator with this layout.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}
