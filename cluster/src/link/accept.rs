//! Accepting peers: a bound on handshakes under way, a time-out for each, and nothing but mutual TLS.

use std::sync::Arc;

use steward_types::NodeId;
use steward_types::limits::{LINK_BACKOFF_MIN, LINK_CHANNELS_MAX, LINK_HANDSHAKES_MAX};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Lane;
use super::dial::{COOKIE_LABEL, cookie, peer_of};
use super::frame::Tag;
use super::handshake::{self, Accepted, Hello, Welcome};
use super::inbound::InboundChannel;
use super::sessions::{Connection, Inbox};
use super::shared::{Shared, within};
use super::transport::Transport;

/// Accepts peers until the links stop.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(LINK_HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let Ok((stream, address)) = accepted else {
            // The process is out of files: wait until some are closed.
            shared.clock.sleep(LINK_BACKOFF_MIN).await;
            continue;
        };
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            tracing::warn!(%address, "too many handshakes are under way; a connection is closed");
            continue;
        };
        let shared = shared.clone();
        shared.tasks.clone().spawn(async move {
            let limit = shared.config.timing.handshake;
            let greeted = tokio::select! {
                greeted = within(&*shared.clock, limit, greet(&shared, stream)) => greeted,
                () = shared.stop.cancelled() => return,
            };
            drop(permit);
            match greeted {
                Some(Ok(peer)) => peer.serve(&shared).await,
                Some(Err(reason)) => tracing::warn!(%address, reason, "a peer was not accepted"),
                None => tracing::warn!(%address, "a peer did not finish its handshake in time"),
            }
        });
    }
}

/// A peer that was accepted.
struct Peer {
    channel: Arc<InboundChannel>,
    node: NodeId,
    lane: Lane,
    claim: u64,
    connection: Connection,
    inbox: Inbox,
    tag: Tag,
    received: u64,
}

impl Peer {
    /// Serves the connection, then keeps the channel for as long as the peer may come back for it.
    async fn serve(self, shared: &Arc<Shared>) {
        let Self { channel, node, lane, claim, connection, inbox, tag, received } = self;
        channel.serve(claim, connection, inbox, tag, received).await;
        tokio::select! {
            // The peer gives up first, so that it never comes back to a channel that is gone.
            () = shared.clock.sleep(shared.config.timing.resume * 2) => {}
            () = shared.stop.cancelled() => {}
        }
        let mut channels = shared.inbound.lock();
        let current = channels.get(&(node, lane)).is_some_and(|current| Arc::ptr_eq(current, &channel));
        if current && channel.is_claimed(claim) {
            channels.remove(&(node, lane));
        }
    }
}

async fn greet(shared: &Arc<Shared>, stream: TcpStream) -> Result<Peer, String> {
    // Batches are whole already: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let config = shared.config.identity.borrow().server_config();
    let mut stream = TlsAcceptor::from(config).accept(stream).await.map_err(|error| format!("TLS: {error}"))?;
    let session = stream.get_ref().1;
    let node = peer_of(session.peer_certificates()).ok_or("its certificate names no node")?;
    let cookie = cookie(|material| session.export_keying_material(material, COOKIE_LABEL, None))
        .ok_or("TLS gave no keying material")?;
    let hello: Hello = handshake::read(&mut stream).await.map_err(|error| error.to_string())?;
    let (welcome, greeted) = match answer(shared, node, &hello) {
        Ok((accepted, greeted)) => (Welcome::Accepted(accepted), Some(greeted)),
        Err(refusal) => (refusal, None),
    };
    handshake::write(&mut stream, &welcome).await.map_err(|error| error.to_string())?;
    let Some(Claimed { channel, claim, inbox, close }) = greeted else { return Err(format!("answered {welcome:?}")) };
    let transport = Transport { stream: stream.into(), label: hex::encode(inbox.tag()), close };
    let opened = shared.open(transport, true, cookie, hello.router).await;
    let connection = opened.ok_or("the connection broke while it was being set up")?;
    let Hello { lane, tag, received, .. } = hello;
    Ok(Peer { channel, node, lane, claim, connection, inbox, tag, received })
}

struct Claimed {
    channel: Arc<InboundChannel>,
    claim: u64,
    inbox: Inbox,
    close: CancellationToken,
}

fn answer(shared: &Arc<Shared>, peer: NodeId, hello: &Hello) -> Result<(Accepted, Claimed), Welcome> {
    let version = shared.config.versions.common(hello.versions).ok_or(Welcome::Version(shared.config.versions))?;
    if hello.to != shared.config.node {
        return Err(Welcome::WrongNode(shared.config.node));
    }
    let (channel, resumed) = {
        let mut channels = shared.inbound.lock();
        let known = channels.get(&(peer, hello.lane)).filter(|known| hello.resume == Some(known.name)).cloned();
        match known {
            Some(known) => (known, true),
            None if channels.len() >= LINK_CHANNELS_MAX => return Err(Welcome::Full),
            None => {
                let fresh = InboundChannel::new(shared.clone(), peer, hello.lane);
                if let Some(replaced) = channels.insert((peer, hello.lane), fresh.clone()) {
                    replaced.claim();
                }
                (fresh, false)
            }
        }
    };
    let (claim, received) = channel.claim();
    let close = CancellationToken::new();
    let inbox = shared.routes(hello.lane).open(shared.entropy.bytes_16(), close.clone());
    let (tag, router) = (inbox.tag(), shared.router_number(hello.lane));
    let accepted = Accepted { version, channel: channel.name, resumed, received, tag, router };
    Ok((accepted, Claimed { channel, claim, inbox, close }))
}
