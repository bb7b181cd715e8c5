//! The unmodified official OpenAI client against a real node: its claims are in `clients/openai_client.py`; here the
//! books are held against what it was billed for.

use std::collections::BTreeSet;

use serde_json::Value;
use steward_types::Micros;

use crate::parts;
use crate::tenant::Tenant;

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_client_works_unmodified_and_each_call_has_exactly_one_receipt() {
    let tenant = Tenant::start().await;
    let (_, poor_key) = tenant.second_project("poor", Micros::new(3)).await;
    let mut python = tokio::process::Command::new(parts::cached("venv/bin/python"));
    python.arg(parts::client("openai_client.py")).kill_on_drop(true);
    python.env("OPENAI_BASE_URL", format!("{}/v1", tenant.node.server())).env("OPENAI_API_KEY", &tenant.key);
    python.env("POOR_KEY", poor_key).env("NO_PROXY", "127.0.0.1");
    let ended = python.output().await.unwrap();
    let (told, trouble) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{told}{trouble}");
    let billed: Value = serde_json::from_str(&told).unwrap();
    let calls = |function: &str| billed[function].as_u64().unwrap();

    let (audit, receipts) = tenant.books_at_rest(calls("chat") + calls("embed")).await;
    for function in ["chat", "embed"] {
        let counted = receipts.iter().filter(|receipt| receipt.function == function).count() as u64;
        assert_eq!(counted, calls(function), "receipts for {function}");
    }
    let ids: BTreeSet<&str> = receipts.iter().map(|receipt| receipt.id.as_str()).collect();
    assert_eq!(ids.len(), receipts.len());
    let told = billed["receipts"].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
    assert!(told.clone().count() > 5 && told.clone().all(|id| ids.contains(id)), "{billed}");
    assert_eq!(receipts.iter().map(|receipt| receipt.price_micros).sum::<u64>(), audit.settled_micros);
    assert!(receipts.iter().all(|receipt| receipt.price_micros > 0));
}
