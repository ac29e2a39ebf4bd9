//! Notifications.

use jraze_domain::{
    campaign::{Ambiguity, Audience, Draft, Held, Status},
    dispatch::{Reason, Sent, Tally},
    message::Content,
};
use jraze_openapi::dto::{
    ApiError, Conditions, CredentialHold as ShownCredentialHold, FailureReason, Hold, Notification as Shown,
    NotificationDraft, NotificationStatus, OnAmbiguous, OutcomeCounts, Progress, SentCounts,
};
use jraze_storage::fleet::CredentialHold;
use jraze_storage::notifications::NotificationRef;

use super::device::{show_device_platform, show_send_platform};
use super::{condition, error};
use crate::services::notifications::Seen;

/// The name in a path: a uuid or a number.
///
/// # Errors
///
/// 404: what is neither names nothing.
pub(crate) fn reference(text: &str) -> Result<NotificationRef, ApiError> {
    NotificationRef::parse(text)
        .ok_or_else(|| error::service(crate::services::ServiceError::UnknownNotification))
}

/// A draft as a person wrote it.
///
/// # Errors
///
/// 400 with pointers to all that is wrong with the texts, or to the first thing that is wrong with
/// the audience.
pub(crate) fn draft(written: NotificationDraft) -> Result<Draft, ApiError> {
    let content = Content {
        title: written.title,
        body: written.body,
        deep_link: written.deep_link,
        image_url: written.image_url,
        icon_url: written.icon_url,
        data: written.data.unwrap_or_default(),
    };
    content.validate().map_err(error::content)?;
    let audience = match (written.all, condition::read(written.conditions)?) {
        (true, None) => Audience::All,
        (false, None) => Audience::Nobody,
        (false, Some((condition, source))) => Audience::Matching { condition, source },
        (true, Some(_)) => {
            let message = "either all devices or those that match, not both";
            return Err(ApiError::invalid("invalid_notification", "/all", message));
        }
    };
    Ok(Draft {
        content,
        audience,
        scheduled_at: written.scheduled_at.map(Into::into),
        expires_at: written.expires_at.map(Into::into),
        on_ambiguous: match written.on_ambiguous {
            OnAmbiguous::Resend => Ambiguity::Resend,
            OnAmbiguous::Skip => Ambiguity::Skip,
        },
    })
}

/// The status of the contract's number.
pub(crate) fn status(status: NotificationStatus) -> Status {
    match status {
        NotificationStatus::Draft => Status::Draft,
        NotificationStatus::Launched => Status::Launched,
        NotificationStatus::Sent => Status::Sent,
        NotificationStatus::Error => Status::Error,
        NotificationStatus::Deleted => Status::Deleted,
        NotificationStatus::Queued => Status::Queued,
        NotificationStatus::Paused => Status::Paused,
        NotificationStatus::Canceled => Status::Canceled,
    }
}

fn show_status(status: Status) -> NotificationStatus {
    match status {
        Status::Draft => NotificationStatus::Draft,
        Status::Launched => NotificationStatus::Launched,
        Status::Sent => NotificationStatus::Sent,
        Status::Error => NotificationStatus::Error,
        Status::Deleted => NotificationStatus::Deleted,
        Status::Queued => NotificationStatus::Queued,
        Status::Paused => NotificationStatus::Paused,
        Status::Canceled => NotificationStatus::Canceled,
    }
}

