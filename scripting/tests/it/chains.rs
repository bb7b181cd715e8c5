//! `chain(name)` in scripts: what becomes a step, and what is refused before it is one.

use serde_json::{Value, json};
use steward_scripting::testing::RecordingHost;
use steward_scripting::{Bundle, Manifest, Program, TurnEnd};

use crate::{fail, finish, handler, run};

/// The one step that a body makes: its function and arguments.
fn step(body: &str) -> (String, Value) {
    let mut host = RecordingHost::default();
    let end = run(&handler(body), &mut host);
    assert!(matches!(end, TurnEnd::Finished(_)), "{body}: {end:?}");
    assert_eq!(host.journal.len(), 1, "{body}: {:?}", host.functions());
    let call = &host.journal.values().next().expect("a step").call;
    (call.function.clone(), call.arguments.clone())
}

#[test]
fn each_method_becomes_a_step_with_its_arguments_by_name() {
    let check = |method: &str, function: &str, arguments: Value| {
        let mut arguments = arguments;
        arguments["chain"] = json!("eip155:1");
        assert_eq!(step(&format!("chain(\"eip155:1\").{method}")), (function.to_owned(), arguments), "{method}");
    };
    check("balance(\"0xa\")", "chain_balance", json!({"account": "0xa", "options": {"at": "final"}}));
    let of_token = json!({"account": "0xa", "options": {"asset": "0xt", "at": "final"}});
    check("balance(\"0xa\", \"0xt\")", "chain_balance", of_token);
    let latest = json!({"account": "0xa", "options": {"at": "latest"}});
    check("balance(\"0xa\", #{at: \"latest\"})", "chain_balance", latest);
    let confirmed = json!({"account": "0xa", "options": {"at": "confirmed"}});
    check("balance(\"0xa\", #{at: \"confirmed\"})", "chain_balance", confirmed);
    let read =
        json!({"contract": "0xc", "signature": "f(uint256)(bool)", "arguments": [7], "options": {"at": "final"}});
    check("read(\"0xc\", \"f(uint256)(bool)\", [7])", "chain_read", read);
    let message = json!({"contract": "w", "signature": null, "arguments": {"get": {}}, "options": {"at": "final"}});
    check("read(\"w\", #{get: #{}})", "chain_read", message);
    check("send(\"0xb\", 5)", "chain_send", json!({"to": "0xb", "amount": "5", "options": {}}));
    let large = json!({"to": "0xb", "amount": "340282366920938463463374607431768211455", "options": {"asset": "0xt"}});
    check("send(\"0xb\", \"340282366920938463463374607431768211455\", #{asset: \"0xt\"})", "chain_send", large);
    let call = json!({"contract": "0xc", "signature": "f(bool)", "arguments": [true], "options": {"value": "0"}});
    check("call(\"0xc\", \"f(bool)\", [true])", "chain_call", call);
    let paying = json!({"contract": "0xc", "signature": "f()", "arguments": [], "options": {"value": "9"}});
    check("call(\"0xc\", \"f()\", [], #{value: 9})", "chain_call", paying);
    let told = json!({"contract": "w", "signature": null, "arguments": {"mint": {"n": 1}}, "options": {"value": "8"}});
    check("call(\"w\", #{mint: #{n: 1}}, #{value: \"8\"})", "chain_call", told);
    check("wait(\"id\", #{timeout: \"2h\"})", "chain_wait", json!({"id": "id", "options": {"timeout_ms": 7_200_000}}));
}

#[test]
fn a_chain_is_a_value_and_no_step() {
    let kept = "let c = chain(\"eip155:1\"); let id = c.send(\"0xb\", 1); c.wait(id).succeeded";
    assert_eq!(finish(kept), json!(true));
    let both = "let c = chain(\"a:b\"); parallel([|| c.balance(\"x\"), || c.balance(\"y\")]).len()";
    assert_eq!(finish(both), json!(2));
}

#[test]
fn wrong_arguments_are_refused_before_they_are_a_step() {
    let check = |body: &str, part: &str| {
        let error = fail(body);
        assert!(error.message.contains(part), "{body}: {}", error.message);
    };
    check("chain(\"a:b\").send(\"x\", -1)", "a whole number of the smallest unit");
    check("chain(\"a:b\").send(\"x\", 1.5)", "a whole number of the smallest unit");
    check("chain(\"a:b\").send(\"x\", \"1e18\")", "a whole number of the smallest unit");
    check("chain(\"a:b\").send(7, 1)", "to must be text");
    check("chain(\"a:b\").send(\"x\", 1, #{aset: \"t\"})", "aset");
    check("chain(\"a:b\").balance(\"x\", #{at: \"yesterday\"})", "yesterday");
    check("chain(\"a:b\").call(\"x\", 7, [])", "signature must be text");
    check("chain(\"a:b\").read(\"x\", \"f()\")", "the arguments are missing");
    check("(|x| x).balance(\"x\")", "this is a method of a chain");
    check("chain(5)", "name must be text");
}

#[test]
fn the_upload_check_knows_the_methods() {
    let check = |body: &str, expected: &str| {
        let script = format!("fn on_message(msg) {{ {body} }} fn send(to, much) {{ to }}");
        let found = Program::check(&Bundle::new(script)).expect_err(body);
        assert!(found.iter().any(|found| found.to_string().contains(expected)), "{body}: {found:?}");
    };
    check("chain(\"a:b\").wait()", "1:35: wait takes 1 or 2 arguments, but 0 are given");
    check("chain(\"a:b\").sned(1, 2)", "there is no function \"sned\" (did you mean \"send\"?)");
    check("chain()", "chain takes 1 arguments, but 0 are given");
    check("wait(\"90s\")", "use sleep(\"90s\")");
    check("read(\"x\", 1)", "write chain(name) before it");
    check("chain(\"a:b\").send(\"x\", 1)", "this calls the script's own function send, not the chain's");
    let own = "fn on_message(msg) { reply(send(1, 2)); } fn send(to, much) { to + much }";
    assert!(Program::check(&Bundle::new(own)).is_ok());
}

#[test]
fn a_manifest_says_what_may_be_spent() {
    let manifest = Manifest::parse(
        r#"
name = "payer"
[chains."eip155:1"]
pay = ["0xB0b"]
call = ["0xC0:transfer(address,uint256)"]
coin = { max_per_transaction = "100", max_per_day = "1000", approve_above = "50" }
assets."0xT0" = { max_per_transaction = "7", max_per_day = "7" }
"#,
    );
    let manifest = manifest.unwrap();
    let rules = &manifest.chains["eip155:1"];
    assert!(rules.may_pay("0xB0b") && !rules.may_pay("0xB0") && rules.may_call("0xC0", "transfer(address,uint256)"));
    assert_eq!(rules.caps(Some("0xT0")).unwrap().max_per_day.units(), 7);
    assert_eq!(rules.caps(Some("0xT0")).unwrap().approve_above, None);
    for wrong in ["pay = \"0xB0b\"", "payy = []", "coin = { max_per_day = \"1.5\" }", "coin = { max_per_day = 5 }"] {
        let text = format!("name = \"payer\"\n[chains.\"eip155:1\"]\n{wrong}");
        assert!(Manifest::parse(&text).is_err(), "{wrong}");
    }
}
