//! Answers of FCM: any status, headers and body become an outcome that keeps the rules.
#![no_main]

use chrono::DateTime;
use jraze_fuzz::{Answer, verdict};
use jraze_providers::fcm::classify::{Circumstances, classify};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The one word of FCM that declares a device dead, and the one place where it counts.
fn is_unregistered(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let details = body.pointer("/error/details").and_then(Value::as_array);
    details.into_iter().flatten().any(|detail| {
        let is_fcm = detail["@type"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("FcmError"));
        is_fcm && detail["errorCode"] == "UNREGISTERED"
    })
}

fuzz_target!(|data: &[u8]| {
    let answer = Answer::read(data);
    let now = DateTime::from_timestamp(1_795_251_600, 0).expect("a time");
    let at = Circumstances {
        sent_at: now,
        now,
        proven: answer.flags.contains("proven"),
    };
    let decided = classify(answer.status, &answer.headers, &answer.body, || at);
    let signal = answer.status == 404 && is_unregistered(&answer.body);
    verdict::check(&decided, answer.status, signal);
});
