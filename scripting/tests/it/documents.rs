//! What the documentation and the examples show is what works.

use std::path::Path;

use serde_json::json;
use steward_scripting::testing::{RecordingHost, plausible_answer};
use steward_scripting::{Bundle, Manifest, Program, TurnEnd};

use crate::run_with;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text within each fence of this kind, with the line it starts at.
fn fences<'a>(text: &'a str, kind: &str) -> Vec<(usize, String)> {
    let mut fences = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim() == format!("```{kind}") {
            let body: Vec<&'a str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
            fences.push((number + 2, body.join("\n")));
        }
    }
    fences
}

#[test]
fn every_example_of_the_guide_is_checked_and_runs() {
    let guide = read("docs/scripting.md");
    let examples = fences(&guide, "rhai");
    assert!(examples.len() >= 20, "only {} examples", examples.len());
    let module = |name: &str| fences(&guide, &format!("rhai {name}"))[0].1.clone();
    let modules = ["pricing", "project/tax"].map(|name| (name, module(name)));
    for (line, example) in &examples {
        let script = if example.contains("fn on_message") {
            example.clone()
        } else {
            format!("fn on_message(msg) {{\n{example}\n}}")
        };
        let bundle =
            modules.iter().fold(Bundle::new(script), |bundle, (name, source)| bundle.with_module(*name, source));
        let program = Program::check(&bundle).unwrap_or_else(|found| panic!("docs/scripting.md:{line}: {found:#?}"));
        let mut host = RecordingHost::default();
        let end = run_with(&program, &json!({"text": "hello", "url": "http://127.0.0.1:8000/price"}), &mut host);
        assert!(matches!(end, TurnEnd::Finished(_)), "docs/scripting.md:{line}: {end:?}");
    }
}

#[test]
fn every_host_function_and_limit_code_is_in_the_guide() {
    let guide = read("docs/scripting.md");
    for name in [
        "chat",
        "generate",
        "embed",
        "remember",
        "recall",
        "http",
        "http_get",
        "http_post",
        "ask_human",
        "sleep",
        "now",
        "uuid",
        "random",
        "call_agent",
        "parallel",
        "state",
        "set_state",
        "reply",
        "emit",
        "log",
        "system",
        "user",
        "assistant",
        "context",
        "chain(name).balance",
        "chain(name).read",
        "chain(name).send",
        "chain(name).call",
        "chain(name).wait",
    ] {
        assert!(guide.contains(&format!("`{name}(")), "docs/scripting.md says nothing of {name}");
    }
    for code in ["OPERATIONS", "DEPTH", "MEMORY", "TIME", "STEPS", "FAILED", "INVALID"] {
        assert!(guide.contains(&format!("SCRIPT_{code}")), "docs/scripting.md says nothing of SCRIPT_{code}");
    }
    for (line, manifest) in fences(&guide, "toml") {
        Manifest::parse(&manifest).unwrap_or_else(|error| panic!("docs/scripting.md:{line}: {error}"));
    }
}

#[test]
fn the_treasury_agent_asks_before_it_moves_and_remembers_what_it_did() {
    let manifest = Manifest::parse(&read("examples/treasury/manifest.toml")).unwrap();
    assert_eq!(manifest.name.as_str(), "treasury");
    let program =
        Program::check(&Bundle::new(read("examples/treasury/agent.rhai"))).unwrap_or_else(|found| panic!("{found:#?}"));
    let message = json!({"text": "Rebalance the treasury", "url": "http://127.0.0.1:8000/transfer"});
    let outcome = |approved: bool| {
        let mut host = RecordingHost::new(move |call| match call.function.as_str() {
            "ask_human" => {
                steward_scripting::StepAnswer::Value(json!({"approved": approved, "answer": "", "by": "ada"}))
            }
            _ => plausible_answer(call),
        });
        let end = run_with(&program, &message, &mut host);
        assert!(matches!(end, TurnEnd::Finished(_)), "{end:?}");
        let posts = host.journal.values().filter(|step| step.call.arguments["method"] == "POST").count();
        let functions: Vec<String> = host.functions().into_iter().map(str::to_owned).collect();
        (posts, functions, host.replies().len())
    };
    let (posts, functions, replies) = outcome(true);
    assert_eq!((posts, replies), (1, 1));
    for function in ["recall", "chat", "http", "ask_human", "remember", "reply"] {
        assert!(functions.iter().any(|called| called == function), "{function} in {functions:?}");
    }
    assert_eq!(outcome(false).0, 0);
}

/// The Stake contract of its example.
const STAKE: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

