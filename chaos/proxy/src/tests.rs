//! The proxy against a peer that echoes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// Listens and sends back whatever comes.
async fn echo(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

async fn answer(stream: &mut TcpStream) -> [u8; 2] {
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_is_held_back_comes_when_the_hold_ends() {
    let mut tasks = JoinSet::new();
    for hold in [Hold::THERE, Hold::BACK, Hold::BOTH] {
        let proxy = Proxy::to(echo(&mut tasks).await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.hold(hold);
        stream.write_all(b"hi").await.unwrap();
        until(|| proxy.withheld() == 2).await;
        assert_eq!(proxy.live(), 1);
        proxy.hold(Hold::NONE);
        assert_eq!(answer(&mut stream).await, *b"hi");
    }
}

#[tokio::test]
async fn one_caller_is_held_back_and_another_is_not() {
    let mut tasks = JoinSet::new();
    let held = Arc::new(Mutex::new(None));
    let known = Arc::clone(&held);
    let recognise = move |caller| (*known.lock() == Some(caller)).then_some(7);
    let proxy = Proxy::recognising(echo(&mut tasks).await, Arc::new(recognise)).await.unwrap();
    proxy.hold_caller(7, Hold::THERE);
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    *held.lock() = Some(listener.local_addr().unwrap());
    let mut first = listener.connect(proxy.address()).await.unwrap();
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    first.write_all(b"no").await.unwrap();
    second.write_all(b"hi").await.unwrap();
    assert_eq!(answer(&mut second).await, *b"hi");
    until(|| proxy.withheld() == 2).await;
    proxy.hold_caller(7, Hold::NONE);
    assert_eq!(answer(&mut first).await, *b"no");
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_cut_comes_after_its_bytes() {
    let mut tasks = JoinSet::new();
    let proxy = Proxy::to(echo(&mut tasks).await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    until(|| proxy.live() == 1).await;
    proxy.reset();
    let ended = stream.read_u8().await.unwrap_err();
    assert_eq!((ended.kind(), proxy.resets()), (io::ErrorKind::ConnectionReset, 1));
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_after(3);
    stream.write_all(b"hi").await.unwrap();
    let mut arrived = Vec::new();
    let _ = stream.read_to_end(&mut arrived).await;
    until(|| proxy.resets() == 2).await;
    assert_eq!(proxy.cuts(), 1);
    assert!(arrived.len() <= 1, "three bytes passed: two there, and one back");
}
