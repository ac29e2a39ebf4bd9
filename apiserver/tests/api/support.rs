//! A server on loopback over a database of its own, with one key of each kind.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jraze_apiserver::{ApiServer, Dependencies, Settings};
use jraze_domain::{
    ids::AppId,
    keys::{KeyEntropy, KeyKind, Scopes},
};
use jraze_runtime::{
    clock::{Clock, SystemClock},
    lifecycle::Lifecycle,
};
use jraze_storage::{
    apps::Apps,
    keys::{Keys, NewKey},
    test_util::TestDatabase,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

/// The server under test.
pub(crate) struct Server {
    pub(crate) database: TestDatabase,
    pub(crate) address: SocketAddr,
    pub(crate) admin: String,
    pub(crate) server: String,
    pub(crate) client: String,
    pub(crate) internal: String,
    pub(crate) lifecycle: Lifecycle,
    http: reqwest::Client,
    task: JoinHandle<()>,
}

/// An answer: always an envelope.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    /// The result of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert_eq!(self.body["success"], true);
        assert_eq!(self.body["reason"], Value::Null);
        self.body["result"].clone()
    }

    /// The code of a failure with this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> &str {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body["error"]["code"].as_str().unwrap()
    }

    /// The first pointer of a failure.
    #[track_caller]
    pub(crate) fn pointer(&self) -> &str {
        self.body["error"]["fields"][0]["pointer"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.body))
    }
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let seed = uuid::Uuid::new_v4().as_u128() as u64;
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let database = TestDatabase::new().await;
        let now = SystemClock.now();
        let entropy = || KeyEntropy(random_bytes());
        let first = Apps::new(&database)
            .ensure_first(entropy, now)
            .await
            .unwrap()
            .unwrap();
        let key = |kind| {
            let found = first.keys.iter().find(|key| key.key.kind == kind).unwrap();
            found.text.reveal()
        };
        let mut settings = Settings {
            listen: "127.0.0.1:0".to_owned(),
            ..Settings::default()
        };
        change(&mut settings);
        let lifecycle = Lifecycle::new();
        let with = Dependencies {
            store: database.another_store().await,
            clock: Arc::new(SystemClock),
            rng: StdRng::from_seed(random_bytes()),
        };
        let server = ApiServer::bind(&settings, with, lifecycle.clone()).await.unwrap();
        let address = server.address();
        let task = tokio::spawn(server.serve());
        Self {
            admin: key(KeyKind::Admin),
            server: key(KeyKind::Server),
            client: key(KeyKind::Client),
            internal: key(KeyKind::Internal),
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(30))
                .build()
                .unwrap(),
            database,
            address,
            lifecycle,
            task,
        }
    }

    /// A key made to measure.
    pub(crate) async fn key(&self, app: u16, kind: KeyKind, scopes: Scopes, expires: Option<i64>) -> String {
        let now = SystemClock.now();
        let new = NewKey {
            app: (kind != KeyKind::Internal).then_some(AppId(app)),
            kind,
            scopes,
            name: "for a test".to_owned(),
            expires_at: expires.map(|seconds| now + chrono::TimeDelta::seconds(seconds)),
        };
        let made = Keys::new(&self.database)
            .create(new, &KeyEntropy(random_bytes()), now)
            .await;
        made.unwrap().text.reveal()
    }

    /// A request without a key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request and wants an envelope back.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let status = response.status();
        let id = response.headers().get("x-request-id");
        assert!(
            id.is_some_and(|id| !id.is_empty()),
            "an answer without a request id"
        );
        let text = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        for key in ["success", "result", "reason"] {
            assert!(keys.contains(&key), "{body}");
        }
        assert_eq!(body["success"], status.is_success(), "{body}");
        if !status.is_success() {
            assert_eq!(body["result"], Value::Null, "{body}");
            assert!(
                body["reason"].is_string() && body["error"]["code"].is_string(),
                "{body}"
            );
            assert!(body["error"]["fields"].is_array(), "{body}");
        }
        Answer { status, body }
    }

    /// Calls an operation with the server key.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_as(&self.server, method, path, body).await
    }

    /// Calls an operation with a key.
    pub(crate) async fn call_as(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path).header("X-Api-Key", key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Calls an internal operation with the internal key.
    pub(crate) async fn report(&self, path: &str, body: Value) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("X-Server-Key", &self.internal);
        self.send(request.json(&body)).await
    }

    /// Imports lines with the server key.
    pub(crate) async fn import(&self, lines: String) -> Answer {
        let request = self
            .request(Method::POST, "/devices/-/:import")
            .header("X-Api-Key", &self.server);
        self.send(request.header("Content-Type", "application/x-ndjson").body(lines))
            .await
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(self) {
        self.lifecycle.stop();
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .unwrap()
            .unwrap();
    }
}
