//! The hard edges of HTTP: each of them an envelope, none of them a way to hold the server up.

use std::time::{Duration, Instant};

use jraze_runtime::config::HumanDuration;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::Server;

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_envelopes() {
    let server = Server::start().await;
    for path in [
        "/",
        "/nothing",
        "/v1/devices",
        "/devices/a/b/c",
        "/devices/a/properties/add",
    ] {
        let answer = server.send(server.request(Method::GET, path)).await;
        assert_eq!(answer.refused(404), "unknown_path", "{path}");
    }
    let unreadable = server.send(server.request(Method::GET, "/devices/%FF")).await;
    assert_eq!(unreadable.refused(400), "invalid_path");
    for (method, path) in [
        (Method::PATCH, "/devices"),
        (Method::DELETE, "/notifications"),
        (Method::POST, "/docs"),
        (Method::TRACE, "/notifications"),
        (Method::from_bytes(b"PURGE").unwrap(), "/notifications"),
    ] {
        let answer = server.send(server.request(method.clone(), path)).await;
        assert_eq!(answer.refused(405), "method_not_allowed", "{method} {path}");
    }
    for method in [Method::PATCH, Method::from_bytes(b"QUERY").unwrap()] {
        let response = server.request(method, "/devices").send().await.unwrap();
        assert_eq!(response.headers()["allow"], "PUT");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let server = Server::start().await;
    let id = async |sent: Option<&str>| {
        let mut request = server.request(Method::GET, "/health/live");
        if let Some(sent) = sent {
            request = request.header("X-Request-Id", sent);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id(Some("trace-42")).await, "trace-42");
    assert_eq!(id(None).await.len(), 32);
    assert_ne!(id(None).await, id(None).await);
    let long = "x".repeat(200);
    assert_eq!(
        id(Some(&long)).await.len(),
        32,
        "one that is too long is replaced"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_with_and_without_a_length() {
    let server = Server::start().await;
    let large = format!("{{\"external_id\": \"{}\"}}", "x".repeat(70_000));
    let put = || {
        server
            .request(Method::PUT, "/devices")
            .header("X-Api-Key", &server.server)
            .header("Content-Type", "application/json")
    };
    assert_eq!(
        server.send(put().body(large.clone())).await.refused(413),
        "payload_too_large"
    );
    let pieces = large
        .into_bytes()
        .chunks(1000)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect::<Vec<_>>();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    assert_eq!(
        server.send(put().body(stream)).await.refused(413),
        "payload_too_large"
    );

    // A search may be larger: ten thousand names.
    let names: Vec<String> = (0..10_000).map(|index| format!("device-{index}")).collect();
    server
        .post("/devices/-/:search", json!({"external_ids": names}))
        .await
        .ok();
    server.stop().await;
}

#[tokio::test]
async fn bodies_of_another_kind_or_none_at_all_are_told_apart() {
    let server = Server::start().await;
    let put = |content_type: Option<&str>, body: &'static str| {
        let request = server
            .request(Method::PUT, "/devices")
            .header("X-Api-Key", &server.server);
        let request = match content_type {
            Some(content_type) => request.header("Content-Type", content_type),
            None => request,
        };
        server.send(request.body(body))
    };
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/xml"),
        Some("application/x-ndjson"),
    ] {
        assert_eq!(
            put(content_type, "{}").await.refused(415),
            "unsupported_media_type",
            "{content_type:?}"
        );
    }
    let json = Some("application/json; charset=utf-8");
    for body in ["", "{", "nonsense", r#"{"external_id": "a"} {}"#] {
        assert_eq!(put(json, body).await.refused(400), "malformed_json", "{body}");
    }
    assert_eq!(put(json, "[]").await.refused(400), "invalid_body");
    assert_eq!(
        put(json, r#"{"external_id": "a", "external_id": "b"}"#)
            .await
            .refused(400),
        "invalid_body"
    );
    let deep = "[".repeat(50_000);
    let request = server
        .request(Method::PUT, "/devices")
        .header("X-Api-Key", &server.server)
        .header("Content-Type", "application/json")
        .body(format!("{{\"external_id\": {deep}"));
    assert_eq!(server.send(request).await.status.as_u16(), 400);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408_and_a_head_that_does_not_is_closed() {
    let server = Server::start_with(|settings| {
        settings.header_timeout = HumanDuration::from_millis(300);
        settings.body_timeout = HumanDuration::from_millis(300);
    })
    .await;
    let mut slow_body = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT /devices HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\n\r\n{{",
        server.server
    );
    slow_body.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = tokio::time::timeout(Duration::from_secs(5), slow_body.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("\"success\":false"),
        "{answer}"
    );

    let mut slow_head = TcpStream::connect(server.address).await.unwrap();
    slow_head
        .write_all(b"GET /health/live HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), slow_head.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection stays open");
    server.stop().await;
}

#[tokio::test]
async fn small_answers_do_not_wait_for_each_other() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let started = Instant::now();
    let pair = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    let mut answer = vec![0; 8192];
    for _ in 0..50 {
        stream.write_all(pair.as_bytes()).await.unwrap();
        let mut bodies = 0;
        while bodies < 2 {
            let length = stream.read(&mut answer).await.unwrap();
            bodies += String::from_utf8_lossy(&answer[..length])
                .matches("\"success\":true")
                .count();
        }
    }
    // Without TCP_NODELAY each pair costs 40 ms.
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_took_and_takes_no_more() {
    let server = Server::start().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(4);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let request = server
        .request(Method::PUT, "/devices")
        .header("X-Api-Key", &server.server)
        .header("Content-Type", "application/json")
        .body(reqwest::Body::wrap_stream(pieces));
    sender.send(Ok("{\"external_id\":".to_owned())).await.unwrap();
    let running = tokio::spawn(request.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.lifecycle.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "no new connection"
    );
    sender.send(Ok("\"a\"}".to_owned())).await.unwrap();
    drop(sender);
    assert_eq!(running.await.unwrap().unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_undo_its_registration() {
    let server = Server::start().await;
    let body = r#"{"external_id": "gone"}"#;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "PUT /devices HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nContent-Type: application/json\r\n\
        Content-Length: {}\r\n\r\n{body}",
        server.server,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    for _ in 0..100 {
        if server.get("/devices/gone").await.status == 200 {
            server.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the registration was dropped with the connection");
}