/// A notification and how far its plan has come.
pub(crate) fn show(seen: Seen) -> Shown {
    let Seen {
        notification,
        partitions_done,
        holds,
        failures,
    } = seen;
    let (all, conditions) = match notification.draft.audience {
        Audience::Nobody => (false, None),
        Audience::All => (true, None),
        Audience::Matching { source, .. } => (false, Some(Conditions(source))),
    };
    let content = notification.draft.content;
    Shown {
        id: notification.id.0,
        uuid: notification.uuid.to_string(),
        title: content.title,
        body: content.body,
        sent: show_sent(notification.tally.sent),
        deep_link: content.deep_link,
        image_url: content.image_url,
        icon_url: content.icon_url,
        conditions,
        status: show_status(notification.status),
        scheduled_at: notification.draft.scheduled_at.map(Into::into),
        created_at: notification.created_at.into(),
        modified_at: notification.modified_at.into(),
        all,
        data: content.data,
        expires_at: notification.draft.expires_at.map(Into::into),
        launched_at: notification.launched_at.map(Into::into),
        finished_at: notification.finished_at.map(Into::into),
        on_ambiguous: match notification.draft.on_ambiguous {
            Ambiguity::Resend => OnAmbiguous::Resend,
            Ambiguity::Skip => OnAmbiguous::Skip,
        },
        error: notification.error,
        hold: notification.hold.map(show_hold),
        holds: holds.into_iter().map(show_credential_hold).collect(),
        progress: Progress {
            partitions_total: notification.plan.map_or(0, |plan| plan.partitions.into()),
            partitions_done: partitions_done.into(),
        },
        counts: show_counts(&notification.tally),
        failures: failures.map(|reasons| reasons.into_iter().map(show_failure).collect()),
    }
}

fn show_hold(held: Held) -> Hold {
    Hold {
        code: held.tripped.brake.code().to_owned(),
        message: held.tripped.message,
        since: held.since.into(),
    }
}

fn show_credential_hold(held: CredentialHold) -> ShownCredentialHold {
    ShownCredentialHold {
        send_platform: show_send_platform(held.via.by),
        device_platform: held.via.on.map(show_device_platform),
        reason: held.reason.as_str().to_owned(),
        since: held.since.into(),
        until: held.until.into(),
    }
}

fn show_failure((reason, count): (Reason, u64)) -> FailureReason {
    FailureReason {
        reason: reason.as_str().to_owned(),
        count,
    }
}

/// The contract's `sent`.
pub(crate) fn show_sent(sent: Sent) -> SentCounts {
    SentCounts {
        android: sent.android,
        ios: sent.ios,
        web: sent.web,
    }
}

fn show_counts(tally: &Tally) -> OutcomeCounts {
    OutcomeCounts {
        targeted: tally.settled(),
        sent: tally.sent.total(),
        failed: tally.failed,
        unregistered: tally.unregistered,
        unknown: tally.unknown,
        skipped: tally.skipped,
        expired: tally.expired,
        canceled: tally.canceled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(body: serde_json::Value) -> NotificationDraft {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn every_status_has_the_same_number_on_both_sides() {
        for wire in NotificationStatus::ALL {
            assert_eq!(i32::from(status(*wire).number()), wire.number());
            assert_eq!(show_status(status(*wire)), *wire);
        }
    }

    #[test]
    fn no_conditions_are_nobody_unless_the_request_says_all() {
        let audience = |body| draft(written(body)).unwrap().audience;
        assert_eq!(audience(json!({"title": "a", "body": "b"})), Audience::Nobody);
        assert_eq!(
            audience(json!({"title": "a", "body": "b", "conditions": {}})),
            Audience::Nobody
        );
        assert_eq!(
            audience(json!({"title": "a", "body": "b", "all": true})),
            Audience::All
        );
    }

    #[test]
    fn all_together_with_conditions_is_refused() {
        let tree = json!({"key": "a", "operator": "int_eq", "value": 1});
        let both = written(json!({"title": "a", "body": "b", "all": true, "conditions": tree}));
        assert_eq!(draft(both).unwrap_err().fields[0].pointer, "/all");
    }

    #[test]
    fn every_fault_of_the_texts_is_pointed_at() {
        let faulty = written(json!({
            "title": "a", "body": "b", "image_url": "http://x/y.png", "data": {"a/b": "x", "aps": "1"}
        }));
        let error = draft(faulty).unwrap_err();
        let pointers: Vec<_> = error.fields.iter().map(|field| field.pointer.as_str()).collect();
        assert_eq!(pointers, ["/image_url", "/data/aps"]);
    }

    #[test]
    fn what_is_too_heavy_in_all_is_refused_before_it_is_a_draft() {
        let mut body = json!({"title": "a", "body": "b".repeat(3_000), "data": {"k": "v".repeat(500)}});
        assert!(draft(written(body.clone())).is_ok());
        body["data"]["l"] = json!("v".repeat(500));
        let error = draft(written(body)).unwrap_err();
        assert_eq!(error.fields[0].pointer, "");
        assert!(error.reason.contains("4096"), "{}", error.reason);
    }
}
