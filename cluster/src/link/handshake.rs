//! What both ends say on a fresh TLS connection before it is given to ractor_cluster: versions, lane, who is meant, and
//! where an earlier connection left off. Each message is its length (4 bytes, big-endian) and MessagePack by names.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steward_types::NodeId;
use steward_types::limits::LINK_HELLO_BYTES_MAX;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Lane;
use super::config::Versions;
use super::frame::Tag;

/// What the end that dialled says first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub versions: Versions,
    /// Whom the dialling end wants to reach.
    pub to: NodeId,
    pub lane: Lane,
    /// The channel that an earlier connection carried, as the accepting end named it.
    pub resume: Option<Tag>,
    /// Sequence number of the last frame that the dialling end has received on it.
    pub received: u64,
    /// What the accepting end writes at the start of each batch.
    pub tag: Tag,
    /// Number of the dialling end's router.
    pub router: u64,
}

/// The answer of the end that accepted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Welcome {
    Accepted(Accepted),
    /// The releases are too far apart.
    Version(Versions),
    /// Another node than the one that was wanted listens here.
    WrongNode(NodeId),
    /// Too many peers.
    Full,
}

/// The terms of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub version: u16,
    /// The accepting end's name for the channel.
    pub channel: Tag,
    /// Whether it is the channel of `Hello::resume`.
    pub resumed: bool,
    pub received: u64,
    pub tag: Tag,
    pub router: u64,
}

/// Why a handshake's message could not be exchanged.
#[derive(Debug, Error)]
pub(super) enum HandshakeError {
    #[error("the connection broke during the handshake")]
    Io(#[from] std::io::Error),
    #[error("the peer's handshake has {0} bytes")]
    TooLarge(u32),
    #[error("the peer's handshake cannot be read")]
    Malformed,
}

/// Writes one message.
pub(super) async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), HandshakeError> {
    let bytes = rmp_serde::to_vec_named(message).map_err(|_| HandshakeError::Malformed)?;
    stream.write_u32(u32::try_from(bytes.len()).map_err(|_| HandshakeError::Malformed)?).await?;
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

/// Reads one message, and not a byte more.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, HandshakeError> {
    let length = stream.read_u32().await?;
    if length as usize > LINK_HELLO_BYTES_MAX {
        return Err(HandshakeError::TooLarge(length));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    rmp_serde::from_slice(&bytes).map_err(|_| HandshakeError::Malformed)
}
