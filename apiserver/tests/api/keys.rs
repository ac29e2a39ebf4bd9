//! Keys that do not open, and apps that do not see each other.

use jraze_domain::keys::{KeyKind, Scope};
use reqwest::Method;
use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_key_that_is_not_good_gets_the_same_401_whatever_is_wrong_with_it() {
    let server = Server::start().await;
    let expired = server
        .key(1, KeyKind::Server, KeyKind::Server.scopes(), Some(-1))
        .await;
    let mut misspelt = server.server.clone();
    misspelt.pop();
    // Well formed, but of nobody.
    let stranger = {
        let entropy = jraze_domain::keys::KeyEntropy(crate::support::random_bytes());
        jraze_domain::keys::KeyText::generate(KeyKind::Server, &entropy).reveal()
    };
    let mut bodies = Vec::new();
    for key in [expired.as_str(), &misspelt, &stranger, "", "nonsense"] {
        let answer = server.call_as(key, Method::GET, "/notifications", None).await;
        assert_eq!(answer.refused(401), "unauthorized", "{key}");
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    server.stop().await;
}

#[tokio::test]
async fn a_bearer_token_is_as_good_as_the_header() {
    let server = Server::start().await;
    let request = server
        .request(Method::GET, "/notifications")
        .bearer_auth(&server.admin);
    server.send(request).await.ok();
    server.stop().await;
}

#[tokio::test]
async fn a_key_made_narrower_opens_only_what_it_names() {
    let server = Server::start().await;
    let reader = server
        .key(1, KeyKind::Server, [Scope::NotificationsRead].into(), None)
        .await;
    let writer = server
        .key(
            1,
            KeyKind::Server,
            [Scope::NotificationsRead, Scope::NotificationsWrite].into(),
            None,
        )
        .await;
    let draft = json!({"title": "a", "body": "b"});
    server
        .call_as(&reader, Method::GET, "/notifications", None)
        .await
        .ok();
    let refused = server
        .call_as(&reader, Method::POST, "/notifications", Some(draft.clone()))
        .await;
    assert_eq!(refused.refused(403), "forbidden");
    assert_eq!(
        server
            .call_as(&reader, Method::GET, "/devices/a", None)
            .await
            .refused(403),
        "forbidden"
    );

    let made = server
        .call_as(&writer, Method::POST, "/notifications", Some(draft))
        .await
        .ok();
    let path = format!("/notifications/{}", made["uuid"].as_str().unwrap());
    let launch = server
        .call_as(&writer, Method::POST, &format!("{path}/:launch"), None)
        .await;
    assert_eq!(launch.refused(403), "forbidden");
    // The other door to the same act.
    let status = format!("{path}/status");
    let launch = server
        .call_as(&writer, Method::PUT, &status, Some(json!({"status": 5})))
        .await;
    assert_eq!(launch.refused(403), "forbidden");
    assert_eq!(server.get(&path).await.ok()["status"], 0, "nothing was touched");
    server
        .call_as(&writer, Method::PUT, &status, Some(json!({"status": 4})))
        .await
        .ok();
    server.stop().await;
}

#[tokio::test]
async fn what_another_app_holds_is_not_there() {
    let server = Server::start().await;
    let foreign = server.key(2, KeyKind::Admin, KeyKind::Admin.scopes(), None).await;
    server.put("/devices", json!({"external_id": "a"})).await.ok();
    let made = server
        .post("/notifications", json!({"title": "a", "body": "b"}))
        .await
        .ok();
    let (uuid, id) = (made["uuid"].as_str().unwrap(), &made["id"]);
    for (method, path) in [
        (Method::GET, "/devices/a".to_owned()),
        (Method::DELETE, "/devices/a".to_owned()),
        (Method::GET, "/devices/a/notifications".to_owned()),
        (Method::POST, "/devices/a/secret/:rotate".to_owned()),
        (Method::GET, format!("/notifications/{uuid}")),
        (Method::GET, format!("/notifications/{id}")),
        (Method::DELETE, format!("/notifications/{uuid}")),
        (Method::POST, format!("/notifications/{id}/:launch")),
    ] {
        let answer = server.call_as(&foreign, method, &path, None).await;
        assert!(answer.refused(404).starts_with("unknown_"), "{path}");
    }
    for (path, body) in [
        ("/devices/-/:search", json!({})),
        ("/devices/-/:search", json!({"external_ids": ["a"]})),
    ] {
        let found = server
            .call_as(&foreign, Method::POST, path, Some(body))
            .await
            .ok();
        assert_eq!(found, json!([]));
    }
    assert_eq!(
        server
            .call_as(&foreign, Method::GET, "/notifications", None)
            .await
            .ok(),
        json!([])
    );
    // The same name is another device there.
    server
        .call_as(
            &foreign,
            Method::PUT,
            "/devices",
            Some(json!({"external_id": "a", "push_token": "x"})),
        )
        .await
        .ok();
    assert_eq!(server.get("/devices/a").await.ok()["push_token"], json!(null));
    server.stop().await;
}
