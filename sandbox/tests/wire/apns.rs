//! APNs over the wire: one test for each rule.

use std::time::Duration;

use crate::support::{ALERT, Apns, Client, client_config, control, get, now_s, provider_token, soon, start};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

#[tokio::test]
async fn an_accepted_push_echoes_its_id_and_has_a_unique_one() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    let id = "EC1BF194-B3B2-424A-89A9-5A918A6E6B5E";
    let answer = apns.push(TOKEN, &[("apns-id", id)], ALERT).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("apns-id"), id);
    assert_eq!(answer.header("apns-unique-id").len(), 36);
    assert!(answer.body.is_empty());

    let answer = apns.to(TOKEN).await.unwrap();
    let ledger = get(&it.sandbox, "/ledger").await;
    assert_eq!(ledger["entries"][0]["message_id"], id.to_ascii_lowercase());
    assert_eq!(ledger["entries"][1]["message_id"], answer.header("apns-id"));
    assert_eq!(ledger["entries"][1]["topic"], apns.topic);
}

#[tokio::test]
async fn a_provider_token_names_the_key_and_the_team_and_is_signed() {
    let it = start(|_| ()).await;
    let forbidden = |reason: &str| (403, reason.to_owned());
    let mut apns = Apns::connect(&it.sandbox).await;
    let check = async |apns: &Apns| apns.reason(TOKEN, &[], ALERT).await;

    let none = apns.reason(TOKEN, &[("authorization", "")], ALERT).await;
    assert_eq!(none, forbidden("MissingProviderToken"));
    apns.bearer = "bearer rubbish".to_owned();
    assert_eq!(check(&apns).await, forbidden("InvalidProviderToken"));
    let other_team = provider_token(&it.sandbox, 0, |_, claims| claims["iss"] = "OTHERTEAM0".into());
    apns.bearer = format!("bearer {other_team}");
    assert_eq!(check(&apns).await, forbidden("InvalidProviderToken"));
    let other_key = provider_token(&it.sandbox, 0, |kid, _| *kid = "OTHERKEY00".to_owned());
    apns.bearer = format!("bearer {other_key}");
    assert_eq!(check(&apns).await, forbidden("InvalidProviderToken"));
    let future = provider_token(&it.sandbox, -900, |_, _| ());
    apns.bearer = format!("bearer {future}");
    assert_eq!(check(&apns).await, forbidden("InvalidProviderToken"));

    let good = provider_token(&it.sandbox, 3500, |_, _| ());
    apns.bearer = format!("bearer {good}");
    assert_eq!(check(&apns).await.0, 200);
    apns.bearer = format!("bearer {other_key}");
    assert_eq!(check(&apns).await, forbidden("UnrelatedKeyIdInToken"));
}

