//! Who is let in: certificates, their rotation, and versions.

use std::sync::Arc;
use std::time::Duration;

use steward_chaos_proxy::Proxy;
use steward_types::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::*;
use super::cluster::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_authority_is_refused_on_both_ends() {
    let (ours, theirs) = (authority(), authority());
    let (left, stranger) = (node(&ours, 1).await, node(&theirs, 2).await);
    for (from, to) in [(&left, &stranger), (&stranger, &left)] {
        let answer = call(from, &to.peer(), RECORD, "").await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        assert!(to.recorder.calls.lock().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_the_one_that_was_meant_is_not_called() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let answer = call(&left, &PeerAddress { node: id(3), address: right.links.address() }, RECORD, "").await;
    let Err(CallError::Unreachable { node, reason }) = answer else { panic!("{answer:?}") };
    assert_eq!(node, id(3));
    assert!(reason.contains(&id(2).to_string()), "{reason}");
    assert!(right.recorder.calls.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_tcp_and_tls_without_a_certificate_are_closed() {
    let authority = authority();
    let node = node_with(&authority, 1, |config| config.timing.handshake = Duration::from_millis(300)).await;
    // Says nothing: closed by the time-out. Says something else than TLS: closed at once.
    for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut plain = TcpStream::connect(node.links.address()).await.unwrap();
        plain.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(answer.len() < 20, "only a TLS alert may come back");
    }
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::pem::PemObject::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(node.links.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = "node.steward".try_into().unwrap();
    // In TLS 1.3 the client learns of its missing certificate when it first reads.
    let read = match connector.connect(name, stream).await {
        Ok(mut stream) => stream.read_u8().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(read.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_authorities_rotate_without_a_restart() {
    let (old, new) = (authority(), authority());
    let (left, right) = (node(&old, 1).await, node(&old, 2).await);
    let proxy = Proxy::to(right.links.address()).await.unwrap();
    let peer = right.at(proxy.address());
    call(&left, &peer, ECHO, "").await.unwrap();
    let both = [old.certificate_pem(), new.certificate_pem()];
    // First every node trusts both, then each gets a certificate of the new authority, then the old one is dropped.
    let steps = [
        (identity(&old, id(1), &both), identity(&old, id(2), &both)),
        (identity(&new, id(1), &both), identity(&old, id(2), &both)),
        (identity(&new, id(1), &both), identity(&new, id(2), &both)),
        (identity(&new, id(1), &both[1..]), identity(&new, id(2), &both[1..])),
    ];
    for (at_left, at_right) in steps {
        left.identity.send_replace(at_left);
        right.identity.send_replace(at_right);
        let before = proxy.resets();
        until("a connection was reset", || {
            proxy.reset();
            proxy.resets() > before
        })
        .await;
        assert_eq!(call(&left, &peer, ECHO, "again").await, Ok("again".into()));
    }
    let outdated = node(&old, 3).await;
    let answer = call(&outdated, &right.peer(), ECHO, "").await;
    assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adjacent_releases_work_together_and_distant_ones_name_both_versions() {
    let authority = authority();
    let speaking = |oldest, newest| move |config: &mut LinkConfig| config.versions = Versions { oldest, newest };
    let one = node_with(&authority, 1, speaking(1, 1)).await;
    let two = node_with(&authority, 2, speaking(1, 2)).await;
    let three = node_with(&authority, 3, speaking(2, 3)).await;
    for (from, to) in [(&one, &two), (&two, &one), (&two, &three), (&three, &two)] {
        assert_eq!(call(from, &to.peer(), ECHO, "x").await, Ok("x".into()));
    }
    let answer = call(&one, &three.peer(), ECHO, "").await;
    let (ours, theirs) = (Versions { oldest: 1, newest: 1 }, Versions { oldest: 2, newest: 3 });
    assert_eq!(answer, Err(CallError::VersionMismatch { node: id(3), ours, theirs }));
}

#[test]
fn an_identity_is_loaded_from_its_folder_and_says_which_file_is_wrong() {
    let authority = authority();
    let now = steward_types::SystemClock::new().now();
    let folder = tempfile::tempdir().unwrap();
    authority.save_new(&folder.path().join("authority")).unwrap();
    let again = ClusterAuthority::load(&folder.path().join("authority")).unwrap();
    assert!(matches!(authority.save_new(&folder.path().join("authority")), Err(AuthorityError::Exists { .. })));
    let at = folder.path().join("node");
    again.issue(&id(5), DAY, now).unwrap().save(&at, &[authority.certificate_pem()]).unwrap();
    assert_eq!(*LinkIdentity::load(&at).unwrap().node(), id(5));
    for file in ["ca.pem", "node.pem", "node.key"] {
        let path = at.join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        let error = LinkIdentity::load(&at).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("steward cluster issue"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = LinkIdentity::load(&at).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("steward cluster issue"), "{error}");
        std::fs::write(&path, whole).unwrap();
    }
    let other = authority.issue(&id(6), DAY, now).unwrap();
    std::fs::write(at.join("node.key"), other.key_pem).unwrap();
    assert!(matches!(LinkIdentity::load(&at), Err(IdentityError::Mismatch { .. })));
}
