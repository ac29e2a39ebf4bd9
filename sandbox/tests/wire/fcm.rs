//! FCM over the wire: one test for each rule.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use crate::support::{Client, Fcm, assertion, control, get, start, token};
use serde_json::{Value, json};

fn error_code(answer: &crate::support::Answer) -> Option<String> {
    let error = &answer.json()["error"];
    assert_eq!(error["code"], answer.status);
    error["details"].as_array()?.iter().find_map(|detail| {
        (detail["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError")
            .then(|| detail["errorCode"].as_str().unwrap().to_owned())
    })
}

fn field(answer: &crate::support::Answer) -> String {
    answer.json()["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|detail| detail["fieldViolations"][0]["field"].as_str())
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_accepted_send_is_named_after_its_project() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let answer = fcm.to("any string: a token").await.unwrap();
    assert_eq!(answer.status, 200);
    let name = answer.json()["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("projects/jraze-sandbox/messages/0:"), "{name}");
    let ledger = get(&it.sandbox, "/ledger").await;
    assert_eq!(ledger["entries"][0]["message_id"], name);
    assert_eq!(ledger["entries"][0]["token"], "any string: a token");
}

#[tokio::test]
async fn access_tokens_need_a_good_assertion() {
    let it = start(|settings| settings.fcm.access_token_ttl_s = 77).await;
    let client = Client::connect(&it.sandbox, it.sandbox.fcm_base_url()).await;
    let good = token(&client, &assertion(&it.sandbox, |_| ())).await.json();
    assert_eq!(good["expires_in"], 77);
    assert_eq!(good["token_type"], "Bearer");

    type Spoil = fn(&mut Value);
    let spoiled: [(&str, Spoil); 5] = [
        ("invalid_grant", |claims| {
            claims["aud"] = json!("https://other.example/token")
        }),
        ("invalid_grant", |claims| {
            claims["iss"] = json!("other@example.com")
        }),
        ("invalid_grant", |claims| {
            claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 3601);
        }),
        ("invalid_grant", |claims| {
            claims["iat"] = json!(claims["iat"].as_i64().unwrap() - 7200);
            claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 3600);
        }),
        ("invalid_scope", |claims| {
            claims["scope"] = json!("https://www.googleapis.com/auth/drive")
        }),
    ];
    for (index, (error, spoil)) in spoiled.into_iter().enumerate() {
        let answer = token(&client, &assertion(&it.sandbox, spoil)).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"], error, "case {index}");
    }
    let mut forged = assertion(&it.sandbox, |_| ());
    let middle = forged.rfind('.').unwrap() + 20;
    let other = if forged.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    forged.replace_range(middle..=middle, other);
    let answer = token(&client, &forged).await.json();
    assert_eq!(answer["error_description"], "Invalid JWT Signature.");
    let grant = client.request("POST", "/token", &[], "grant_type=password").await;
    assert_eq!(grant.unwrap().json()["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_send_needs_an_access_token_that_is_known_and_not_expired() {
    let it = start(|_| ()).await;
    let mut fcm = Fcm::connect(&it.sandbox).await;
    assert_eq!(fcm.to("t").await.unwrap().status, 200);

    let good = std::mem::replace(&mut fcm.bearer, "Bearer unknown".to_owned());
    let answer = fcm.to("t").await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["error"]["status"], "UNAUTHENTICATED");
    assert_eq!(error_code(&answer), None);
    assert!(answer.headers.contains_key("www-authenticate"));

    fcm.bearer = good;
    assert_eq!(fcm.to("t").await.unwrap().status, 200);
    let (status, _) = control(&it.sandbox, "PUT", "/clock", r#"{"offset_ms":3600000}"#).await;
    assert_eq!(status, 200);
    assert_eq!(fcm.to("t").await.unwrap().status, 401);
    control(&it.sandbox, "PUT", "/clock", r#"{"offset_ms":0}"#).await;
    assert_eq!(fcm.to("t").await.unwrap().status, 200);
    control(&it.sandbox, "DELETE", "/access-tokens", "").await;
    assert_eq!(fcm.to("t").await.unwrap().status, 401);
}

#[tokio::test]
async fn another_project_is_forbidden_and_other_paths_do_not_exist() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let body = r#"{"message":{"token":"t"}}"#.to_owned();
    let answer = fcm.post("other-project", body).await.unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"]["status"], "PERMISSION_DENIED");
    assert_eq!(error_code(&answer), None);

    for (method, path) in [
        ("POST", "/v1/projects/jraze-sandbox/messages"),
        ("POST", "/v1/projects/a/b/messages:send"),
        ("GET", "/v1/projects/jraze-sandbox/messages:send"),
    ] {
        let answer = fcm.client.request(method, path, &[], "").await.unwrap();
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(answer.header("content-type").starts_with("text/html"));
    }
}

#[tokio::test]
async fn an_unreadable_message_names_the_field_without_an_fcm_error() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for (body, at) in [
        (json!({"message": {"token": "t", "titel": "x"}}), "message"),
        (
            json!({"message": {"token": "t", "data": {"k": 1}}}),
            "message.data[0].value",
        ),
        (
            json!({"message": {"token": "t", "android": {"ttl": "60"}}}),
            "message.android.ttl",
        ),
    ] {
        let answer = fcm.send(&body).await.unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT");
        assert_eq!(field(&answer), at);
        assert_eq!(error_code(&answer), None);
    }
    let answer = fcm.post("jraze-sandbox", "{".to_owned()).await.unwrap();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_message_that_breaks_a_rule_is_an_fcm_error_with_the_field() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let long = "x".repeat(4097);
    for (message, at) in [
        (json!({"notification": {"title": "x"}}), "message"),
        (json!({"token": "t", "topic": "u"}), "message"),
        (json!({"token": "t", "data": {"google.x": "v"}}), "message.data"),
        (
            json!({"token": "t", "android": {"ttl": "2419201s"}}),
            "message.android.ttl",
        ),
        (json!({"token": "t", "data": {"k": long}}), "message"),
        (
            json!({"token": "t", "apns": {"payload": {"k": long}}}),
            "message.apns.payload",
        ),
    ] {
        let answer = fcm.send(&json!({"message": message})).await.unwrap();
        assert_eq!(answer.status, 400, "{at}");
        assert_eq!(field(&answer), at);
        assert_eq!(error_code(&answer).as_deref(), Some("INVALID_ARGUMENT"));
    }
}

#[tokio::test]
async fn a_body_beyond_64_kib_is_too_large() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let body = json!({"message": {"token": "t", "data": {"k": "x".repeat(200_000)}}});
    // The client's flow control lets it through in pieces, which the sandbox throws away.
    let answer = crate::support::soon(fcm.send(&body)).await.unwrap();
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn magic_tokens_get_the_documented_errors() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for (token, status, code) in [
        ("sbx-ok-1", 200, None),
        ("sbx-unregistered-1", 404, Some("UNREGISTERED")),
        ("sbx-bad-1", 400, Some("INVALID_ARGUMENT")),
        ("sbx-sender-1", 403, Some("SENDER_ID_MISMATCH")),
        ("sbx-denied-1", 403, None),
        ("sbx-auth-1", 401, None),
        ("sbx-thirdparty-1", 401, Some("THIRD_PARTY_AUTH_ERROR")),
        ("sbx-notfound-1", 404, None),
        ("sbx-quota-1", 429, Some("QUOTA_EXCEEDED")),
        ("sbx-500-1", 500, Some("INTERNAL")),
        ("sbx-5xx-1", 503, Some("UNAVAILABLE")),
    ] {
        let answer = fcm.to(token).await.unwrap();
        assert_eq!(answer.status, status, "{token}");
        if status != 200 {
            assert_eq!(error_code(&answer).as_deref(), code, "{token}");
        }
    }
    let quota = fcm.to("sbx-quota-30-x").await.unwrap();
    assert_eq!(quota.header("retry-after"), "30");
    let bad = fcm.to("sbx-bad-1").await.unwrap();
    assert_eq!(field(&bad), "message.token");
    let html = fcm.to("sbx-502-1").await.unwrap();
    assert_eq!(html.status, 502);
    assert!(html.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn magic_tokens_can_be_switched_off() {
    let it = start(|settings| settings.magic_tokens = false).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    assert_eq!(fcm.to("sbx-unregistered-1").await.unwrap().status, 200);
}

#[tokio::test]
async fn flaky_tokens_fail_for_their_share_and_the_same_in_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let it = start(|_| ()).await;
        let fcm = Fcm::connect(&it.sandbox).await;
        let mut statuses = Vec::new();
        for n in 0..200 {
            let answer = fcm.to(&format!("sbx-flaky-30-{n}")).await.unwrap();
            statuses.push(answer.status);
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    let failed = runs[0].iter().filter(|status| **status == 503).count();
    assert!((40..80).contains(&failed), "{failed}");
}

#[tokio::test]
async fn the_projects_quota_is_per_minute_and_refills() {
    let it = start(|settings| settings.fcm.quota_per_minute = Some(60)).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let mut accepted = 0;
    let refused = loop {
        let answer = fcm.to("t").await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
    };
    // One more for every second that this took.
    assert!((60..70).contains(&accepted), "{accepted}");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(error_code(&refused), None);
    control(&it.sandbox, "PUT", "/clock", r#"{"offset_ms":2000}"#).await;
    assert_eq!(fcm.to("t").await.unwrap().status, 200);
}

#[tokio::test]
async fn validate_only_is_checked_and_not_shown() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let body = json!({"validate_only": true, "message": {"token": "t", "notification": {"title": "x"}}});
    let answer = fcm.send(&body).await.unwrap();
    assert_eq!(
        answer.json()["name"],
        "projects/jraze-sandbox/messages/fake_message_id"
    );
    assert_eq!(get(&it.sandbox, "/trays/t").await["notifications"], json!([]));
}

#[tokio::test]
async fn http_1_1_is_served_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let mut tls = crate::support::tls(&it.sandbox, it.sandbox.fcm_base_url(), "http/1.1").await;
    let body = r#"{"message":{"token":"old"}}"#;
    let request = format!(
        "POST /v1/projects/jraze-sandbox/messages:send HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: {}\r\ncontent-length: {}\r\n\r\n{body}",
        fcm.bearer,
        body.len()
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200 OK"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(get(&it.sandbox, "/ledger?token=old").await["total"], 1);
}
