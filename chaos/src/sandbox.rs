//! What the providers saw: the sandbox's ledger and trays, read over its control address.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// One request that the providers received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) token: String,
    pub(crate) accepted: bool,
    pub(crate) title: String,
    /// By what a later push replaces this one on the phone.
    pub(crate) identity: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) received_ms: i64,
}

/// The sandbox's control address.
#[derive(Debug)]
pub(crate) struct Sandbox {
    http: reqwest::Client,
    base: String,
}

impl Sandbox {
    pub(crate) fn new(base: &str) -> Result<Self> {
        jraze_tests::client::install_crypto();
        Ok(Self {
            http: reqwest::Client::builder().build()?,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    async fn get(&self, path: &str) -> Result<String> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Forgets everything received.
    pub(crate) async fn clear(&self) -> Result<()> {
        let clearing = self.http.delete(format!("{}/ledger", self.base)).send();
        clearing.await?.error_for_status()?;
        Ok(())
    }

    /// Some requests are refused for a moment: 1 % at their first try.
    pub(crate) async fn stumble(&self, stumbles: bool) -> Result<()> {
        let unavailable = |provider: &str, code: &str| {
            json!({
                "provider": provider, "probability": 0.01, "times_per_token": 1,
                "answer": { "error": { "code": code, "retry_after": "1" } },
            })
        };
        let rules = match stumbles {
            true => vec![
                unavailable("fcm", "UNAVAILABLE"),
                unavailable("apns", "ServiceUnavailable"),
            ],
            false => Vec::new(),
        };
        let setting = self
            .http
            .put(format!("{}/script", self.base))
            .json(&json!({ "rules": rules }))
            .send();
        setting.await?.error_for_status()?;
        Ok(())
    }

    /// How many requests were received so far.
    pub(crate) async fn received(&self) -> Result<u64> {
        let summary: Value = serde_json::from_str(&self.get("/ledger/summary").await?)?;
        summary["received"].as_u64().context("a count")
    }

    /// Everything received.
    pub(crate) async fn requests(&self) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        let mut since = 0;
        loop {
            let text = self
                .get(&format!("/ledger?format=ndjson&limit=10000&since={since}"))
                .await?;
            let before = requests.len();
            for line in text.lines() {
                let entry: Value = serde_json::from_str(line)?;
                since = entry["sequence"].as_u64().context("a sequence")?;
                requests.push(request(&entry)?);
            }
            if requests.len() == before {
                return Ok(requests);
            }
        }
    }

    /// How many notifications with this title a phone shows.
    pub(crate) async fn shown(&self, token: &str, title: &str) -> Result<usize> {
        let path = format!("/trays/{}", jraze_tests::client::segment(token));
        let tray: Value = serde_json::from_str(&self.get(&path).await?)?;
        let shown = tray["notifications"].as_array().context("a tray")?;
        Ok(shown.iter().filter(|one| one["title"] == title).count())
    }
}

fn request(entry: &Value) -> Result<Request> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let payload = &entry["payload"];
    let fcm = entry["provider"] == "fcm";
    let (title, identity) = if fcm {
        let message = &payload["message"];
        let title = text(&message["notification"]["title"])
            .or_else(|| text(&message["android"]["notification"]["title"]));
        (title, text(&message["android"]["notification"]["tag"]))
    } else {
        let identity = text(&entry["headers"]["apns-collapse-id"]);
        (text(&payload["aps"]["alert"]["title"]), identity)
    };
    Ok(Request {
        token: text(&entry["token"]).context("a token")?,
        accepted: entry["status"] == 200,
        title: title.unwrap_or_default(),
        identity,
        received_ms: milliseconds(entry["received_at"].as_str().unwrap_or_default())?,
    })
}

/// Milliseconds since 1970 of a time that the sandbox wrote.
fn milliseconds(text: &str) -> Result<i64> {
    let time =
        mongodb::bson::DateTime::parse_rfc3339_str(text).with_context(|| format!("{text} is no time"))?;
    Ok(time.timestamp_millis())
}
