//! Stopping anywhere and running again changes nothing.

use proptest::prelude::*;
use steward_scripting::testing::RecordingHost;
use steward_scripting::{Program, TurnEnd};

use crate::{handler, run};

/// A random body made of steps, branches, loops and exceptions.
fn any_body() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec![
        "total += chat(`n ${total}`).text;",
        "total += now();",
        "total += random();",
        "total += recall(`${total}`, 2)[0].text;",
        "set_state(\"k\", total);",
        "remember(total);",
        "emit(\"e\", #{t: total});",
        "if http_get(\"http://a/\").json.price > 5 { total += uuid(); } else { total += now(); }",
        "try { ask_human(total); throw \"x\"; } catch (e) { total += e; }",
    ]);
    let step = step.prop_map(str::to_owned);
    let block = step.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|steps| steps.concat()),
            (1..4_u32, inner.clone()).prop_map(|(times, body)| format!("for i in 0..{times} {{ {body} }}")),
            prop::collection::vec(inner, 1..4).prop_map(|branches| {
                let branches: Vec<String> = branches.into_iter().map(|body| format!("|| {{ {body} total }}")).collect();
                format!("for part in parallel([{}]) {{ total += part; }}", branches.join(", "))
            }),
        ]
    });
    prop::collection::vec(block, 1..5).prop_map(|blocks| format!("let total = \"\"; {} total", blocks.concat()))
}

fn whole_run(program: &Program) -> (RecordingHost, TurnEnd) {
    let mut host = RecordingHost::default();
    let end = run(program, &mut host);
    // It may also fail, when its texts have grown too large: then it fails each time alike.
    assert!(!matches!(end, TurnEnd::Suspended { .. } | TurnEnd::Stopped(_)), "{end:?}");
    (host, end)
}

proptest! {
    #[test]
    fn stopping_before_any_step_and_running_again_gives_the_same_journal_and_end(body in any_body(), seed: u32) {
        let program = handler(&body);
        let (whole, end) = whole_run(&program);
        let steps = whole.journal.len();
        for stop in [0, seed as usize % (steps + 1), steps / 2, steps.saturating_sub(1)] {
            let mut host = RecordingHost::default();
            host.stop_after(stop);
            run(&program, &mut host);
            prop_assert!(host.journal.len() <= stop.max(steps.min(stop)));
            host.go_on();
            prop_assert_eq!(&run(&program, &mut host), &end);
            prop_assert_eq!(&host.journal, &whole.journal);
            prop_assert!(host.executions.values().all(|&times| times == 1));
        }
    }

    #[test]
    fn suspending_at_every_step_gives_the_same_journal_and_end(body in any_body()) {
        let program = handler(&body);
        let (whole, end) = whole_run(&program);
        let mut host = RecordingHost::default();
        for path in whole.journal.keys() {
            host.hold(&path.to_string());
        }
        let mut ends = 0;
        loop {
            match run(&program, &mut host) {
                TurnEnd::Suspended { waiting_for } => host.answer(&waiting_for[0]),
                other => {
                    prop_assert_eq!(&other, &end);
                    break;
                }
            }
            ends += 1;
            prop_assert!(ends <= whole.journal.len());
        }
        prop_assert_eq!(&host.journal, &whole.journal);
    }
}
