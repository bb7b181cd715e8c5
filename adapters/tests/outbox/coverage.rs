//! What a search has reached: each kind of event, in each state of what it is about, and the state that came of it. A
//! new event does not compile until it has a kind here, and a kind that no search reaches fails the check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use steward_adapters::chain::{Action, Broadcast, TransactionStatus};
use steward_adapters::outbox::{Event, Intent, Outbox, Standing};

/// An enumeration with the words for each of its values, and all of them in a list.
macro_rules! worded {
    ($(#[$meta:meta])* $name:ident { $($value:ident = $words:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($value),* }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$value),*];

            pub const fn words(self) -> &'static str {
                match self { $(Self::$value => $words),* }
            }
        }
    };
}

worded! {
    /// What happened, told as finely as the outbox may tell it.
    Kind {
        Submitted = "submitted",
        Withdrawn = "withdrawn",
        Acknowledged = "acknowledged",
        Killed = "the process is killed",
        KeyChanged = "killed, and started with another key",
        Reconciled = "reconciled, with sequence numbers",
        ReconciledUncounted = "reconciled, without any",
        Signed = "signed",
        Outbid = "signed again, to outbid",
        OwnSignFailure = "not signed, its own fault",
        OtherSignFailure = "not signed, others' fault",
        Accepted = "sent: accepted",
        SequenceUsed = "sent: sequence number used",
        Underpriced = "sent: underpriced",
        Refused = "sent: refused",
        Unanswered = "sent: no answer",
        Unknown = "seen: unknown",
        Pending = "seen: pending",
        Included = "seen: in a block",
        Final = "seen: in a final block",
        Replaced = "seen: replaced, not finally",
        ReplacedForGood = "seen: replaced for good",
        Expired = "seen: expired",
        Unseen = "asked after, and nobody can tell",
    }
}

worded! {
    /// What an event changes.
    Subject { Outbox = "the outbox", Intent = "an intent", Fill = "what fills a gap", }
}

worded! {
    /// How far that is.
    Phase {
        Absent = "absent",
        Waiting = "waiting",
        Signed = "signed",
        Sent = "sent",
        Included = "included",
        Done = "done",
        Unasked = "not asked yet",
        Ready = "ready",
        Stalled = "stalled",
    }
}

impl Kind {
    /// The kind of an event that comes to this outbox.
    pub fn of(event: &Event, outbox: &Outbox) -> Self {
        match event {
            Event::Submitted { .. } => Self::Submitted,
            Event::Withdrawn { .. } => Self::Withdrawn,
            Event::Acknowledged { .. } => Self::Acknowledged,
            Event::Reconciled(Standing { sequences: Some(_), .. }) => Self::Reconciled,
            Event::Reconciled(Standing { sequences: None, .. }) => Self::ReconciledUncounted,
            Event::Signed { intent, .. } => match outbox.intents().get(intent) {
                Some(intent) if !intent.attempts.is_empty() => Self::Outbid,
                _ => Self::Signed,
            },
            Event::SignFailed { is_own: true, .. } => Self::OwnSignFailure,
            Event::SignFailed { is_own: false, .. } => Self::OtherSignFailure,
            Event::Broadcast { result: Ok(answer), .. } => match answer {
                Broadcast::Accepted => Self::Accepted,
                Broadcast::SequenceUsed => Self::SequenceUsed,
                Broadcast::Underpriced => Self::Underpriced,
                Broadcast::Refused { .. } => Self::Refused,
            },
            Event::Broadcast { result: Err(_), .. } => Self::Unanswered,
            Event::Observed { statuses, .. } => Self::seen(statuses),
            Event::Unseen { .. } => Self::Unseen,
        }
    }

    /// Of several transactions the one that landed tells, or else the newest.
    fn seen(statuses: &[(String, TransactionStatus)]) -> Self {
        let landed = statuses.iter().find(|(_, status)| matches!(status, TransactionStatus::Included(_)));
        match landed.or(statuses.last()).map(|(_, status)| status).expect("an answer is about some transaction") {
            TransactionStatus::Unknown => Self::Unknown,
            TransactionStatus::Pending => Self::Pending,
            TransactionStatus::Included(inclusion) if inclusion.is_final => Self::Final,
            TransactionStatus::Included(_) => Self::Included,
            TransactionStatus::Replaced { is_final: false } => Self::Replaced,
            TransactionStatus::Replaced { is_final: true } => Self::ReplacedForGood,
            TransactionStatus::Expired => Self::Expired,
        }
    }
}

impl Phase {
    fn of(intent: &Intent) -> Self {
        match (&intent.outcome, &intent.landing, intent.attempts.last()) {
            (Some(_), _, _) => Self::Done,
            (None, Some(_), _) => Self::Included,
            (None, None, Some(newest)) if newest.sent => Self::Sent,
            (None, None, Some(_)) => Self::Signed,
            (None, None, None) => Self::Waiting,
        }
    }

