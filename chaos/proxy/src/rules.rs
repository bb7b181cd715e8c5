//! What is held back, and whose.

use std::collections::BTreeMap;

/// Which directions let nothing through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hold {
    /// From the side that dialled to the side that accepted.
    pub there: bool,
    /// From the side that accepted to the side that dialled.
    pub back: bool,
}

impl Hold {
    /// Everything passes.
    pub const NONE: Self = Self { there: false, back: false };
    /// Nothing passes.
    pub const BOTH: Self = Self { there: true, back: true };
    /// The one that dialled is not heard.
    pub const THERE: Self = Self { there: true, back: false };
    /// The one that accepted is not heard.
    pub const BACK: Self = Self { there: false, back: true };
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub everyone: Hold,
    callers: BTreeMap<usize, Hold>,
}

impl Rules {
    pub fn set(&mut self, caller: usize, hold: Hold) {
        if hold == Hold::NONE {
            self.callers.remove(&caller);
        } else {
            self.callers.insert(caller, hold);
        }
    }

    pub fn of(&self, caller: Option<usize>) -> Hold {
        let own = caller.and_then(|caller| self.callers.get(&caller)).copied().unwrap_or_default();
        Hold { there: own.there || self.everyone.there, back: own.back || self.everyone.back }
    }
}