#[tokio::test]
async fn a_provider_token_older_than_an_hour_wedges_its_connection() {
    let it = start(|_| ()).await;
    let mut apns = Apns::connect(&it.sandbox).await;
    assert_eq!(apns.to(TOKEN).await.unwrap().status, 200);
    control(&it.sandbox, "PUT", "/clock", r#"{"offset_ms":3700000}"#).await;
    let expired = (403, "ExpiredProviderToken".to_owned());
    assert_eq!(apns.reason(TOKEN, &[], ALERT).await, expired);
    let fresh = provider_token(&it.sandbox, -3700, |_, _| ());
    apns.bearer = format!("bearer {fresh}");
    assert_eq!(apns.reason(TOKEN, &[], ALERT).await, expired);
    apns.client = Client::connect(&it.sandbox, it.sandbox.apns_base_url()).await;
    assert_eq!(apns.to(TOKEN).await.unwrap().status, 200);
}

#[tokio::test]
async fn provider_tokens_that_change_too_often_are_refused() {
    let it = start(|settings| settings.apns.min_token_update_s = Some(1200)).await;
    let mut apns = Apns::connect(&it.sandbox).await;
    assert_eq!(apns.to(TOKEN).await.unwrap().status, 200);
    let again = provider_token(&it.sandbox, 10, |_, _| ());
    apns.bearer = format!("bearer {again}");
    let refused = (429, "TooManyProviderTokenUpdates".to_owned());
    assert_eq!(apns.reason(TOKEN, &[], ALERT).await, refused);
    control(&it.sandbox, "PUT", "/clock", r#"{"offset_ms":1201000}"#).await;
    assert_eq!(apns.to(TOKEN).await.unwrap().status, 200);
}

#[tokio::test]
async fn headers_are_checked() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    let long = "c".repeat(65);
    for (name, value, reason) in [
        ("apns-topic", "", "MissingTopic"),
        ("apns-topic", "not a topic", "BadTopic"),
        ("apns-topic", "com.other.app", "TopicDisallowed"),
        ("apns-topic", "dev.jraze.sandboxed", "TopicDisallowed"),
        ("apns-push-type", "noise", "InvalidPushType"),
        ("apns-priority", "7", "BadPriority"),
        ("apns-expiration", "tomorrow", "BadExpirationDate"),
        ("apns-collapse-id", &long, "BadCollapseId"),
        ("apns-id", "17", "BadMessageId"),
    ] {
        let answer = apns.reason(TOKEN, &[(name, value)], ALERT).await;
        assert_eq!(answer, (400, reason.to_owned()), "{name}: {value}");
    }
    let twice = [("apns-priority", "5"), ("apns-priority", "5")];
    let answer = apns.reason(TOKEN, &twice, ALERT).await;
    assert_eq!(answer, (400, "DuplicateHeaders".to_owned()));
    let loud = [("apns-push-type", "background"), ("apns-priority", "10")];
    let answer = apns
        .reason(TOKEN, &loud, r#"{"aps":{"content-available":1}}"#)
        .await;
    assert_eq!(answer, (400, "BadPriority".to_owned()));
    let voip = [
        ("apns-topic", "dev.jraze.sandbox.voip"),
        ("apns-push-type", "voip"),
    ];
    assert_eq!(apns.reason(TOKEN, &voip, ALERT).await.0, 200);
    let collapsed = [("apns-collapse-id", &long[..64]), ("apns-expiration", "0")];
    assert_eq!(apns.reason(TOKEN, &collapsed, ALERT).await.0, 200);
}

#[tokio::test]
async fn a_payload_is_an_object_of_at_most_4096_bytes_and_5120_for_voip() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    let sized = |size: usize| format!(r#"{{"k":"{}"}}"#, "x".repeat(size - 8));
    let check = async |payload: String| apns.reason(TOKEN, &[], payload).await;
    assert_eq!(check(sized(4096)).await.0, 200);
    assert_eq!(check(sized(4097)).await, (413, "PayloadTooLarge".to_owned()));
    assert_eq!(check(sized(200_000)).await, (413, "PayloadTooLarge".to_owned()));
    assert_eq!(check(String::new()).await, (400, "PayloadEmpty".to_owned()));
    assert_eq!(check("[]".to_owned()).await, (400, "PayloadEmpty".to_owned()));
    let voip = [("apns-push-type", "voip")];
    assert_eq!(apns.reason(TOKEN, &voip, sized(5120)).await.0, 200);
}

#[tokio::test]
async fn a_device_token_is_hex_of_even_length() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    let bad = (400, "BadDeviceToken".to_owned());
    assert_eq!(apns.reason("xyz0", &[], ALERT).await, bad);
    assert_eq!(apns.reason("abc", &[], ALERT).await, bad);
    assert_eq!(apns.reason(&"ab".repeat(80), &[], ALERT).await.0, 200);
    let missing = (400, "MissingDeviceToken".to_owned());
    assert_eq!(apns.reason("", &[], ALERT).await, missing);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    let answer = apns.client.request("GET", "/3/device/aa", &[], "").await.unwrap();
    assert_eq!(
        (answer.status, answer.json()["reason"].as_str()),
        (405, Some("MethodNotAllowed"))
    );
    let answer = apns
        .client
        .request("POST", "/2/device/aa", &[], "{}")
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.json()["reason"].as_str()),
        (404, Some("BadPath"))
    );
}

#[tokio::test]
async fn magic_tokens_get_the_documented_reasons() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    for (code, status, reason) in [
        ("0200", 200, ""),
        ("0400", 400, "BadDeviceToken"),
        ("0410", 410, "Unregistered"),
        ("0411", 410, "ExpiredToken"),
        ("0429", 429, "TooManyRequests"),
        ("0503", 503, "ServiceUnavailable"),
        ("0504", 503, "Shutdown"),
    ] {
        let answer = apns.reason(&format!("5bfacade{code}00"), &[], ALERT).await;
        assert_eq!(answer, (status, reason.to_owned()), "{code}");
    }
    let gone = apns.to("5bfacade0410").await.unwrap();
    let timestamp = gone.json()["timestamp"].as_i64().unwrap();
    assert!((now_s() * 1000 - timestamp).abs() < 60_000);
    assert!(gone.headers.contains_key("apns-id"));
    let expired = apns.to("5bfacade0411").await.unwrap();
    assert!(expired.json().get("timestamp").is_none());
}

#[tokio::test]
async fn one_stream_is_announced_until_a_push_is_authenticated_and_then_a_thousand() {
    let it = start(|_| ()).await;
    let mut apns = Apns::connect(&it.sandbox).await;
    // An unauthenticated round trip, after which the client has seen the SETTINGS.
    let good = std::mem::replace(&mut apns.bearer, "bearer bad".to_owned());
    assert_eq!(apns.to(TOKEN).await.unwrap().status, 403);
    assert_eq!(apns.client.send.current_max_send_streams(), 1);
    apns.bearer = good;
    assert_eq!(apns.to(TOKEN).await.unwrap().status, 200);
    soon(async {
        while apns.client.send.current_max_send_streams() != 1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    // The acknowledgement was good for both sides: the connection goes on.
    for _ in 0..3 {
        assert_eq!(apns.to(TOKEN).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn streams_beyond_the_announced_one_are_refused() {
    let it = start(|settings| settings.latency_ms = 200).await;
    let mut apns = Apns::connect(&it.sandbox).await;
    apns.bearer = "bearer bad".to_owned();
    // The client has not seen the SETTINGS yet, so nothing holds it back.
    let (first, second) = tokio::join!(apns.to(TOKEN), apns.to(TOKEN));
    assert_eq!(first.unwrap().status, 403);
    let error = second.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
}

#[tokio::test]
async fn without_h2_there_is_no_service() {
    let it = start(|_| ()).await;
    let config = client_config(&it.sandbox, "http/1.1");
    let address = it.sandbox.apns_base_url().strip_prefix("https://").unwrap();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    assert!(config.connect(name, tcp).await.is_err());
}
