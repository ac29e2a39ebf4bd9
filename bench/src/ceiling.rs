//! The ceiling: `h2load` against the same sandbox, with the request that jraze sends.
//!
//! Two threads, eight connections of a hundred streams, a POST of 587 bytes: the fastest that a
//! well-known client gets out of this machine while the server shares it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Bytes of the body: an FCM message with a token of 150 characters.
const BODY_BYTES: usize = 587;

/// Runs `requests` and gives the requests answered in a second.
pub(crate) async fn measure(fcm_base_url: &str, requests: u64, folder: &Path) -> Result<f64> {
    let body = folder.join("ceiling.json");
    std::fs::write(&body, message())?;
    let output = Command::new("h2load")
        .args(["-t", "2", "-c", "8", "-m", "100", "-n", &requests.to_string()])
        .arg("-d")
        .arg(&body)
        .args(["-H", "content-type: application/json"])
        .args([
            "-H",
            "authorization: Bearer ya29.ceiling-ceiling-ceiling-ceiling-ceiling",
        ])
        .arg(format!("{fcm_base_url}/v1/projects/load/messages:send"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("h2load is needed: the package nghttp2-client has it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "h2load failed: {text}");
    ensure!(
        text.contains(&format!("{requests} 2xx")),
        "not every request was answered: {text}"
    );
    rate(&text).with_context(|| format!("no rate in: {text}"))
}

/// `finished in 2.61s, 229885.06 req/s, 31.35MB/s`
fn rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("finished in"))?;
    let (before, _) = line.split_once(" req/s")?;
    before.rsplit(' ').next()?.parse().ok()
}

fn message() -> String {
    let head = format!(
        r#"{{"message":{{"token":"{}","notification":{{"title":"Spring sale","body":"#,
        "t".repeat(150)
    );
    let tail = r#"},"android":{"priority":"HIGH"}}}"#;
    let text = BODY_BYTES - head.len() - tail.len() - 2;
    format!("{head}\"{}\"{tail}", "x".repeat(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_stated_size_and_is_json() {
        assert_eq!(message().len(), BODY_BYTES);
        assert!(serde_json::from_str::<serde_json::Value>(&message()).is_ok());
    }

    #[test]
    fn the_rate_is_read_from_the_summary() {
        let text =
            "progress: 100% done\n\nfinished in 2.61s, 229885.06 req/s, 31.35MB/s\nrequests: 600000 total";
        assert_eq!(rate(text), Some(229_885.06));
    }
}
