//! grpcurl against a real node: a client that has never seen our protobuf files and learns all by reflection.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::parts;
use crate::tenant::{PROJECT, Tenant};

/// Runs grpcurl: `flags` go before the address, `rest` after it.
async fn grpcurl(tenant: &Tenant, key: Option<&str>, flags: &[&str], rest: &[&str]) -> Output {
    let mut grpcurl = Command::new(parts::cached("bin/grpcurl"));
    grpcurl.arg("-plaintext").kill_on_drop(true);
    if let Some(key) = key {
        grpcurl.args(["-H", &format!("authorization: Bearer {key}")]);
    }
    grpcurl.args(flags).arg(tenant.node.server().trim_start_matches("http://")).args(rest);
    grpcurl.output().await.unwrap()
}

/// What it printed, once it has succeeded.
async fn told(tenant: &Tenant, flags: &[&str], rest: &[&str]) -> String {
    let ended = grpcurl(tenant, Some(&tenant.key), flags, rest).await;
    assert!(ended.status.success(), "{rest:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// What it complained of, once it has failed.
async fn complaint(tenant: &Tenant, key: Option<&str>, data: &str, method: &str) -> String {
    let ended = grpcurl(tenant, key, &["-d", data], &[method]).await;
    assert!(!ended.status.success(), "{method} was not refused: {}", String::from_utf8_lossy(&ended.stdout));
    String::from_utf8(ended.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_a_stranger_every_service_method_and_field() {
    let tenant = Tenant::start().await;
    let services = told(&tenant, &[], &["list"]).await;
    for service in ["Projects", "Models", "Agents", "Sessions", "Approvals", "Budgets", "Receipts", "Actors"] {
        assert!(services.lines().any(|line| line == format!("steward.v1.{service}")), "{service} in {services}");
    }
    assert!(services.contains("grpc.health.v1.Health"), "{services}");
    let methods = told(&tenant, &[], &["list", "steward.v1.Sessions"]).await;
    for method in ["Open", "Send", "Run", "Converse", "Watch", "List", "Get", "Journal", "Replay", "Cancel", "End"] {
        assert!(methods.lines().any(|line| line == format!("steward.v1.Sessions.{method}")), "{method} in {methods}");
    }
    let described = told(&tenant, &[], &["describe", "steward.v1.WatchSessionRequest"]).await;
    assert!(described.contains("uint64 from_sequence = 2;"), "{described}");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_called_by_reflection_alone_and_errors_come_with_details() {
    let tenant = Tenant::start().await;
    let listed: Value = serde_json::from_str(&told(&tenant, &[], &["steward.v1.Projects/List"]).await).unwrap();
    assert_eq!(listed["projects"][0]["name"], PROJECT, "{listed}");
    assert_eq!(listed["projects"].as_array().unwrap().len(), 1);

    tenant.deploy("echo", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let session = tenant.open("echo").await;
    let run = format!(r#"{{"session": {session:?}, "message": {{"text": "hello there"}}}}"#);
    let ran: Value = serde_json::from_str(&told(&tenant, &["-d", &run], &["steward.v1.Sessions/Run"]).await).unwrap();
    assert_eq!(ran["reply"], "hello there", "{ran}");
    let watch = format!(r#"{{"session": {session:?}, "stop_at_end": true}}"#);
    let events = told(&tenant, &["-d", &watch], &["steward.v1.Sessions/Watch"]).await;
    assert!(events.contains("SESSION_EVENT_KIND_TURN_FINISHED"), "{events}");

    let key = Some(tenant.key.as_str());
    let absent = format!(r#"{{"session": "ses_{}"}}"#, "0".repeat(32));
    let missing = complaint(&tenant, key, &absent, "steward.v1.Sessions/Get").await;
    for expected in ["NotFound", "google.rpc.ErrorInfo", "SESSION_NOT_FOUND"] {
        assert!(missing.contains(expected), "{expected} in {missing}");
    }
    let wrong = complaint(&tenant, key, r#"{"agent": "Not A Name"}"#, "steward.v1.Sessions/Open").await;
    for expected in ["InvalidArgument", "INVALID_REQUEST", "agent"] {
        assert!(wrong.contains(expected), "{expected} in {wrong}");
    }
    let stranger = complaint(&tenant, None, "{}", "steward.v1.Projects/List").await;
    assert!(stranger.contains("Unauthenticated"), "{stranger}");
    let member = complaint(&tenant, key, "{}", "steward.v1.Actors/List").await;
    assert!(member.contains("PermissionDenied") && member.contains("PERMISSION_DENIED"), "{member}");
}
