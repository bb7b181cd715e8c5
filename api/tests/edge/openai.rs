//! The OpenAI-compatible routes, by plain HTTP.

use base64::Engine;
use futures::StreamExt;
use serde_json::{Value, json};
use steward_api::ApiConfig;
use steward_api::proto::v1;

use crate::node::{Client, Node, PATIENCE, message};

async fn post(node: &Node, key: &str, path: &str, body: &Value) -> reqwest::Response {
    let request = reqwest::Client::new().post(node.url(path)).bearer_auth(key).json(body);
    request.send().await.unwrap()
}

async fn ask(node: &Node, key: &str, path: &str, body: &Value) -> (u16, Value) {
    let response = post(node, key, path, body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

fn chat(text: &str) -> Value {
    json!({ "model": "echo", "messages": [{ "role": "user", "content": text }] })
}

/// The data of server-sent events.
async fn data(response: reqwest::Response) -> Vec<String> {
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_chat_is_completed_paid_and_has_a_receipt() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    let (status, body) = ask(&node, &key, "/v1/chat/completions", &chat("please count")).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], "one two three four");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["completion_tokens"], 4);
    let receipt = body["steward"]["receipt"].as_str().unwrap();
    let get = v1::GetReceiptRequest { id: receipt.to_owned(), ..Default::default() };
    let receipt = client.receipts().get(get).await.unwrap().into_inner();
    assert_eq!((receipt.function.as_str(), receipt.model.as_str(), receipt.session.as_str()), ("chat", "echo", ""));
    assert_eq!(json!(receipt.price_micros), body["steward"]["price_micros"]);
    let audit = client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
    assert!(audit.exact && audit.steps_settled == 1, "{:?}", audit.differences);
}

#[tokio::test]
async fn a_chat_streams_as_openai_writes_it() {
    let node = Node::start().await;
    let (_, key) = node.project("acme").await;
    let mut body = chat("count");
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body["max_tokens"] = json!(3);
    let events = data(post(&node, &key, "/v1/chat/completions", &body).await).await;
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "one two three");
    let last = &chunks[chunks.len() - 1];
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(3)));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "length");
    assert!(chunks[0]["usage"].is_null() && chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
}

#[tokio::test]
async fn a_stop_sequence_and_a_seed_are_kept_to() {
    let node = Node::start().await;
    let (_, key) = node.project("acme").await;
    let mut body = chat("count");
    body["stop"] = json!("three");
    body["seed"] = json!(7);
    let (_, first) = ask(&node, &key, "/v1/chat/completions", &body).await;
    assert_eq!(first["choices"][0]["message"]["content"], "one two ");
    let (_, second) = ask(&node, &key, "/v1/chat/completions", &body).await;
    assert_eq!(first["choices"], second["choices"]);
}

#[tokio::test]
async fn embeddings_come_as_numbers_and_as_base64() {
    let node = Node::start().await;
    let (_, key) = node.project("acme").await;
    let body = json!({ "model": "echo", "input": ["a text", "another"] });
    let (status, floats) = ask(&node, &key, "/v1/embeddings", &body).await;
    assert_eq!(status, 200, "{floats}");
    assert_eq!((floats["data"].as_array().unwrap().len(), &floats["usage"]["prompt_tokens"]), (2, &json!(3)));
    let body = json!({ "model": "echo", "input": "a text", "encoding_format": "base64" });
    let (_, coded) = ask(&node, &key, "/v1/embeddings", &body).await;
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let numbers: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(decoded, numbers);
}

