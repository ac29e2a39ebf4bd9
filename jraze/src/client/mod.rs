//! The API as a caller sees it: one request in, the envelope opened, errors in words.
//!
//! Used by the commands that talk to a server (`import`, `export`, `campaign`, `doctor`). They take
//! the same paths and bodies as any other client; nothing here knows the server's insides.

mod error;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jraze_openapi::{answer::Envelope, dto::Page};
use jraze_runtime::config::Secret;
use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub(crate) use self::error::ClientError;

/// Where the server is and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// Address of the API
    #[arg(
        long,
        env = "JRAZE_API",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    api: Url,
    /// Key to present (`jraze keys create`, or what `jraze dev` prints)
    #[arg(long, env = "JRAZE_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
    key: Option<Secret>,
}

// Infallible, but clap wants a function from text.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl ClientArgs {
    /// A client that presents the key.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let key = self.key.clone();
        let key = key.context("no key: pass --key or set JRAZE_KEY (`jraze keys create` makes one)")?;
        Client::new(self.api.clone(), Some(key))
    }

    /// Whether a key was given.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// A client for what needs no key.
    pub(crate) fn anonymous(&self) -> anyhow::Result<Client> {
        Client::new(self.api.clone(), self.key.clone())
    }
}

/// Talks to one server with one key.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    api: Url,
    key: Option<Secret>,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) result: T,
    pub(crate) page: Option<Page>,
}

impl Client {
    pub(crate) fn new(api: Url, key: Option<Secret>) -> anyhow::Result<Self> {
        anyhow::ensure!(!api.cannot_be_a_base(), "{api} is not the address of a server");
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_config()?)
            .connect_timeout(Duration::from_secs(10))
            // Between two parts of an answer; a stream as a whole may take as long as it takes.
            .read_timeout(Duration::from_secs(120))
            .user_agent(concat!("jraze/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot build the HTTP client")?;
        Ok(Self { http, api, key })
    }

    /// A request to the path made of `segments`, each percent-encoded where it must be.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> Request {
        let mut url = self.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        let mut request = reqwest::Request::new(method, url);
        if let Some(key) = &self.key {
            // A key with characters that a header cannot hold is no key; the server says 401.
            if let Ok(mut value) = HeaderValue::from_str(key.expose()) {
                value.set_sensitive(true);
                request.headers_mut().insert("x-api-key", value);
            }
        }
        Request {
            http: self.http.clone(),
            request,
        }
    }

    pub(crate) fn get(&self, segments: &[&str]) -> Request {
        self.request(Method::GET, segments)
    }

    pub(crate) fn post(&self, segments: &[&str]) -> Request {
        self.request(Method::POST, segments)
    }
}

/// A request about to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    http: reqwest::Client,
    request: reqwest::Request,
}

impl Request {
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.request
            .url_mut()
            .query_pairs_mut()
            .append_pair(name, &value.to_string());
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn ndjson(self, body: impl Into<reqwest::Body>) -> Self {
        self.body("application/x-ndjson", body)
    }

    fn body(mut self, content_type: &'static str, body: impl Into<reqwest::Body>) -> Self {
        *self.request.body_mut() = Some(body.into());
        self.request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        *self.request.timeout_mut() = Some(timeout);
        self
    }

    /// Sends it and opens the envelope.
    pub(crate) async fn send<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        Ok(self.send_paged().await?.result)
    }

    /// Sends it and opens the envelope, with the page when the answer is a list.
    pub(crate) async fn send_paged<T: DeserializeOwned>(self) -> Result<Answer<T>, ClientError> {
        let url = self.request.url().clone();
        let response = self.raw().await?;
        let body = read(response, &url).await?;
        let shape = |source| ClientError::Shape {
            url: url.clone(),
            source,
        };
        let envelope: Envelope<T> = serde_json::from_slice(&body).map_err(shape)?;
        let missing = || shape(serde::de::Error::missing_field("result"));
        Ok(Answer {
            result: envelope.result.ok_or_else(missing)?,
            page: envelope.page,
        })
    }

    /// Sends it and hands the successful answer over unread, for streams.
    pub(crate) async fn raw(self) -> Result<Response, ClientError> {
        let url = self.request.url().clone();
        let sent = self.http.execute(self.request).await;
        let response = sent.map_err(|source| ClientError::Transport {
            url: url.clone(),
            source,
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let header = response
            .headers()
            .get("x-request-id")
            .and_then(|id| id.to_str().ok());
        let request_id = header.map(str::to_owned);
        let body = read(response, &url).await?;
        match serde_json::from_slice::<Envelope<Value>>(&body) {
            Ok(Envelope {
                success: false,
                reason,
                error,
                ..
            }) => {
                let (code, fields) = match error {
                    Some(error) => (error.code, error.fields),
                    None => ("no code".to_owned(), Vec::new()),
                };
                let reason = reason.unwrap_or_else(|| "refused without a reason".to_owned());
                Err(ClientError::Refused {
                    status,
                    code,
                    reason,
                    fields,
                    request_id,
                })
            }
            _ => {
                let excerpt = String::from_utf8_lossy(&body).chars().take(200).collect();
                Err(ClientError::Foreign { url, status, excerpt })
            }
        }
    }
}

async fn read(response: Response, url: &Url) -> Result<Vec<u8>, ClientError> {
    let body = response.bytes().await;
    let body = body.map_err(|source| ClientError::Transport {
        url: url.clone(),
        source,
    })?;
    Ok(body.into())
}

/// aws-lc-rs by name: more than one TLS provider is in the tree, so none is the default.
pub(crate) fn tls_config() -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .context("no TLS protocol version")?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
