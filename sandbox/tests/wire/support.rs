//! A small HTTP/2 client and a sandbox of its own for each test.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use jraze_runtime::clock::{Clock, SystemClock};
use jraze_sandbox::{Sandbox, Settings};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A sandbox with a state directory that goes with it.
pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
}

/// Starts a sandbox with settings changed by `change`.
pub(crate) async fn start(change: impl FnOnce(&mut Settings)) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::ephemeral(dir.path());
    change(&mut settings);
    let sandbox = Sandbox::start(settings).await.unwrap();
    Fixture { sandbox, dir }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// One HTTP/2 connection.
pub(crate) struct Client {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) driver: JoinHandle<Result<(), h2::Error>>,
    pub(crate) authority: String,
}

/// TLS that trusts the sandbox and offers `protocol`.
pub(crate) fn client_config(sandbox: &Sandbox, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// A TLS connection to the sandbox.
pub(crate) async fn tls(sandbox: &Sandbox, base_url: &str, protocol: &str) -> TlsStream<TcpStream> {
    let authority = base_url.strip_prefix("https://").unwrap();
    let tcp = TcpStream::connect(authority).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let config = client_config(sandbox, protocol);
    config.connect(name, tcp).await.unwrap()
}

impl Client {
    pub(crate) async fn connect(sandbox: &Sandbox, base_url: &str) -> Self {
        let io = tls(sandbox, base_url, "h2").await;
        let (send, connection) = h2::client::handshake(io).await.unwrap();
        let driver = tokio::spawn(connection);
        Self {
            send,
            driver,
            authority: base_url.to_owned(),
        }
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, h2::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await?;
        let body = body.into();
        let (response, mut stream) = send.send_request(request.body(()).unwrap(), body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        let (head, mut stream) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.len())?;
            body.extend_from_slice(&data);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.into(),
        })
    }
}

/// Signs an assertion of the sandbox's service account; `change` may spoil its claims.
pub(crate) fn assertion(sandbox: &Sandbox, change: impl FnOnce(&mut Value)) -> String {
    let file: Value =
        serde_json::from_slice(&std::fs::read(sandbox.service_account_file()).unwrap()).unwrap();
    let now = now_s();
    let mut claims = json!({
        "iss": file["client_email"],
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": file["token_uri"],
        "iat": now,
        "exp": now + 3600,
    });
    change(&mut claims);
    let key = file["private_key"].as_str().unwrap();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.kid = Some(file["private_key_id"].as_str().unwrap().to_owned());
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

/// A client of FCM with an access token.
pub(crate) struct Fcm {
    pub(crate) client: Client,
    pub(crate) bearer: String,
}

impl Fcm {
    pub(crate) async fn connect(sandbox: &Sandbox) -> Self {
        let client = Client::connect(sandbox, sandbox.fcm_base_url()).await;
        let token = token(&client, &assertion(sandbox, |_| ())).await;
        assert_eq!(token.status, 200, "{token:?}");
        let bearer = format!("Bearer {}", token.json()["access_token"].as_str().unwrap());
        Self { client, bearer }
    }

    /// Sends to a token a message with a title.
    pub(crate) async fn to(&self, token: &str) -> Result<Answer, h2::Error> {
        self.send(&json!({"message": {"token": token, "notification": {"title": "hello"}}}))
            .await
    }

    pub(crate) async fn send(&self, body: &Value) -> Result<Answer, h2::Error> {
        self.post("jraze-sandbox", body.to_string()).await
    }

    pub(crate) async fn post(&self, project: &str, body: String) -> Result<Answer, h2::Error> {
        let path = format!("/v1/projects/{project}/messages:send");
        let headers = [
            ("authorization", self.bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.client.request("POST", &path, &headers, body).await
    }
}

/// Asks for an access token.
pub(crate) async fn token(client: &Client, assertion: &str) -> Answer {
    let body =
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    client.request("POST", "/token", &headers, body).await.unwrap()
}

/// Signs a provider token; `age_s` seconds old, `change` may spoil key id and claims.
pub(crate) fn provider_token(
    sandbox: &Sandbox,
    age_s: i64,
    change: impl FnOnce(&mut String, &mut Value),
) -> String {
    let key = std::fs::read(sandbox.apns_key_file()).unwrap();
    let key = jsonwebtoken::EncodingKey::from_ec_pem(&key).unwrap();
    let mut kid = sandbox.apns_key_id().to_owned();
    let mut claims = json!({"iss": sandbox.apns_team_id(), "iat": now_s() - age_s});
    change(&mut kid, &mut claims);
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(kid);
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

/// A client of APNs with a provider token.
pub(crate) struct Apns {
    pub(crate) client: Client,
    pub(crate) bearer: String,
    pub(crate) topic: String,
}

pub(crate) const ALERT: &str = r#"{"aps":{"alert":{"title":"hello"}}}"#;

impl Apns {
    pub(crate) async fn connect(sandbox: &Sandbox) -> Self {
        Self {
            client: Client::connect(sandbox, sandbox.apns_base_url()).await,
            bearer: format!("bearer {}", provider_token(sandbox, 0, |_, _| ())),
            topic: sandbox.apns_topic().to_owned(),
        }
    }

    /// Pushes an alert to a token.
    pub(crate) async fn to(&self, token: &str) -> Result<Answer, h2::Error> {
        self.push(token, &[], ALERT).await
    }

    /// Pushes with more headers; one that is there already is replaced, or left out when empty.
    pub(crate) async fn push(
        &self,
        token: &str,
        more: &[(&str, &str)],
        payload: impl Into<Bytes>,
    ) -> Result<Answer, h2::Error> {
        let mut headers = vec![
            ("authorization", self.bearer.as_str()),
            ("apns-topic", self.topic.as_str()),
            ("apns-push-type", "alert"),
        ];
        headers.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        headers.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        let path = format!("/3/device/{token}");
        self.client.request("POST", &path, &headers, payload).await
    }

    /// Pushes and returns status and reason.
    pub(crate) async fn reason(
        &self,
        token: &str,
        more: &[(&str, &str)],
        payload: impl Into<Bytes>,
    ) -> (u16, String) {
        let answer = self.push(token, more, payload).await.unwrap();
        let reason = match answer.body.is_empty() {
            true => String::new(),
            false => answer.json()["reason"].as_str().unwrap().to_owned(),
        };
        (answer.status, reason)
    }
}

/// Asks the control API over a connection of its own.
pub(crate) async fn control(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> (u16, String) {
    let authority = sandbox.control_url().strip_prefix("http://").unwrap();
    let mut tcp = TcpStream::connect(authority).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunk(body) } else { body.to_owned() })
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    text
}

pub(crate) async fn get(sandbox: &Sandbox, path: &str) -> Value {
    let (status, body) = control(sandbox, "GET", path, "").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

pub(crate) async fn script(sandbox: &Sandbox, script: &Value) {
    let (status, body) = control(sandbox, "PUT", "/script", &script.to_string()).await;
    assert_eq!(status, 200, "{body}");
}

/// Fails when `future` takes longer than five seconds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future)
        .await
        .expect("it takes too long")
}

/// Seconds since 1970.
pub(crate) fn now_s() -> i64 {
    SystemClock.now().timestamp()
}
