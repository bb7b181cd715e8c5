//! What the generic Actors service does: list, inspect, ask and tell in JSON, watch.

use serde_json::json;

use super::*;

#[tokio::test]
async fn entities_are_listed_by_id_in_pages() {
    let (host, _world) = host(quick()).await;
    for name in ["c", "a", "e", "b", "d"] {
        assert_eq!(ask(&host, name, Order::Add(1)).await, Ok(1));
    }
    assert!(ask(&host, "bad", Order::Fail(Weakness::Corrupt)).await.is_err());
    let names = |page: &EntityPage| page.entities.iter().map(|entity| entity.id.to_string()).collect::<Vec<_>>();
    let page = host.list("probe", None, 4).unwrap();
    assert_eq!((names(&page), page.more), (vec!["a".into(), "b".into(), "bad".into(), "c".into()], true));
    assert_eq!(page.entities[2].state, EntityState::Quarantined);
    let page = host.list("probe", page.entities.last().map(|last| &last.id), 4).unwrap();
    assert_eq!((names(&page), page.more), (vec!["d".into(), "e".into()], false));
    assert!(matches!(host.list("nothing", None, 1), Err(AskError::UnknownKind { .. })));
    assert_eq!(host.kinds(), ["probe"]);
}

#[tokio::test]
async fn a_snapshot_shows_the_entity_and_what_the_host_knows_of_it() {
    let (host, _world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Add(3)).await, Ok(3));
    assert_eq!(ask(&host, "a", Order::WorkForever).await, Ok(3));
    assert!(ask(&host, "a", Order::Fail(Weakness::Poison)).await.is_err());
    let snapshot = host.inspect("probe", &id("a"), host.deadline_default()).await.unwrap();
    assert_eq!(snapshot.entity, Some(json!({ "total": 3 })));
    assert_eq!((snapshot.workers, snapshot.restarts), (Some(1), 0));
    assert_eq!(snapshot.last_fault.as_deref(), Some("no such thing"));
    let text = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(
        (&text["state"], &text["kind"], &text["mailbox_messages"]),
        (&json!("active"), &json!("probe"), &json!(0))
    );
}

#[tokio::test]
async fn a_snapshot_of_a_busy_entity_shows_what_the_host_knows() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    let held = asking(&host, "a", Order::Hold);
    world.entered().await;
    host.tell::<Probe>(&id("a"), Order::Add(1)).unwrap();
    let name = id("a");
    let inspecting = host.inspect("probe", &name, host.deadline(Duration::from_millis(1)));
    let (snapshot, ()) = tokio::join!(inspecting, async { clock.advance(Duration::from_millis(1)) });
    let snapshot = snapshot.unwrap();
    assert_eq!((snapshot.mailbox_messages, snapshot.mailbox_bytes, snapshot.entity), (1, 64, None));
    world.gate.add_permits(1);
    assert_eq!(answer(held).await, Ok(0));
}

#[tokio::test]
async fn an_entity_is_asked_and_told_in_json() {
    let (host, _world) = host(quick()).await;
    let deadline = host.deadline_default();
    host.tell_json("probe", &id("a"), json!({ "Add": 4 })).unwrap();
    assert_eq!(host.ask_json("probe", &id("a"), json!({ "Add": 1 }), deadline).await.unwrap(), json!(5));
    let error = host.ask_json("probe", &id("a"), json!({ "Subtract": 1 }), deadline).await.unwrap_err();
    assert_eq!(error.code(), steward_types::ErrorCode::InvalidRequest);
    let error = host.ask_json("unknown", &id("a"), json!(null), deadline).await.unwrap_err();
    assert_eq!(error.code(), steward_types::ErrorCode::EntityNotFound);
}

#[tokio::test]
async fn a_watcher_sees_the_life_of_its_entity_only() {
    let (host, _world) = host(quick()).await;
    let mut changes = host.watch("probe", Some(id("a"))).unwrap();
    assert_eq!(ask(&host, "b", Order::Add(1)).await, Ok(1));
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    assert!(ask(&host, "a", Order::Fail(Weakness::Poison)).await.is_err());
    assert!(ask(&host, "a", Order::Fail(Weakness::Corrupt)).await.is_err());
    assert!(host.release("probe", &id("a")).unwrap());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let change = changes.next().await.unwrap();
        assert_eq!(change.id, id("a"));
        seen.push(change.change);
    }
    let (letter, quarantined) = ("no such thing".to_owned(), "the record is garbage".to_owned());
    let expected = [
        LifecycleChange::Activated,
        LifecycleChange::DeadLetter { cause: letter },
        LifecycleChange::Quarantined { cause: quarantined },
        LifecycleChange::Released,
    ];
    assert_eq!(seen, expected);
}
