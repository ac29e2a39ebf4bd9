//! The internal endpoints, called over HTTP with the same types that the server answers with.
//!
//! The caller brings the `reqwest::Client` (keep-alive and `tcp_nodelay` are its settings) and
//! decides about retries; [`ClientError::verdict`] says whether one makes sense. Every report that
//! carries a batch id may be repeated safely.

use std::{fmt, time::Duration};

use reqwest::{StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;
use uuid::Uuid;

use crate::{
    answer::Envelope,
    dto::{LogNotification, LoggedDevices, SentCounts, SentIncrease},
    security::SERVER_KEY_HEADER,
};

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Repeat the same call, not before this long where the server said so.
    Retry {
        /// The server's own wish, from `Retry-After`.
        after: Option<Duration>,
    },
    /// The key is missing, wrong, expired or too narrow: no call will work until it is changed.
    FixKey,
    /// This call will never work as it is.
    GiveUp,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer: the connection failed or the call took too long.
    #[error("the API server gave no answer")]
    Transport(#[source] reqwest::Error),
    /// The server answered with a failure.
    #[error("the API server answered {status} ({code}): {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code; `unreadable_answer` when the answer was no envelope of ours.
        code: String,
        /// The reason, for people.
        reason: String,
        /// From `Retry-After`.
        retry_after: Option<Duration>,
    },
}

impl ClientError {
    /// Whether to repeat the call.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Transport(cause) if cause.is_builder() => Verdict::GiveUp,
            Self::Transport(_) => Verdict::Retry { after: None },
            Self::Refused {
                status: 401 | 403, ..
            } => Verdict::FixKey,
            Self::Refused {
                status: 408 | 429 | 500..,
                retry_after,
                ..
            } => Verdict::Retry { after: *retry_after },
            Self::Refused { .. } => Verdict::GiveUp,
        }
    }
}

/// The internal endpoints of one API server.
#[derive(Clone)]
pub struct InternalClient {
    http: reqwest::Client,
    base: Url,
    key: header::HeaderValue,
}

impl fmt::Debug for InternalClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InternalClient")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// A base address or a key that cannot be used in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientSettingsError {
    /// The address cannot have paths below it (like `mailto:`).
    #[error("the API address must be an http or https URL")]
    Address,
    /// The key holds characters that a header cannot.
    #[error("the internal key holds characters that a header cannot")]
    Key,
}

impl InternalClient {
    /// A client for the server at `base` (its path, if any, is kept) with an internal key.
    ///
    /// # Errors
    ///
    /// When the address or the key can never work.
    pub fn new(http: reqwest::Client, base: Url, key: &str) -> Result<Self, ClientSettingsError> {
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(ClientSettingsError::Address);
        }
        let mut key = header::HeaderValue::from_str(key.trim()).map_err(|_| ClientSettingsError::Key)?;
        key.set_sensitive(true);
        Ok(Self { http, base, key })
    }

    /// Logs that a notification went to devices; answers how many the request named.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; its verdict says whether to repeat the call.
    pub async fn log_notification(&self, log: &LogNotification) -> Result<u64, ClientError> {
        let path = ["internal", "devices", "logs", "notification:add"];
        self.post::<LoggedDevices>(&path, log)
            .await
            .map(|logged| logged.0)
    }

    /// Raises a notification's counts; answers the counts after the increase.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; its verdict says whether to repeat the call.
    pub async fn increase_sent(
        &self,
        notification: Uuid,
        increase: &SentIncrease,
    ) -> Result<SentCounts, ClientError> {
        let uuid = notification.to_string();
        self.post(&["internal", "notifications", &uuid, "sent:increase"], increase)
            .await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self
            .http
            .post(url)
            .header(SERVER_KEY_HEADER, self.key.clone())
            .json(body);
        let response = request.send().await.map_err(ClientError::Transport)?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let bytes = response.bytes().await.map_err(ClientError::Transport)?;
        read(status, retry_after, &bytes)
    }
}

fn read<T: DeserializeOwned>(
    status: StatusCode,
    retry_after: Option<Duration>,
    bytes: &[u8],
) -> Result<T, ClientError> {
    let refused = |code: String, reason: String| ClientError::Refused {
        // A 2xx that is no envelope comes from something between; it may be gone the next time.
        status: if status.is_success() { 502 } else { status.as_u16() },
        code,
        reason,
        retry_after,
    };
    let Ok(envelope) = serde_json::from_slice::<Envelope<T>>(bytes) else {
        let reason = "the answer is not an envelope".to_owned();
        return Err(refused("unreadable_answer".to_owned(), reason));
    };
    match envelope.result {
        Some(result) if status.is_success() && envelope.success => Ok(result),
        _ => {
            let code = envelope
                .error
                .map_or_else(|| "unknown".to_owned(), |error| error.code);
            Err(refused(code, envelope.reason.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str, retry_after: Option<Duration>) -> ClientError {
        let status = StatusCode::from_u16(status).unwrap();
        read::<LoggedDevices>(status, retry_after, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_success_gives_its_result() {
        let body = br#"{"success":true,"result":3,"reason":null}"#;
        assert_eq!(
            read::<LoggedDevices>(StatusCode::OK, None, body).unwrap(),
            LoggedDevices(3)
        );
    }

    #[test]
    fn the_verdict_follows_the_status() {
        let failure = r#"{"success":false,"result":null,"reason":"r","error":{"code":"c","fields":[]}}"#;
        let after = Some(Duration::from_secs(3));
        assert_eq!(refusal(503, failure, after).verdict(), Verdict::Retry { after });
        assert_eq!(
            refusal(429, failure, None).verdict(),
            Verdict::Retry { after: None }
        );
        assert_eq!(refusal(401, failure, None).verdict(), Verdict::FixKey);
        assert_eq!(refusal(400, failure, None).verdict(), Verdict::GiveUp);
        assert_eq!(
            refusal(502, "<html>", None).verdict(),
            Verdict::Retry { after: None }
        );
        assert_eq!(
            refusal(200, "<html>", None).verdict(),
            Verdict::Retry { after: None }
        );
    }
}
