//! A straight-line script against a host that answers at once.

use serde_json::{Value, json};
use steward_types::{ManualClock, Timestamp};

use crate::{Bundle, Limits, Program, StepAnswer, StepCall, StepHost, StopReason, TurnEnd};

struct Echo(Vec<StepCall>);

impl StepHost for Echo {
    fn step(&mut self, call: StepCall) -> StepAnswer {
        self.0.push(call.clone());
        StepAnswer::Value(json!({"text": call.function}))
    }
    fn steps(&mut self, calls: Vec<StepCall>) -> Vec<StepAnswer> {
        calls.into_iter().map(|call| self.step(call)).collect()
    }
    fn stopped(&self) -> Option<StopReason> {
        None
    }
}

#[test]
fn a_straight_script_makes_its_steps_in_order() {
    let script = r#"fn on_message(msg) {
        let answer = chat([system("Be short."), user(msg.text)], #{max_tokens: 5});
        reply(answer.text);
        answer.text
    }"#;
    let program = Program::check(&Bundle::new(script)).unwrap();
    let mut host = Echo(Vec::new());
    let clock = ManualClock::new(Timestamp::EPOCH);
    let end = program.run_turn("on_message", &json!({"text": "hi"}), &mut host, &Limits::default(), &clock);
    assert_eq!(end, TurnEnd::Finished(Value::from("chat")));
    let seen: Vec<String> =
        host.0.iter().map(|call| format!("{} {} {}", call.path, call.position, call.arguments)).collect();
    assert_eq!(
        seen,
        [
            r#"1 agent.rhai:2:22 {"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"hi"}],"options":{"max_tokens":5}}"#,
            r#"2 agent.rhai:3:9 {"value":"chat"}"#,
        ]
    );
}
