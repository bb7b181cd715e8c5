//! What can go wrong with a link, beside what can go wrong in a store.

use std::io;

use thiserror::Error;

use crate::frame::FrameError;

/// Why there is no connection between a client and a served store.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Nobody answers at the address, or the connection broke.
    #[error("the served store at {address} cannot be reached")]
    Unreachable {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// One side does not accept the other's certificate, or it is not TLS that the other side speaks.
    #[error("the served store at {address} and this process do not trust each other's certificates")]
    Untrusted {
        /// The address.
        address: String,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The other side sent nothing for too long.
    #[error("the served store at {address} has been silent for more than {silence_ms} ms")]
    Silent {
        /// The address.
        address: String,
        /// The longest silence that is waited for, in milliseconds.
        silence_ms: u64,
    },
    /// The server does not take this client, such as one of another version.
    #[error("the served store at {address} refuses this client: {reason}")]
    Refused {
        /// The address.
        address: String,
        /// What the server said.
        reason: String,
    },
    /// The other side does not speak this protocol.
    #[error("the served store at {address} sent what cannot be understood")]
    Protocol {
        /// The address.
        address: String,
        /// What is wrong with it.
        #[source]
        source: FrameError,
    },
    /// The configuration cannot work.
    #[error("the link's configuration is wrong: {0}")]
    Config(String),
    /// This side closed the link.
    #[error("the link to the served store is closed")]
    Closed,
}

impl LinkError {
    /// What the system said of a connection to `address`.
    pub(crate) fn io(address: &str, source: io::Error) -> Self {
        let address = address.to_owned();
        let of_tls = source.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        if of_tls { Self::Untrusted { address, source } } else { Self::Unreachable { address, source } }
    }

    /// What was wrong with a frame of a connection to `address`.
    pub(crate) fn frame(address: &str, source: FrameError) -> Self {
        match source {
            FrameError::Io(source) => Self::io(address, source),
            source => Self::Protocol { address: address.to_owned(), source },
        }
    }

    /// Whether trying again soon may help.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. })
    }

    /// The whole chain in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