    /// The phases that a subject can be in.
    fn of_subject(subject: Subject) -> &'static [Self] {
        use Phase::{Absent, Done, Included, Ready, Sent, Signed, Stalled, Unasked, Waiting};
        match subject {
            Subject::Outbox => &[Unasked, Ready, Stalled],
            Subject::Intent => &[Absent, Waiting, Signed, Sent, Included, Done],
            // It is gone with its number, and nobody takes note of it.
            Subject::Fill => &[Absent, Waiting, Signed, Sent, Included],
        }
    }
}

/// What is told apart of an outbox and its intents.
pub struct Phases {
    outbox: Phase,
    intents: BTreeMap<u64, (Subject, Phase)>,
}

impl Phases {
    /// `is_asked`: whether the chain was asked since the start.
    pub fn of(outbox: &Outbox, is_asked: bool) -> Self {
        let of_outbox = match (&outbox.head().stall, is_asked) {
            (Some(_), _) => Phase::Stalled,
            (None, true) => Phase::Ready,
            (None, false) => Phase::Unasked,
        };
        let phase = |intent: &Intent| {
            let subject = if intent.action == Action::Fill { Subject::Fill } else { Subject::Intent };
            (subject, Phase::of(intent))
        };
        let intents = outbox.intents().iter().map(|(number, intent)| (*number, phase(intent))).collect();
        Self { outbox: of_outbox, intents }
    }
}

/// Every step of a subject that was seen: where it was, what happened, where it went.
#[derive(Debug, Clone, Default)]
pub struct Coverage(BTreeSet<(Subject, Kind, Phase, Phase)>);

impl Coverage {
    /// Notes what an event did, to the intent that it is about and to whatever else it moved.
    pub fn note(&mut self, kind: Kind, about: Option<u64>, before: &Phases, after: &Phases) {
        let is_of_outbox = about.is_none() || before.outbox != after.outbox;
        self.0.extend(is_of_outbox.then_some((Subject::Outbox, kind, before.outbox, after.outbox)));
        let numbers: BTreeSet<u64> = before.intents.keys().chain(after.intents.keys()).copied().chain(about).collect();
        for number in numbers {
            let (old, new) = (before.intents.get(&number), after.intents.get(&number));
            let Some((subject, _)) = old.or(new) else { continue };
            let phase = |found: Option<&(Subject, Phase)>| found.map_or(Phase::Absent, |(_, phase)| *phase);
            if about.is_none_or(|about| about == number) || old != new {
                self.0.insert((*subject, kind, phase(old), phase(new)));
            }
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.0.extend(other.0.iter().copied());
    }

    /// Every kind of event was seen, and every phase of everything.
    pub fn assert_whole(&self) {
        for kind in Kind::ALL {
            assert!(self.0.iter().any(|(_, seen, _, _)| seen == kind), "nothing was ever {kind:?}");
        }
        let is_of_some = |phase| Subject::ALL.iter().any(|subject| Phase::of_subject(*subject).contains(phase));
        assert!(Phase::ALL.iter().all(is_of_some), "each phase is one that something can be in");
        for subject in Subject::ALL {
            for phase in Phase::of_subject(*subject) {
                let is_reached = self.0.iter().any(|(seen, _, _, to)| (seen, to) == (subject, phase));
                assert!(is_reached, "{} was never {}", subject.words(), phase.words());
            }
        }
    }

    /// The steps as Markdown: a table for each subject, an event in a row, where it was in the columns, and where it went.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        for subject in Subject::ALL {
            let phases = Phase::of_subject(*subject);
            let names: Vec<_> = phases.iter().map(|phase| phase.words()).collect();
            writeln!(text, "| {} | {} |\n|---|{}", subject.words(), names.join(" | "), "---|".repeat(phases.len()))
                .unwrap();
            for kind in Kind::ALL {
                let cells: Vec<_> = phases.iter().map(|from| self.cell(*subject, *kind, *from)).collect();
                if cells.iter().any(|cell| !cell.is_empty()) {
                    writeln!(text, "| {} | {} |", kind.words(), cells.join(" | ")).unwrap();
                }
            }
            text.push('\n');
        }
        text
    }

    fn cell(&self, subject: Subject, kind: Kind, from: Phase) -> String {
        let steps = self.0.iter().filter(|(of, seen, before, _)| (*of, *seen, *before) == (subject, kind, from));
        let to: Vec<_> = steps.map(|(_, _, _, to)| if *to == from { "=" } else { to.words() }).collect();
        to.join(", ")
    }
}
