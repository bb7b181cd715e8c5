//! A node that is asked for more than it works on at once: it refuses what gets no place, says when to try again, and does
//! what it takes once.

use futures::future::join_all;
use steward::client::{Client, reason, retry_after};
use steward_api::proto::v1;
use steward_types::limits::PLACE_RETRY_AFTER;

use crate::tenant::Tenant;

/// gRPC's code for it.
const RESOURCE_EXHAUSTED: i32 = 8;
/// Sessions that ask at once.
const SESSIONS: usize = 8;
/// Rounds in which each asks; they end as soon as one was refused.
const ROUNDS_MAX: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_node_refuses_what_gets_no_place_and_does_the_rest_once() {
    let tenant = Tenant::start_with("turns_at_work = 1\nturn_wait = \"1ms\"\n").await;
    tenant.deploy("writer", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(tenant.open("writer").await);
    }
    let (mut rounds, mut refused) = (0, 0);
    while refused == 0 && rounds < ROUNDS_MAX {
        rounds += 1;
        let key = rounds.to_string();
        let asked = sessions.iter().map(|session| refused_until_taken(&tenant.client, session, &key));
        refused += join_all(asked).await.into_iter().sum::<usize>();
    }
    assert!(refused > 0, "{ROUNDS_MAX} rounds of {SESSIONS} sessions found a place each time");
    tenant.books_at_rest(rounds * SESSIONS as u64).await;
}

/// Asks for a turn again and again, and tells how often it was refused.
async fn refused_until_taken(client: &Client, session: &str, key: &str) -> usize {
    let message = Some(v1::Message { text: key.to_owned(), data_json: String::new() });
    let request = v1::RunRequest { session: session.to_owned(), message, idempotency_key: key.to_owned() };
    let mut refused = 0;
    loop {
        match client.sessions().run(request.clone()).await {
            Ok(ran) => {
                assert_eq!(ran.into_inner().failure, None);
                return refused;
            }
            Err(status) => {
                assert_eq!(
                    (i32::from(status.code()), reason(&status).as_deref()),
                    (RESOURCE_EXHAUSTED, Some("NODE_BUSY"))
                );
                assert_eq!(retry_after(&status), Some(PLACE_RETRY_AFTER));
                refused += 1;
            }
        }
    }
}