#[tokio::test]
async fn errors_are_in_openais_shape() {
    let node = Node::start().await;
    let (_, key) = node.project("acme").await;
    let check = async |key: &str, body: Value, status: u16, kind: &str, code: &str| {
        let (got, error) = ask(&node, key, "/v1/chat/completions", &body).await;
        assert_eq!(
            (got, &error["error"]["type"], &error["error"]["code"]),
            (status, &json!(kind), &json!(code)),
            "{error}"
        );
        error["error"]["param"].clone()
    };
    check("stw_bad", chat("x"), 401, "authentication_error", "unauthenticated").await;
    let mut unknown = chat("x");
    unknown["model"] = json!("nothing");
    check(&key, unknown, 404, "invalid_request_error", "model_not_found").await;
    let mut tools = chat("x");
    tools["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
    assert_eq!(check(&key, tools, 400, "invalid_request_error", "invalid_request").await, "tools");
    let mut hot = chat("x");
    hot["temperature"] = json!(9);
    assert_eq!(check(&key, hot, 400, "invalid_request_error", "invalid_request").await, "temperature");
    check(&key, json!({ "model": "echo" }), 400, "invalid_request_error", "invalid_request").await;
    check(&node.root, chat("x"), 403, "permission_error", "permission_denied").await;
}

#[tokio::test]
async fn a_chat_ends_exactly_where_its_budget_does() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    // Eight hundredths of a micro-unit a token of input, one micro-unit a token of output.
    let price = v1::Price { per_million_output_tokens_micros: 1_000_000, ..Default::default() };
    let prices = v1::PriceList { model_default: Some(price), function_default: Some(price), ..Default::default() };
    client.projects().set_prices(v1::SetPricesRequest { project: String::new(), prices: Some(prices) }).await.unwrap();
    let limit = v1::SetLimitRequest { limit_micros: Some(100), ..Default::default() };
    client.budgets().set_limit(limit).await.unwrap();
    let mut body = chat("long");
    body["max_tokens"] = json!(1000);
    let (status, answer) = ask(&node, &key, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["steward"]["ended_by"]),
        (&json!(100), &json!("budget"))
    );
    let (status, refused) = ask(&node, &key, "/v1/chat/completions", &body).await;
    assert_eq!((status, &refused["error"]["type"]), (429, &json!("insufficient_quota")), "{refused}");
    let audit = client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
    assert!(audit.exact && audit.settled_micros == 100 && audit.steps_open == 0, "{:?}", audit.differences);
}

#[tokio::test]
async fn a_client_that_goes_away_pays_for_what_was_made_and_no_hold_stays() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    let mut body = chat("long");
    body["stream"] = json!(true);
    body["max_tokens"] = json!(4000);
    let mut stream = post(&node, &key, "/v1/chat/completions", &body).await.bytes_stream();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let settled = async {
        loop {
            let audit = client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
            if audit.steps_open == 0 && audit.steps_settled == 1 {
                return audit;
            }
            tokio::task::yield_now().await;
        }
    };
    let audit = tokio::time::timeout(PATIENCE, settled).await.unwrap();
    assert!(audit.exact && audit.receipts == 1, "{:?}", audit.differences);
}

#[tokio::test]
async fn calls_at_once_are_each_paid_once() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    let body = chat("count");
    let calls = (0..32).map(|_| ask(&node, &key, "/v1/chat/completions", &body));
    for (status, answer) in futures::future::join_all(calls).await {
        assert_eq!(status, 200, "{answer}");
    }
    let audit = client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
    assert!(audit.exact, "{:?}", audit.differences);
    assert_eq!((audit.steps_settled, audit.receipts), (32, 32));
}

#[tokio::test]
async fn models_health_and_metrics_are_there() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    warm(&client).await;
    let get = async |path: &str, key: Option<&str>| {
        let request = reqwest::Client::new().get(node.url(path));
        let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, models) = get("/v1/models", Some(&key)).await;
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!((status, &models["data"][0]["id"]), (200, &json!("echo")));
    assert_eq!(get("/v1/models/nothing", Some(&key)).await.0, 404);
    assert_eq!(get("/v1/models", None).await.0, 401);
    assert_eq!(get("/healthz", None).await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz", None).await, (200, "ready\n".to_owned()));
    let (status, metrics) = get("/metrics", None).await;
    assert!(status == 200 && metrics.contains("steward_requests_total"), "{metrics}");
    assert_eq!(get("/nothing", None).await.0, 404);
}

#[tokio::test]
async fn metrics_from_elsewhere_need_an_operators_key() {
    // What comes from the machine's own address beyond loopback looks as if it came from another machine. Nothing is sent:
    // "connecting" a datagram socket only asks which address would be used (RFC 5737's addresses belong to nobody).
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("192.0.2.1:9").unwrap();
    let own = probe.local_addr().unwrap().ip();
    assert!(!own.is_loopback());
    let node = Node::start_at(ApiConfig::default(), own).await;
    let (client, key) = node.project("acme").await;
    warm(&client).await;
    let get = async |key: &str| {
        let response = reqwest::Client::new().get(node.url("/metrics")).bearer_auth(key).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for nobody in ["", "stw_a_b", &key] {
        let (status, said) = get(nobody).await;
        assert!(status == 401 && said.contains("operator's key") && !said.contains("steward_"), "{nobody}: {said}");
    }
    let (status, metrics) = get(&node.root).await;
    assert!(status == 200 && metrics.contains("steward_requests_total"), "{metrics}");
}

async fn warm(client: &Client) {
    client.deploy("parrot", "fn on_message(msg) { reply(msg.text); }").await;
    let session = client.open("parrot").await.id;
    let send = v1::SendRequest { session, message: message("hi"), ..Default::default() };
    client.sessions().send(send).await.unwrap();
}
