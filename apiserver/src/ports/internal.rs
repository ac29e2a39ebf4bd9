//! What the workers report.

use std::sync::Arc;

use jraze_domain::{
    dispatch::{Reason, Sent, Tally},
    ids::{DeviceId, NotificationId},
};
use jraze_openapi::{
    api::InternalPort,
    dto::{
        ApiError, FailureReason, LogNotification, LoggedDevices, Outcomes, SentBatch, SentCounts,
        SentIncrease,
    },
    security::InternalCaller,
};
use jraze_storage::{notifications::NotificationRef, send_log::LogEvent};

use crate::{
    auth::Authenticator,
    convert::{error, notification},
    services::{
        ServiceError,
        tallies::{Reported, Tallies},
    },
};

/// Devices of one report, at most.
const MAX_DEVICES: usize = 10_000;
/// Batches of one report, at most.
const MAX_BATCHES: usize = 1_000;
/// Reasons of one batch, at most.
const MAX_REASONS: usize = 32;
/// Longest name of a batch, in bytes.
const MAX_NAME: usize = 256;
/// Largest count of one batch. Sums of any number of them stay within 64 bits.
const MAX_COUNT: u64 = 1 << 40;

/// The port.
pub(crate) struct Port {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) tallies: Tallies,
}

impl InternalPort for Port {
    async fn log_notification(
        &self,
        caller: InternalCaller,
        sent: LogNotification,
    ) -> Result<LoggedDevices, ApiError> {
        self.authenticator.internal(&caller).await?;
        if sent.device_ids.len() > MAX_DEVICES {
            let message = format!("a report names at most {MAX_DEVICES} devices");
            return Err(ApiError::invalid("invalid_body", "/device_ids", message));
        }
        let event = match sent.event.as_deref() {
            None => LogEvent::Sent,
            Some(name) => LogEvent::parse(name).ok_or_else(|| {
                let known = LogEvent::ALL.map(LogEvent::name).join(", ");
                ApiError::invalid("invalid_body", "/event", format!("the events are {known}"))
            })?,
        };
        let batch_id = sent.batch_id.map(|id| name("/batch_id", id)).transpose()?;
        let count = sent.device_ids.len() as u64;
        let devices: Vec<DeviceId> = sent.device_ids.into_iter().map(DeviceId).collect();
        let id = NotificationId(sent.notification_id);
        let logged = self.tallies.log(id, batch_id, event, &devices).await;
        logged.map_err(error::service)?;
        Ok(LoggedDevices(count))
    }

    async fn increase_sent(
        &self,
        caller: InternalCaller,
        which: String,
        sent: SentIncrease,
    ) -> Result<SentCounts, ApiError> {
        self.authenticator.internal(&caller).await?;
        let NotificationRef::Uuid(uuid) = notification::reference(&which)? else {
            return Err(error::service(ServiceError::UnknownNotification));
        };
        let totals = self
            .tallies
            .increase(uuid, batches(sent)?)
            .await
            .map_err(error::service)?;
        Ok(notification::show_sent(totals))
    }
}

/// The increase of the body itself (unless it names none) and its batches.
fn batches(sent: SentIncrease) -> Result<Vec<Reported>, ApiError> {
    let listed = sent.batches.unwrap_or_default();
    if listed.len() > MAX_BATCHES {
        let message = format!("a report holds at most {MAX_BATCHES} batches");
        return Err(ApiError::invalid("invalid_body", "/batches", message));
    }
    let mut batches = Vec::with_capacity(listed.len() + 1);
    if sent.ios.is_some() || sent.android.is_some() || sent.web.is_some() {
        let sent_now = Sent {
            android: count("/android", sent.android.unwrap_or(0))?,
            ios: count("/ios", sent.ios.unwrap_or(0))?,
            web: count("/web", sent.web.unwrap_or(0))?,
        };
        let id = sent.batch_id.map(|id| name("/batch_id", id)).transpose()?;
        let tally = Tally {
            sent: sent_now,
            ..Tally::default()
        };
        batches.push(Reported {
            id,
            tally,
            ..Reported::default()
        });
    } else if sent.batch_id.is_some() {
        let message = "names a batch without a count";
        return Err(ApiError::invalid("invalid_body", "/batch_id", message));
    }
    for (index, batch) in listed.into_iter().enumerate() {
        batches.push(listed_batch(index, batch)?);
    }
    Ok(batches)
}

