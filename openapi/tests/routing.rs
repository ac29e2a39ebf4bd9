//! The router, with stub ports: literal paths, encoded names, refusals.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::{Arc, Mutex};

use jraze_openapi::{
    dto::{ApiError, error::UNKNOWN_PATH},
    paths::{Around, Bare, Operation},
    spec::{Ports, mount, operations},
    stub::Stub,
};
use poem::{Endpoint, EndpointExt, Request, endpoint::BoxEndpoint, http::Method};

fn stubs() -> Ports<Stub, Stub, Stub, Stub> {
    Ports {
        devices: Stub,
        notifications: Stub,
        internal: Stub,
        health: Stub,
    }
}

async fn call(api: &BoxEndpoint<'static>, method: Method, uri: &str) -> (u16, serde_json::Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri.parse().unwrap())
        .content_type("application/json")
        .body("{}");
    let response = match api.call(request).await {
        Ok(response) => response,
        Err(error) => ApiError::from_framework(&error).to_response(),
    };
    let status = response.status().as_u16();
    let body = response.into_body().into_vec().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn bare() -> BoxEndpoint<'static> {
    mount(stubs(), Bare).map_to_response().boxed()
}

#[tokio::test]
async fn every_operation_of_the_document_is_routed_and_answers_an_envelope() {
    let api = bare();
    for operation in operations() {
        let uri = operation
            .path
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "some%2Fone%3A"
                } else {
                    segment
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        let (_, body) = call(&api, operation.method.clone(), &uri).await;
        assert_eq!(body["success"], false, "{operation:?}: {body}");
        assert_ne!(body["error"]["code"], UNKNOWN_PATH, "{operation:?}");
        assert_ne!(body["error"]["code"], "method_not_allowed", "{operation:?}");
    }
}

/// Notes which operation was reached and with which path parameter.
struct Noting(Arc<Mutex<Vec<Reached>>>);

type Reached = (String, Option<String>);

impl Around for Noting {
    fn around(&self, operation: Operation, endpoint: BoxEndpoint<'static>) -> BoxEndpoint<'static> {
        let reached = self.0.clone();
        endpoint
            .before(move |request: Request| {
                let name = request.path_params::<String>().ok();
                reached.lock().unwrap().push((operation.id.to_owned(), name));
                async move { Ok(request) }
            })
            .map_to_response()
            .boxed()
    }
}

#[tokio::test]
async fn literal_segments_win_over_names_and_names_may_hold_anything() {
    let reached = Arc::default();
    let api = mount(stubs(), Noting(Arc::clone(&reached)));
    let cases = [
        (Method::GET, "/devices/a%2Fb", "get_device", Some("a/b")),
        (Method::GET, "/devices/user:42", "get_device", Some("user:42")),
        (Method::GET, "/devices/user%3a42", "get_device", Some("user:42")),
        (
            Method::GET,
            "/devices/a%2Fb%20c%3F%23%25",
            "get_device",
            Some("a/b c?#%"),
        ),
        (Method::GET, "/devices/%E2%82%AC", "get_device", Some("€")),
        (Method::GET, "/devices/-", "get_device", Some("-")),
        (Method::GET, "/devices/..", "get_device", Some("..")),
        (Method::GET, "/devices/:search", "get_device", Some(":search")),
        (
            Method::GET,
            "/devices/-/notifications",
            "list_device_notifications",
            Some("-"),
        ),
        (
            Method::POST,
            "/devices/-/properties/:add",
            "add_device_properties",
            Some("-"),
        ),
        (
            Method::POST,
            "/devices/-/secret/:rotate",
            "rotate_device_secret",
            Some("-"),
        ),
        (
            Method::POST,
            "/devices/a%2F:b/properties/:add",
            "add_device_properties",
            Some("a/:b"),
        ),
        (
            Method::POST,
            "/devices/x/properties/%3aadd?y=1:2",
            "add_device_properties",
            Some("x"),
        ),
        (Method::GET, "/devices/-/properties", "list_properties", None),
        (Method::POST, "/devices/-/:search", "search_devices", None),
        (Method::POST, "/devices/-/:import", "import_devices", None),
        (Method::GET, "/devices/-/:export", "export_devices", None),
        (Method::PUT, "/devices", "put_device", None),
        (Method::PUT, "/devices/", "put_device_slash", None),
        (Method::POST, "/notifications/", "create_notification", None),
        (
            Method::POST,
            "/notifications/12/:launch",
            "launch_notification",
            Some("12"),
        ),
        (
            Method::POST,
            "/internal/devices/logs/notification:add",
            "log_notification",
            None,
        ),
        (
            Method::POST,
            "/internal/notifications/u/sent%3Aincrease",
            "increase_sent",
            Some("u"),
        ),
    ];
    for (method, uri, operation, name) in cases {
        call(&api, method, uri).await;
        let (id, parameter) = reached
            .lock()
            .unwrap()
            .pop()
            .unwrap_or_else(|| panic!("{uri}: nothing"));
        assert_eq!((id.as_str(), parameter.as_deref()), (operation, name), "{uri}");
    }
}

#[tokio::test]
async fn a_path_that_only_looks_alike_is_unknown() {
    let api = bare();
    for uri in [
        "/",
        "/nothing",
        "/devices/a/properties/add",
        "/devices/a/b",
        "/devices/a/properties/:addx",
        "/internal/devices/logs/notificationXadd",
        "/internal/notifications/u/sent",
        "/notifications/u/launch",
        "/devices/-/search",
        "/v1/devices",
    ] {
        let (status, body) = call(&api, Method::POST, uri).await;
        assert_eq!(
            (status, body["error"]["code"].as_str()),
            (404, Some(UNKNOWN_PATH)),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_those_that_work() {
    let api = bare();
    for (uri, allow) in [
        ("/devices", "PUT"),
        ("/notifications/u", "DELETE, GET, PUT, HEAD"),
        ("/devices/-/:search", "POST"),
    ] {
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(uri.parse().unwrap())
            .finish();
        let response = api.call(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 405, "{uri}");
        assert_eq!(response.header("allow"), Some(allow), "{uri}");
    }
}

#[tokio::test]
async fn a_parameter_that_does_not_parse_is_pointed_at() {
    let api = bare();
    for (uri, pointer) in [
        ("/notifications?size=many", "/size"),
        ("/notifications?size=0", "/size"),
        ("/notifications?size=1001", "/size"),
        ("/notifications?start=-1", "/start"),
        ("/notifications?status=9", "/status"),
    ] {
        let (status, body) = call(&api, Method::GET, uri).await;
        assert_eq!(status, 400, "{uri}");
        assert_eq!(body["error"]["code"], "invalid_parameter", "{uri}");
        assert_eq!(body["error"]["fields"][0]["pointer"], pointer, "{uri}");
    }
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused() {
    let api = bare();
    for content_type in ["text/plain", "application/xml", "multipart/form-data"] {
        let request = Request::builder()
            .method(Method::PUT)
            .uri("/devices".parse().unwrap())
            .content_type(content_type)
            .body("{}");
        let error = api.call(request).await;
        let status = match error {
            Ok(response) => response.status(),
            Err(error) => ApiError::from_framework(&error).status,
        };
        assert_eq!(status.as_u16(), 415, "{content_type}");
    }
}
