//! Calls to the API and to the sandbox's ledger, as plain JSON: the tests see what any client sees.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The envelope.
    pub body: Value,
}

impl Answer {
    /// `result` of a success.
    ///
    /// # Errors
    /// When the answer is a failure.
    pub fn result(self) -> Result<Value> {
        ensure!(self.status.is_success(), "{}: {}", self.status, self.body);
        ensure!(
            self.body["success"] == true,
            "{} without success: {}",
            self.status,
            self.body
        );
        Ok(self.body["result"].clone())
    }
}

/// A caller of the API with one key.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Api {
    /// A caller of the server at `base`.
    pub fn new(base: &str, key: &str) -> Self {
        let http = http();
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
        }
    }

    /// Sends a request with the key and reads the envelope.
    ///
    /// # Errors
    /// When there is no answer or it is no JSON.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("x-api-key", &self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("calling {path}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        let body =
            serde_json::from_str(&text).with_context(|| format!("{path} answered {status}: {text}"))?;
        Ok(Answer { status, body })
    }

    /// `result` of a GET.
    ///
    /// # Errors
    /// When it fails.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await?.result()
    }

    /// `result` of a POST.
    ///
    /// # Errors
    /// When it fails.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await?.result()
    }

    /// `result` of a POST without a body.
    ///
    /// # Errors
    /// When it fails.
    pub async fn post_empty(&self, path: &str) -> Result<Value> {
        self.call(Method::POST, path, None).await?.result()
    }

    /// `result` of a PUT.
    ///
    /// # Errors
    /// When it fails.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PUT, path, Some(body)).await?.result()
    }
}

/// The sandbox's control address.
#[derive(Debug, Clone)]
pub struct SandboxControl {
    http: reqwest::Client,
    base: String,
}

impl SandboxControl {
    /// The sandbox at `base`.
    pub fn new(base: &str) -> Self {
        Self {
            http: http(),
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// How often each token was accepted.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn accepted_tokens(&self) -> Result<HashMap<String, u64>> {
        let answer = self
            .http
            .get(format!("{}/ledger/tokens", self.base))
            .send()
            .await?
            .error_for_status()?;
        let mut tokens = HashMap::new();
        for line in answer.text().await?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let token = line["token"].as_str().context("a line without a token")?;
            *tokens.entry(token.to_owned()).or_default() += line["accepted"].as_u64().unwrap_or(0);
        }
        Ok(tokens)
    }

    /// Everything received, by the filter of the query string.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn ledger(&self, query: &str) -> Result<Value> {
        let answer = self
            .http
            .get(format!("{}/ledger?{query}", self.base))
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn about(&self) -> Result<Value> {
        let answer = self.http.get(format!("{}/", self.base)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// What it took in its `load_only` mode.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn load(&self) -> Result<Value> {
        let answer = self.http.get(format!("{}/load", self.base)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// The same over time, with `load_timeline`.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn load_timeline(&self) -> Result<Value> {
        let answer = self
            .http
            .get(format!("{}/load/timeline", self.base))
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Counts anew in its `load_only` mode.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn clear_load(&self) -> Result<()> {
        let answer = self.http.delete(format!("{}/load", self.base)).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Sets what is answered.
    ///
    /// # Errors
    /// When the sandbox refuses the script.
    pub async fn script(&self, script: &Value) -> Result<()> {
        self.http
            .put(format!("{}/script", self.base))
            .json(script)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }
}

fn http() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(120))
        .tcp_nodelay(true)
        .build()
        .expect("a client without special settings")
}

/// Two crypto providers are in the tree; tests choose as the binary does.
pub fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Percent-encodes a path segment, everything but the unreserved characters.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