fn listed_batch(index: usize, batch: SentBatch) -> Result<Reported, ApiError> {
    let place = |field: &str| format!("/batches/{index}/{field}");
    let outcomes: Outcomes = batch.outcomes.unwrap_or_default();
    let other = |field: &str, n| count(&place(&format!("outcomes/{field}")), n);
    let tally = Tally {
        sent: Sent {
            android: count(&place("android"), batch.android)?,
            ios: count(&place("ios"), batch.ios)?,
            web: count(&place("web"), batch.web)?,
        },
        unregistered: other("unregistered", outcomes.unregistered)?,
        failed: other("failed", outcomes.failed)?,
        unknown: other("unknown", outcomes.unknown)?,
        skipped: other("skipped", outcomes.skipped)?,
        expired: other("expired", outcomes.expired)?,
        canceled: other("canceled", outcomes.canceled)?,
    };
    Ok(Reported {
        id: Some(name(&place("batch_id"), batch.batch_id)?),
        tally,
        reasons: reasons(&place("outcomes/reasons"), outcomes.reasons)?,
    })
}

fn reasons(pointer: &str, reasons: Vec<FailureReason>) -> Result<Vec<(Reason, u64)>, ApiError> {
    if reasons.len() > MAX_REASONS {
        let message = format!("a batch has at most {MAX_REASONS} reasons");
        return Err(ApiError::invalid("invalid_body", pointer, message));
    }
    let read = |(
        index,
        FailureReason {
            reason: text,
            count: n,
        },
    ): (usize, FailureReason)| {
        let reason = Reason::new(&text);
        // What the domain would have to shorten or clean is not what a provider's verdict said.
        if text.is_empty() || reason.as_str() != text {
            let message = format!("is 1 to {} bytes without control characters", Reason::MAX_BYTES);
            let pointer = format!("{pointer}/{index}/reason");
            return Err(ApiError::invalid("invalid_body", pointer, message));
        }
        Ok((reason, count(&format!("{pointer}/{index}/count"), n)?))
    };
    reasons.into_iter().enumerate().map(read).collect()
}

fn count(pointer: &str, count: u64) -> Result<u64, ApiError> {
    if count <= MAX_COUNT {
        return Ok(count);
    }
    Err(ApiError::invalid(
        "invalid_body",
        pointer,
        format!("is more than {MAX_COUNT}"),
    ))
}

/// A batch's name. Those that begin with `~` are ours, for batches that came without one.
fn name(pointer: &str, id: String) -> Result<String, ApiError> {
    if (1..=MAX_NAME).contains(&id.len()) && !id.starts_with('~') {
        return Ok(id);
    }
    let message = format!("is 1 to {MAX_NAME} bytes long and does not begin with ~");
    Err(ApiError::invalid("invalid_body", pointer, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: serde_json::Value) -> Result<Vec<Reported>, ApiError> {
        batches(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn the_seeds_body_is_one_batch_without_a_name() {
        let batches = read(json!({"ios": 3, "android": 4})).unwrap();
        let [Reported { id: None, tally, .. }] = batches.as_slice() else {
            panic!("{batches:?}")
        };
        assert_eq!((tally.sent.ios, tally.sent.android, tally.sent.web), (3, 4, 0));
    }

    #[test]
    fn an_increase_and_batches_may_come_together() {
        let batches = read(json!({
            "web": 1, "batch_id": "a",
            "batches": [{"batch_id": "b", "ios": 2, "outcomes": {"failed": 5}}]
        }))
        .unwrap();
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[1].tally.failed, 5);
    }

    #[test]
    fn a_wrong_name_or_count_is_pointed_at() {
        let pointer = |body| read(body).unwrap_err().fields[0].pointer.clone();
        assert_eq!(pointer(json!({"ios": 1, "batch_id": ""})), "/batch_id");
        assert_eq!(pointer(json!({"batch_id": "a"})), "/batch_id");
        assert_eq!(pointer(json!({"ios": u64::MAX})), "/ios");
        let batch = json!({"batches": [{"batch_id": "~x"}]});
        assert_eq!(pointer(batch), "/batches/0/batch_id");
        let batch = json!({"batches": [{"batch_id": "x", "outcomes": {"failed": u64::MAX}}]});
        assert_eq!(pointer(batch), "/batches/0/outcomes/failed");
        let reasons = |reasons| json!({"batches": [{"batch_id": "x", "outcomes": {"reasons": reasons}}]});
        let place = "/batches/0/outcomes/reasons";
        for text in [String::new(), "x".repeat(65), "a\nb".to_owned()] {
            let batch = reasons(json!([{"reason": "fine", "count": 1}, {"reason": text, "count": 1}]));
            assert_eq!(pointer(batch), format!("{place}/1/reason"));
        }
        let batch = reasons(json!([{"reason": "x", "count": u64::MAX}]));
        assert_eq!(pointer(batch), format!("{place}/0/count"));
        let batch = reasons(json!(vec![json!({"reason": "x", "count": 1}); 33]));
        assert_eq!(pointer(batch), place);
    }
}