#[test]
fn the_contracts_agents_tell_contracts_what_their_manifests_allow() {
    let evidence = json!({
        "log": "0x5f", "account": "0xf3", "log_id": format!("0x{}", "ab".repeat(32)), "leaf": "0x01", "index": 4,
        "leaf_hash": "0x02", "path": ["0x03"],
    });
    let order = json!({
        "provider": "0xb0b", "amount": "5", "days": 7, "log": "0x5f", "account": "0xf3", "log_id": "0x04",
        "prompt_hash": "0x05",
    });
    let log = format!("0x{:0>64}{:0>64}{}", "5f", "f3", "ab".repeat(32));
    let feedback = json!({ "agent": 1, "value": 95, "tag": "quality" });
    let slash = json!({ "agent": 1, "amount": "5", "to": "0xb0b", "salt": 9 });
    let slashed = json!({
        "method": "slash(uint256,uint128,address,bytes32)", "arguments": [1, "5", "0xb0b", "0x02"],
    });
    for (example, message, called) in [
        ("escrow", json!({ "claim": 1, "evidence": evidence }), json!([1, "0x01", 4, ["0x03"]])),
        ("escrow", json!({ "decline": 7 }), json!([7])),
        ("escrow", json!({ "refund": 7 }), json!([7])),
        ("escrow", json!({ "order": order }), json!(["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "5"])),
        (
            "identity",
            json!({ "register": "https://a", "evidence": evidence }),
            json!(["https://a", [["receiptLog", log]]]),
        ),
        (
            "identity",
            json!({ "feedback": feedback, "evidence": evidence }),
            json!([1, [95, 0, "quality", "", "", "", format!("0x{}", "0".repeat(64))], ["0x02", 4, ["0x03"]]]),
        ),
        ("stake", json!({ "deposit": { "agent": 1, "amount": "5" } }), json!([STAKE, "5"])),
        ("stake", json!({ "leave": { "agent": 1, "amount": "5" } }), json!([1, "5"])),
        ("stake", json!({ "stay": 1 }), json!([1])),
        ("stake", json!({ "release": 1 }), json!([1])),
        ("stake", json!({ "slash": slash, "evidence": evidence }), json!([STAKE, slashed, 9])),
        ("stake", json!({ "execute": slash, "evidence": evidence }), json!([STAKE, slashed, 9])),
    ] {
        let manifest = Manifest::parse(&read(&format!("examples/{example}/manifest.toml"))).unwrap();
        let script = read(&format!("examples/{example}/agent.rhai"));
        let program = Program::check(&Bundle::new(script)).unwrap_or_else(|found| panic!("{found:#?}"));
        let mut host = RecordingHost::new(move |call| match call.function.as_str() {
            "chain_read" if call.arguments["signature"] == "lastOrder()(uint256)" => {
                steward_scripting::StepAnswer::Value(json!("0"))
            }
            "chain_read" if example == "stake" => steward_scripting::StepAnswer::Value(json!(["0", "5", "0"])),
            "chain_read" => steward_scripting::StepAnswer::Error(steward_scripting::StepError {
                code: steward_types::ErrorCode::ChainRejected,
                message: "there is none".to_owned(),
                data: serde_json::Value::Null,
            }),
            _ => plausible_answer(call),
        });
        let end = run_with(&program, &message, &mut host);
        assert!(matches!(end, TurnEnd::Finished(_)), "{example}: {end:?}");
        let calls: Vec<_> =
            host.journal.values().map(|step| &step.call).filter(|call| call.function == "chain_call").collect();
        assert_eq!(calls[0].arguments["arguments"], called, "{message}");
        for call in calls {
            let (contract, method) = (&call.arguments["contract"], &call.arguments["signature"]);
            let rules = &manifest.chains["eip155:31337"];
            assert!(rules.may_call(contract.as_str().unwrap(), method.as_str().unwrap()), "{contract}: {method}");
        }
    }
}

#[test]
fn the_payroll_agent_orders_everything_first_and_reports_what_was_refused() {
    let manifest = Manifest::parse(&read("examples/payroll/manifest.toml")).unwrap();
    assert!(manifest.chains["eip155:31337"].may_pay("0xb0b"));
    let program =
        Program::check(&Bundle::new(read("examples/payroll/agent.rhai"))).unwrap_or_else(|found| panic!("{found:#?}"));
    let message = json!({"payments": [{"to": "0xb0b", "amount": "5"}, {"to": "0xbad", "amount": 6}]});
    let mut host = RecordingHost::new(|call| match call.arguments["to"].as_str() {
        Some("0xbad") => steward_scripting::StepAnswer::Error(steward_scripting::StepError {
            code: steward_types::ErrorCode::ChainForbidden,
            message: "not on the list".to_owned(),
            data: serde_json::Value::Null,
        }),
        _ => plausible_answer(call),
    });
    let end = run_with(&program, &message, &mut host);
    assert!(matches!(end, TurnEnd::Finished(_)), "{end:?}");
    assert_eq!(host.functions(), ["chain_send", "chain_send", "log", "chain_wait", "reply"]);
    let reply = &host.replies()[0]["payments"];
    assert_eq!((&reply[0]["paid"], &reply[1]["refused"]), (&json!(true), &json!("CHAIN_FORBIDDEN")));
}
