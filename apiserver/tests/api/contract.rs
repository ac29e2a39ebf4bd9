//! Every operation of the printed document, against a running server.

use crate::support::Server;
use jraze_openapi::{dto::error::UNKNOWN_PATH, paths::Operation, spec};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// The operation's path with a name in it that needs encoding.
fn path(operation: &Operation) -> String {
    let segments = operation.path.split('/').map(|segment| match segment {
        "{notification_id}" | "{notification_uuid}" => "0b0f0c7e-5a2e-4c8e-9d3c-2f6c1a3b7d10",
        segment if segment.starts_with('{') => "some%2Fone%3A42",
        segment => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

fn with_key(server: &Server, operation: &Operation, request: RequestBuilder) -> RequestBuilder {
    match operation.security.first() {
        Some(&"ServerKey") => request.header("X-Server-Key", &server.internal),
        Some(_) => request.header("X-Api-Key", &server.admin),
        None => request,
    }
}

fn request(server: &Server, operation: &Operation) -> RequestBuilder {
    let method: Method = operation.method.as_str().parse().unwrap();
    server.request(method, &path(operation))
}

fn streams(operation: &Operation) -> bool {
    operation.id == "export_devices"
}

#[tokio::test]
async fn every_operation_is_routed_and_answers_an_envelope() {
    let server = Server::start().await;
    for operation in spec::operations() {
        let content_type = if operation.id == "import_devices" {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let request = request(&server, &operation)
            .header("Content-Type", content_type)
            .body("{}");
        let request = with_key(&server, &operation, request);
        if streams(&operation) {
            assert_eq!(request.send().await.unwrap().status(), 200, "{operation:?}");
            continue;
        }
        let answer = server.send(request).await;
        let code = &answer.body["error"]["code"];
        assert_ne!(code, UNKNOWN_PATH, "{operation:?}");
        assert!(
            answer.status != 401 && answer.status != 403,
            "{operation:?}: {}",
            answer.body
        );
        assert!(
            answer.status != 405 && answer.status.as_u16() < 500,
            "{operation:?}: {}",
            answer.body
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn without_a_key_every_operation_but_health_is_401_whatever_the_body() {
    let server = Server::start().await;
    for operation in spec::operations() {
        for body in ["{}", "not json", ""] {
            let request = request(&server, &operation)
                .header("Content-Type", "text/plain")
                .body(body);
            let answer = server.send(request).await;
            if operation.security.is_empty() {
                answer.ok();
            } else {
                assert_eq!(answer.refused(401), "unauthorized", "{operation:?}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_of_the_wrong_kind_is_403_or_401_on_every_operation() {
    let server = Server::start().await;
    let for_clients = [
        "put_device",
        "put_device_slash",
        "get_device",
        "add_device_properties",
    ];
    for operation in spec::operations()
        .into_iter()
        .filter(|one| !one.security.is_empty())
    {
        let internal = operation.security == ["ServerKey"];
        let wrong: Vec<(&str, &str)> = if internal {
            ["admin", "server", "client"]
                .map(|_| "X-Server-Key")
                .into_iter()
                .zip([&*server.admin, &*server.server, &*server.client])
                .collect()
        } else {
            let mut wrong = vec![("X-Api-Key", &*server.internal)];
            if !for_clients.contains(&operation.id) {
                wrong.push(("X-Api-Key", &*server.client));
            }
            wrong
        };
        for (header, key) in wrong {
            let answer = server
                .send(request(&server, &operation).header(header, key).json(&json!({})))
                .await;
            assert_eq!(answer.refused(403), "forbidden", "{operation:?}");
        }
        // The right key in the other's header is no key.
        let (header, key) = if internal {
            ("X-Api-Key", &server.internal)
        } else {
            ("X-Server-Key", &server.admin)
        };
        let answer = server
            .send(request(&server, &operation).header(header, key).json(&json!({})))
            .await;
        assert_eq!(answer.refused(401), "unauthorized", "{operation:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let server = Server::start().await;
    let text = |path: &'static str| {
        let request = server.request(Method::GET, path);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!(text("/openapi.yaml").await, spec::yaml());
    let json: Value = serde_json::from_str(&text("/openapi.json").await).unwrap();
    assert!(json["paths"]["/devices/-/:search"]["post"].is_object());
    assert!(text("/docs").await.contains("SwaggerUIBundle"));
    assert!(text("/docs/").await.contains("SwaggerUIBundle"));
    server.stop().await;
}
