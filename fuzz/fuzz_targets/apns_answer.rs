//! Answers of APNs: any status, headers and body become an outcome that keeps the rules.
#![no_main]

use chrono::DateTime;
use jraze_fuzz::{Answer, verdict};
use jraze_providers::apns::classify::{Circumstances, classify};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let answer = Answer::read(data);
    let now = DateTime::from_timestamp(1_795_251_600, 0).expect("a time");
    let at = Circumstances {
        sent_at: now,
        now,
        jitter: if answer.flags.contains("late") {
            0.999_999
        } else {
            0.0
        },
    };
    let decided = classify(answer.status, &answer.headers, &answer.body, || at);
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let signal = answer.status == 410 && matches!(body["reason"].as_str(), Some("Unregistered" | "ExpiredToken"));
    verdict::check(&decided, answer.status, signal);
});
