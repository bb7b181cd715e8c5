//! An address behind which a test answers each call as it says.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

/// Serves on loopback until the tasks are dropped.
pub async fn answering<A, F>(answer: A) -> (Url, JoinSet<()>)
where
    A: Fn(Value) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Vec<u8>> + Send + 'static,
{
    answering_with("200 OK", answer).await
}

/// The same with this HTTP status.
pub async fn answering_with<A, F>(status: &'static str, answer: A) -> (Url, JoinSet<()>)
where
    A: Fn(Value) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Vec<u8>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(converse(stream, status, answer.clone()));
        }
    });
    (url, server)
}

/// What a node answers to a call.
pub async fn forwarded(client: reqwest::Client, node: Url, call: Value) -> Vec<u8> {
    client.post(node).json(&call).send().await.unwrap().bytes().await.unwrap().to_vec()
}

async fn converse<A, F>(mut stream: TcpStream, status: &str, answer: A)
where
    A: Fn(Value) -> F,
    F: Future<Output = Vec<u8>>,
{
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(call) = serde_json::from_str::<Value>(body) else { continue };
        let reply = answer(call).await;
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", reply.len());
        bytes.clear();
        if stream.write_all(&[head.as_bytes(), &reply].concat()).await.is_err() {
            return;
        }
    }
}
