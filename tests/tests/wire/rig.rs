//! A sandbox, and a set of providers that is configured for it as an operator would.

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use jraze_domain::{
    device::{DevicePlatform, PushToken, SendPlatform},
    dispatch::Outcome,
    ids::{AppId, NotificationUuid},
    message::{CollapseId, Content, Push},
};
use jraze_providers::{
    CredentialSettings, Prepared, Provider, ProviderSet,
    apns::ApnsSettings,
    fcm::FcmSettings,
    transport::{Engine, TransportSettings},
};
use jraze_runtime::{
    clock::{Clock as _, MockClock, SystemClock},
    config::HumanDuration,
};
use jraze_sandbox::{Sandbox, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub(crate) const APP: AppId = AppId(1);
/// A good token of FCM.
pub(crate) const FCM_TOKEN: &str = "d7Kq:APA91b-token_1";
/// A good token of APNs.
pub(crate) const APNS_TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// A sandbox and the providers of one app.
pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) providers: ProviderSet,
    /// The providers' clock, and the sandbox's unless [`Rig::move_sandbox_clock`] was called.
    pub(crate) clock: MockClock,
    http: reqwest::Client,
    _dir: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// A rig with other settings of the sandbox or of the connections to it.
    pub(crate) async fn with(
        sandbox: impl FnOnce(&mut Settings),
        transport: impl FnOnce(&mut TransportSettings),
    ) -> Self {
        let dir = keys().await;
        let clock = MockClock::at(SystemClock.now());
        let mut settings = Settings::ephemeral(dir.path());
        sandbox(&mut settings);
        let sandbox = Sandbox::start_at(settings, Arc::new(clock.clone()))
            .await
            .expect("the sandbox starts");
        let mut connections = quick();
        transport(&mut connections);
        let providers = providers(credentials(&sandbox, &connections), &clock);
        Self {
            sandbox,
            providers,
            clock,
            http: http(),
            _dir: dir,
        }
    }

    pub(crate) fn fcm(&self) -> &Arc<Provider> {
        self.providers.get(APP, SendPlatform::Fcm).expect("configured")
    }

    pub(crate) fn apns(&self) -> &Arc<Provider> {
        self.providers.get(APP, SendPlatform::Apns).expect("configured")
    }

    /// Every request that passes the sandbox's checks gets this answer.
    pub(crate) async fn answer(&self, answer: Value) {
        self.script(json!([{ "answer": answer }])).await;
    }

    pub(crate) async fn script(&self, rules: Value) {
        self.control(reqwest::Method::PUT, "/script", json!({ "rules": rules }))
            .await;
    }

    pub(crate) async fn move_sandbox_clock(&self, minutes: i64) {
        self.control(
            reqwest::Method::PUT,
            "/clock",
            json!({ "offset_ms": minutes * 60_000 }),
        )
        .await;
    }

    /// Makes every access token invalid that was handed out so far.
    pub(crate) async fn revoke_access_tokens(&self) {
        self.control(reqwest::Method::DELETE, "/access-tokens", Value::Null)
            .await;
    }

    pub(crate) async fn access_tokens_issued(&self) -> u64 {
        let answer = self
            .control(reqwest::Method::GET, "/access-tokens", Value::Null)
            .await;
        answer["issued"].as_u64().expect("a number")
    }

    /// Everything that the sandbox received, in order.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let page = self
            .control(reqwest::Method::GET, "/ledger?limit=10000", Value::Null)
            .await;
        page["entries"].as_array().expect("a list").clone()
    }

    async fn control(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.sandbox.control_url());
        let request = self.http.request(method, url);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let answer = request.send().await.expect("the sandbox answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Sends a plain message to one token of FCM.
    pub(crate) async fn send_fcm(&self, token: &str) -> Outcome {
        send(self.fcm(), token).await
    }

    /// Sends a plain message to one token of APNs.
    pub(crate) async fn send_apns(&self, token: &str) -> Outcome {
        send(self.apns(), token).await
    }
}

/// Sends a plain message of its own to one token.
pub(crate) async fn send(provider: &Provider, token: &str) -> Outcome {
    provider.send(&prepare(provider), &push_token(token)).await
}

pub(crate) fn prepare(provider: &Provider) -> Prepared {
    provider
        .prepare(&push(plain()), DevicePlatform::Unknown)
        .expect("a small message")
}

pub(crate) fn push_token(token: &str) -> PushToken {
    PushToken::new(token).expect("a token")
}

pub(crate) fn plain() -> Content {
    Content {
        title: "Spring sale".into(),
        body: "Everything must go".into(),
        ..Content::default()
    }
}

pub(crate) fn push(content: Content) -> Push {
    let notification = NotificationUuid(uuid::Uuid::from_u128(7));
    Push {
        notification,
        content,
        collapse: CollapseId::of(notification),
        expires_at: None,
    }
}

/// The engine that this copy of the suite is for.
fn engine() -> Engine {
    if module_path!().contains("::frames::") {
        Engine::Frames
    } else {
        Engine::H2
    }
}

/// Connections as by default, but without the second between two of them.
pub(crate) fn quick() -> TransportSettings {
    TransportSettings {
        engine: engine(),
        connect_interval: HumanDuration::from_millis(0),
        ..TransportSettings::default()
    }
}

pub(crate) fn credentials(sandbox: &Sandbox, transport: &TransportSettings) -> Vec<CredentialSettings> {
    let ca_file = Some(sandbox.ca_file().to_owned());
    let fcm = FcmSettings {
        base_url: sandbox.fcm_base_url().into(),
        token_url: sandbox.oauth_token_url().into(),
        ca_file: ca_file.clone(),
        transport: transport.clone(),
        ..FcmSettings::new(APP, sandbox.service_account_file())
    };
    let key = ApnsSettings::new(
        APP,
        sandbox.apns_key_file(),
        sandbox.apns_key_id(),
        sandbox.apns_team_id(),
        sandbox.apns_topic(),
    );
    let apns = ApnsSettings {
        base_url: sandbox.apns_base_url().into(),
        ca_file,
        transport: transport.clone(),
        ..key
    };
    vec![CredentialSettings::Fcm(fcm), CredentialSettings::Apns(apns)]
}

pub(crate) fn providers(credentials: Vec<CredentialSettings>, clock: &MockClock) -> ProviderSet {
    ProviderSet::from_settings(credentials, Arc::new(clock.clone()), 1).expect("good credentials")
}

/// A state directory with keys in it, so that not every test waits for an RSA key.
async fn keys() -> TempDir {
    static MADE: OnceCell<Vec<(String, Vec<u8>)>> = OnceCell::const_new();
    let made = MADE.get_or_init(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::start(Settings::ephemeral(dir.path()))
            .await
            .expect("the sandbox starts");
        sandbox.shutdown().await;
        files(dir.path())
    });
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in made.await {
        std::fs::write(dir.path().join(name), bytes).expect("written");
    }
    dir
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let files = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a plain name");
        (name, std::fs::read(entry.path()).expect("a file"))
    });
    files.collect()
}

fn http() -> reqwest::Client {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// Waits until `done` holds, 5 s at most.
pub(crate) async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came true: {what}");
}

pub(crate) fn millis(number: u64) -> HumanDuration {
    HumanDuration::from_millis(number)
}

/// The time that the clock of a rig shows, cut as times in answers are.
pub(crate) fn now(rig: &Rig) -> DateTime<Utc> {
    rig.clock.now()
}
