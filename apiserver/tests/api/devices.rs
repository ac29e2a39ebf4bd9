//! Devices, as apps and servers see them.

use jraze_openapi::{api::HealthPort as _, stub::Stub};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Server;

fn device(name: &str, token: &str) -> Value {
    json!({"external_id": name, "push_token": token, "send_platform": 1, "device_platform": 1})
}

#[tokio::test]
async fn a_device_keeps_its_id_and_bucket_through_every_registration() {
    let server = Server::start().await;
    let first = server.put("/devices", device("a", "t1")).await.ok();
    assert_eq!(first["external_id"], "a");
    assert!((1..=10_000).contains(&first["random_bucket"].as_i64().unwrap()));
    assert_eq!(first["device_properties"], json!([]));
    assert_eq!(first["_id"].as_str().unwrap().len(), 24);
    assert!(
        first["device_secret"].is_string(),
        "the first registration hands out the secret"
    );

    let again = server.put("/devices/", device("a", "t2")).await.ok();
    for field in ["_id", "id", "random_bucket", "created_at"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    assert_eq!(again["push_token"], "t2");
    assert!(again.get("device_secret").is_none(), "later ones do not");

    let shown = server.get("/devices/a").await.ok();
    assert_eq!(shown["push_token"], "t2");
    assert!(shown.get("device_secret").is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_name_may_hold_any_character_that_is_percent_encoded() {
    let server = Server::start().await;
    for (name, path) in [
        ("a/b", "a%2Fb"),
        ("user:42", "user%3A42"),
        ("user:43", "user:43"),
        ("-", "-"),
        (":search", ":search"),
        ("ü €?#%", "%C3%BC%20%E2%82%AC%3F%23%25"),
        ("..", "%2E%2E/"),
    ] {
        let made = server.put("/devices", device(name, "t")).await.ok();
        if name == ".." {
            continue;
        } // the client's URL library folds it
        assert_eq!(
            server.get(&format!("/devices/{path}")).await.ok()["id"],
            made["id"],
            "{name}"
        );
        let add = json!({"properties": [{"key": "seen", "value": true}]});
        let changed = server
            .post(&format!("/devices/{path}/properties/:add"), add)
            .await
            .ok();
        assert_eq!(changed["device_properties"], json!([{"seen": true}]), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_newest_registration_takes_the_token() {
    let server = Server::start().await;
    server.put("/devices", device("old", "t")).await.ok();
    server.put("/devices", device("new", "t")).await.ok();
    assert_eq!(server.get("/devices/old").await.ok()["push_token"], Value::Null);
    assert_eq!(server.get("/devices/new").await.ok()["push_token"], "t");
    server.stop().await;
}

#[tokio::test]
async fn properties_have_the_type_of_their_json_and_null_removes() {
    let server = Server::start().await;
    server.put("/devices", device("a", "t")).await.ok();
    let add =
        |properties: Value| server.post("/devices/a/properties/:add", json!({"properties": properties}));
    let set = add(json!([
        {"key": "plan", "value": "gold"}, {"key": "age", "value": 31}, {"key": "score", "value": 1.5},
        {"key": "beta", "value": true}, {"key": "tags", "value": [1, "x", false]},
    ]))
    .await
    .ok();
    let sorted =
        json!([{"age": 31}, {"beta": true}, {"plan": "gold"}, {"score": 1.5}, {"tags": [1, "x", false]}]);
    assert_eq!(set["device_properties"], sorted);
    let removed = add(json!([{"key": "age", "value": null}, {"key": "plan", "value": 7}]))
        .await
        .ok();
    let left = json!([{"beta": true}, {"plan": 7}, {"score": 1.5}, {"tags": [1, "x", false]}]);
    assert_eq!(removed["device_properties"], left);

    let mixed = json!([{"key": "good", "value": 1}, {"key": "$where", "value": 1}]);
    let refused = add(mixed).await;
    assert_eq!(
        (refused.refused(400), refused.pointer()),
        ("invalid_property", "/properties/1/key")
    );
    assert_eq!(
        server.get("/devices/a").await.ok()["device_properties"],
        left,
        "all or nothing"
    );

    let nobody = server.post(
        "/devices/b/properties/:add",
        json!({"properties": [{"key": "a", "value": 1}]}),
    );
    assert_eq!(nobody.await.refused(404), "unknown_device");
    // The catalogue follows behind the answers.
    let mut types = Value::Null;
    for _ in 0..100 {
        let catalogue = server.get("/devices/-/properties").await.ok();
        let entries = catalogue.as_array().unwrap();
        types = entries
            .iter()
            .find(|entry| entry["key"] == "plan")
            .map_or(Value::Null, |plan| plan["types"].clone());
        if types == json!(["string", "int"]) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(types, json!(["string", "int"]));
    server.stop().await;
}

#[tokio::test]
async fn a_token_told_apart_from_its_provider_is_looked_at_with_the_stored_one() {
    let server = Server::start().await;
    let apns = json!({"external_id": "a", "push_token": "5bfacade", "send_platform": 2});
    server.put("/devices", apns).await.ok();
    let fcm = json!({"external_id": "b", "push_token": "fcm:token", "send_platform": 1});
    server.put("/devices", fcm).await.ok();
    for (body, pointer) in [
        (
            json!({"external_id": "a", "push_token": "fcm:token"}),
            "/push_token",
        ),
        (json!({"external_id": "b", "send_platform": 2}), "/send_platform"),
    ] {
        let refused = server.put("/devices", body.clone()).await;
        assert_eq!(
            (refused.refused(400), refused.pointer()),
            ("invalid_device", pointer),
            "{body}"
        );
        let report = server.import(body.to_string()).await.ok();
        assert_eq!(report["failed"], 1);
        assert_eq!(report["errors"][0]["pointer"], pointer);
    }
    assert_eq!(server.get("/devices/a").await.ok()["push_token"], "5bfacade");
    assert_eq!(server.get("/devices/b").await.ok()["send_platform"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_registration_is_pointed_at() {
    let server = Server::start().await;
    for (body, code, pointer) in [
        (json!({"external_id": ""}), "invalid_device", "/external_id"),
        (
            json!({"external_id": "a", "push_token": ""}),
            "invalid_device",
            "/push_token",
        ),
        (
            json!({"external_id": "a", "push_token": "two words"}),
            "invalid_device",
            "/push_token",
        ),
        (
            json!({"external_id": "a", "push_token": "x".repeat(4_097)}),
            "invalid_device",
            "/push_token",
        ),
        (
            json!({"external_id": "a", "push_token": "fcm:token", "send_platform": 2}),
            "invalid_device",
            "/push_token",
        ),
        (
            json!({"external_id": "a", "locale": "de_CH"}),
            "invalid_device",
            "/locale",
        ),
        (
            json!({"external_id": "a", "time_zone": "CEST"}),
            "invalid_device",
            "/time_zone",
        ),
        (
            json!({"external_id": "a", "app_version": "latest"}),
            "invalid_device",
            "/app_version",
        ),
        (
            json!({"external_id": "a", "send_platform": 9}),
            "invalid_body",
            "/send_platform",
        ),
        (
            json!({"external_id": "a", "send_platform": "1"}),
            "invalid_body",
            "/send_platform",
        ),
        (json!({"external_id": 7}), "invalid_body", "/external_id"),
        (
            json!({"external_id": "a", "pushtoken": "t"}),
            "invalid_body",
            "/pushtoken",
        ),
        (json!({}), "invalid_body", ""),
    ] {
        let refused = server.put("/devices", body.clone()).await;
        assert_eq!(
            (refused.refused(400), refused.pointer()),
            (code, pointer),
            "{body}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_search_finds_by_name_by_condition_and_in_pages() {
    let server = Server::start().await;
    for (name, age) in [("a", 20), ("b", 30), ("c", 40)] {
        server.put("/devices", device(name, name)).await.ok();
        let age = json!({"properties": [{"key": "age", "value": age}]});
        server
            .post(&format!("/devices/{name}/properties/:add"), age)
            .await
            .ok();
    }
    let search = |body: Value| server.post("/devices/-/:search", body);
    let names = |found: &Value| -> Vec<String> {
        let devices = found["result"].as_array().unwrap().iter();
        devices
            .map(|device| device["external_id"].as_str().unwrap().to_owned())
            .collect()
    };
    // The seed sends values as text.
    let old = json!({"conditions": {"conditions": [
        {"key": "age", "operator": "int_gte", "value": "30"}], "join_type": "AND"},
        "order_bys": ["-id"], "start": 0, "size": 10});
    let found = search(old).await.body;
    assert_eq!(names(&found), ["c", "b"]);
    assert_eq!(
        found["page"],
        json!({"total": 2, "start": 0, "size": 10, "next": null})
    );
    assert_eq!(
        names(&search(json!({"external_ids": ["b", "x"]})).await.body),
        ["b"]
    );
    let page = search(json!({"all": true, "start": 1, "size": 1, "order_bys": ["id"]}))
        .await
        .body;
    assert_eq!(
        (names(&page), &page["page"]["next"]),
        (vec!["b".to_owned()], &json!(2))
    );
    assert_eq!(search(json!({"all": true})).await.body["page"]["total"], 3);
    for nobody in [
        json!({}),
        json!({"conditions": null}),
        json!({"conditions": {}, "external_ids": []}),
    ] {
        assert_eq!(
            search(nobody).await.body["page"]["total"],
            0,
            "absent never means everybody"
        );
    }
    let both = search(json!({"all": true, "external_ids": ["a"]})).await;
    assert_eq!(both.pointer(), "/all");

    let bad = json!({"conditions": {"conditions": [
        {"key": "age", "operator": "int_gte", "value": "many"}], "join_type": "AND"}});
    let refused = search(bad).await;
    assert_eq!(
        (refused.refused(400), refused.pointer()),
        ("invalid_condition", "/conditions/conditions/0/value")
    );
    assert_eq!(search(json!({"size": 1001})).await.pointer(), "/size");
    assert_eq!(
        search(json!({"order_bys": ["$where"]})).await.pointer(),
        "/order_bys"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_erased_device_is_gone() {
    let server = Server::start().await;
    let made = server.put("/devices", device("a", "t")).await.ok();
    let gone = server.call(Method::DELETE, "/devices/a", None).await.ok();
    assert_eq!(gone, json!({"id": made["id"], "external_id": "a"}));
    assert_eq!(server.get("/devices/a").await.refused(404), "unknown_device");
    assert_eq!(
        server.call(Method::DELETE, "/devices/a", None).await.refused(404),
        "unknown_device"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_key_reaches_only_the_device_whose_secret_it_shows() {
    let server = Server::start().await;
    let as_client = |method: Method, path: &str, secret: Option<&str>, body: Option<Value>| {
        let mut request = server.request(method, path).header("X-Api-Key", &server.client);
        if let Some(secret) = secret {
            request = request.header("X-Device-Secret", secret);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        server.send(request)
    };
    let made = as_client(Method::PUT, "/devices", None, Some(device("mine", "t")))
        .await
        .ok();
    let secret = made["device_secret"].as_str().unwrap().to_owned();
    let other = server.put("/devices", device("other", "o")).await.ok();

    let right = Some(secret.as_str());
    as_client(Method::GET, "/devices/mine", right, None).await.ok();
    as_client(Method::PUT, "/devices", right, Some(device("mine", "t2")))
        .await
        .ok();
    let add = json!({"properties": [{"key": "a", "value": 1}]});
    as_client(
        Method::POST,
        "/devices/mine/properties/:add",
        right,
        Some(add.clone()),
    )
    .await
    .ok();

    for secret in [None, Some("wrong"), other["device_secret"].as_str()] {
        let get = as_client(Method::GET, "/devices/mine", secret, None).await;
        assert_eq!(get.refused(403), "forbidden");
        let put = as_client(Method::PUT, "/devices", secret, Some(device("mine", "stolen"))).await;
        assert_eq!(put.refused(403), "forbidden");
        let path = "/devices/mine/properties/:add";
        assert_eq!(
            as_client(Method::POST, path, secret, Some(add.clone()))
                .await
                .refused(403),
            "forbidden"
        );
    }
    // What is not there sounds like what is somebody else's.
    for path in ["/devices/other", "/devices/nobody"] {
        assert_eq!(
            as_client(Method::GET, path, right, None).await.refused(403),
            "forbidden",
            "{path}"
        );
        let path = format!("{path}/properties/:add");
        assert_eq!(
            as_client(Method::POST, &path, right, Some(add.clone()))
                .await
                .refused(403),
            "forbidden"
        );
    }
    assert_eq!(
        server.get("/devices/mine").await.ok()["push_token"],
        "t2",
        "nothing was touched"
    );

    let fresh = server.post("/devices/mine/secret/:rotate", json!({})).await.ok();
    let fresh = fresh["device_secret"].as_str().unwrap();
    assert_eq!(
        as_client(Method::GET, "/devices/mine", right, None)
            .await
            .refused(403),
        "forbidden"
    );
    as_client(Method::GET, "/devices/mine", Some(fresh), None)
        .await
        .ok();
    server.stop().await;
}

#[tokio::test]
async fn the_stub_behind_the_document_answers_nothing() {
    assert_eq!(Stub.live().await.unwrap_err().status.as_u16(), 503);
}
