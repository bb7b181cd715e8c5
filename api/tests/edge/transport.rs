//! What carries the calls: reflection, health, gRPC-web, TLS.

use std::time::Duration;

use prost::Message;
use steward_api::proto::v1;
use steward_api::{ApiConfig, Readiness, TlsFiles};
use tokio::sync::watch;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::node::{Client, Node, PATIENCE};

#[tokio::test]
async fn reflection_lists_every_service_and_describes_it_to_a_key_only() {
    let node = Node::start().await;
    let channel = node.client("").await.channel;
    let ask = |question: MessageRequest, key: &str| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut request = tonic::Request::new(tokio_stream::once(request));
        if !key.is_empty() {
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let mut client = ServerReflectionClient::new(channel.clone());
        async move {
            let mut answers = client.server_reflection_info(request).await?.into_inner();
            Ok::<_, tonic::Status>(answers.message().await?.unwrap().message_response.unwrap())
        }
    };
    let MessageResponse::ListServicesResponse(listed) =
        ask(MessageRequest::ListServices(String::new()), &node.root).await.unwrap()
    else {
        panic!()
    };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    for service in ["Projects", "Models", "Agents", "Sessions", "Approvals", "Budgets", "Receipts", "Actors"] {
        assert!(names.contains(&format!("steward.v1.{service}")), "{names:?}");
    }
    let symbol = MessageRequest::FileContainingSymbol("steward.v1.Sessions.Watch".to_owned());
    assert!(matches!(ask(symbol, &node.root).await, Ok(MessageResponse::FileDescriptorResponse(_))));
    let refused = ask(MessageRequest::ListServices(String::new()), "").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn health_needs_no_key() {
    let node = Node::start().await;
    let mut health = HealthClient::new(node.client("").await.channel);
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status, i32::from(ServingStatus::Serving));
}

#[tokio::test]
async fn a_node_that_drains_or_has_no_shards_yet_says_that_it_is_not_ready() {
    let (tell, readiness) = watch::channel(Readiness::Starting);
    let node = Node::start_with(ApiConfig { readiness, ..ApiConfig::default() }).await;
    let mut health = HealthClient::new(node.client("").await.channel);
    let mut changes = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut check = async |state: Readiness, status: ServingStatus, http: u16, body: &str| {
        tell.send_replace(state);
        // The health service tells each change; what it says first may be of before.
        while changes.message().await.unwrap().unwrap().status != i32::from(status) {}
        let answer = reqwest::get(node.url("/readyz")).await.unwrap();
        assert_eq!(answer.status().as_u16(), http);
        assert_eq!(answer.text().await.unwrap(), body);
    };
    check(Readiness::Starting, ServingStatus::NotServing, 503, "the node has no shards yet\n").await;
    check(Readiness::Ready, ServingStatus::Serving, 200, "ready\n").await;
    check(Readiness::Draining, ServingStatus::NotServing, 503, "the node is draining\n").await;
    check(Readiness::Ready, ServingStatus::Serving, 200, "ready\n").await;
}

/// Writes a new certificate of `localhost` and its key, and returns the certificate.
fn write_certificate(files: &TlsFiles) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    made.cert.pem()
}

/// A new connection to the node that trusts this certificate only.
async fn connect(node: &Node, trusted: &str) -> Result<Channel, tonic::transport::Error> {
    let port = node.address.rsplit_once(':').unwrap().1;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted)).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}")).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await
}

#[tokio::test]
async fn a_replaced_certificate_is_what_new_connections_see_and_open_ones_live_on() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let old = write_certificate(&files);
    let tls = Some(files.clone());
    let certificate_read_time = Duration::from_millis(10);
    let node = Node::start_with(ApiConfig { tls, certificate_read_time, ..ApiConfig::default() }).await;
    let open = Client::new(connect(&node, &old).await.unwrap(), &node.root);
    open.projects().list(v1::ListProjectsRequest::default()).await.unwrap();
    let new = write_certificate(&files);
    let until_new = async {
        loop {
            match connect(&node, &new).await {
                Ok(channel) => break channel,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let fresh = tokio::time::timeout(PATIENCE, until_new).await.expect("the new certificate is taken up");
    let fresh = Client::new(fresh, &node.root);
    fresh.projects().list(v1::ListProjectsRequest::default()).await.unwrap();
    assert!(connect(&node, &old).await.is_err(), "the old certificate is not shown any more");
    open.projects().list(v1::ListProjectsRequest::default()).await.unwrap();
}

/// Frames of a gRPC-web answer: whether each is the trailers, and its bytes.
fn frames(mut body: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        frames.push((header[0] & 0x80 != 0, rest[..length].to_vec()));
        body = &rest[length..];
    }
    frames
}

async fn web(node: &Node, key: &str, method: &str, request: &impl Message) -> reqwest::Response {
    let message = request.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let client = reqwest::Client::builder().http1_only().build().unwrap();
    let request = client.post(node.url(method)).bearer_auth(key).header("origin", "https://console.example");
    let request = request.header("content-type", "application/grpc-web+proto").header("x-grpc-web", "1");
    request.body(body).send().await.unwrap()
}

#[tokio::test]
async fn a_browser_calls_by_grpc_web_over_http_1() {
    let node = Node::start().await;
    let (_, key) = node.project("acme").await;
    let response = web(&node, &key, "/steward.v1.Projects/Get", &v1::GetProjectRequest::default()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-origin"]),
        (200, &"*".parse().unwrap())
    );
    let frames = frames(&response.bytes().await.unwrap());
    assert_eq!(v1::Project::decode(frames[0].1.as_slice()).unwrap().name, "acme");
    let trailers = String::from_utf8(frames[1].1.clone()).unwrap();
    assert!(frames[1].0 && trailers.contains("grpc-status:0"), "{trailers}");

    let refused = web(&node, "stw_bad", "/steward.v1.Projects/Get", &v1::GetProjectRequest::default()).await;
    assert_eq!(refused.headers()["grpc-status"], "16");
    let preflight = reqwest::Client::new()
        .request(reqwest::Method::OPTIONS, node.url("/steward.v1.Projects/Get"))
        .header("origin", "https://console.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-grpc-web")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status().as_u16(), 200);
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap().to_lowercase();
    assert!(allowed.contains("authorization"), "{allowed}");
}

#[tokio::test]
async fn tls_serves_both_protocols_and_refuses_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Some(TlsFiles { certificate, key });
    let node = Node::start_with(ApiConfig { tls, ..ApiConfig::default() }).await;
    let port = node.address.rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}");
    let trusted =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(made.cert.pem())).domain_name("localhost");
    let channel = Endpoint::from_shared(url.clone()).unwrap().tls_config(trusted).unwrap().connect().await.unwrap();
    let root = Client::new(channel, &node.root);
    root.projects().list(v1::ListProjectsRequest::default()).await.unwrap();
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_merge([trusted]).build().unwrap();
    assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().text().await.unwrap(), "ok\n");
    assert!(reqwest::get(node.url("/healthz")).await.is_err());
    let untrusting = reqwest::get(format!("{url}/healthz")).await;
    assert!(untrusting.is_err());
}
