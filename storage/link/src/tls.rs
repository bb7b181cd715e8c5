//! Where the two sides take their certificates from: made by the caller, and asked for anew with each connection, so
//! that rotated ones are used without a restart.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

/// The client's side of TLS. Its configuration must hold a client certificate that the server accepts.
#[derive(Clone)]
pub struct ClientTls(Arc<dyn Fn() -> Arc<ClientConfig> + Send + Sync>);

/// The server's side of TLS. Its configuration must require a client certificate; a client that comes without one is
/// refused whatever the configuration says.
#[derive(Clone)]
pub struct ServerTls(Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>);

macro_rules! source {
    ($tls:ident, $config:ident) => {
        impl $tls {
            /// Asks `source` with each new connection. It must not block.
            pub fn from_source(source: impl Fn() -> Arc<$config> + Send + Sync + 'static) -> Self {
                Self(Arc::new(source))
            }

            pub(crate) fn current(&self) -> Arc<$config> {
                (self.0)()
            }
        }

        impl From<Arc<$config>> for $tls {
            fn from(config: Arc<$config>) -> Self {
                Self::from_source(move || Arc::clone(&config))
            }
        }

        impl fmt::Debug for $tls {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // A configuration holds a private key.
                f.write_str(stringify!($tls))
            }
        }
    };
}

source!(ClientTls, ClientConfig);
source!(ServerTls, ServerConfig);
