//! What a phone shows: the tray of one token.
//!
//! A simple model of what both systems document: a notification with the identity of an earlier one
//! (`apns-collapse-id`, `android.notification.tag`, a web notification's `tag`) replaces it, one
//! without identity stands alone, and a push without a visible text is silent. The tray is computed
//! from the ledger when it is asked for, so sends do not pay for it, and it knows only what the ledger
//! still holds.

use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::rfc3339,
    fcm,
    ledger::{Entry, Provider},
};

/// What a phone shows.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
pub(crate) struct Tray {
    pub(crate) token: String,
    /// The notifications, oldest first.
    pub(crate) notifications: Vec<Notification>,
    /// Accepted pushes that show nothing.
    pub(crate) silent: u64,
}

/// One notification in the tray.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) provider: Provider,
    /// What a later push must have to replace it.
    pub(crate) identity: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) received_at: String,
    /// Number in the ledger of the push that is shown.
    pub(crate) sequence: u64,
    /// How many earlier pushes it replaced.
    pub(crate) replaced: u64,
}

/// The tray after these entries of one token, oldest first.
pub(crate) fn tray(token: &str, entries: &[Entry]) -> Tray {
    let mut tray = Tray {
        token: token.to_owned(),
        ..Tray::default()
    };
    for entry in entries {
        if entry.status != Some(200) || entry.outcome == fcm::VALIDATE_ONLY {
            continue;
        }
        let shown = serde_json::from_slice(&entry.payload)
            .ok()
            .and_then(|payload: Value| match entry.provider {
                Provider::Fcm => from_fcm(&payload["message"], entry),
                Provider::Apns => from_apns(&payload, entry),
            });
        let Some(mut shown) = shown else {
            tray.silent += 1;
            continue;
        };
        let earlier = tray.notifications.iter().position(|old| {
            old.identity.is_some() && old.identity == shown.identity && old.provider == shown.provider
        });
        if let Some(index) = earlier {
            shown.replaced = tray.notifications.remove(index).replaced + 1;
        }
        tray.notifications.push(shown);
    }
    tray
}

fn notification(entry: &Entry) -> Notification {
    Notification {
        provider: entry.provider,
        identity: None,
        title: None,
        body: None,
        image: None,
        received_at: rfc3339(entry.received_us),
        sequence: entry.sequence,
        replaced: 0,
    }
}

/// What replaces an earlier push of FCM.
pub(crate) fn fcm_identity(message: &Value) -> Option<String> {
    text(&message["android"]["notification"]["tag"])
        .or_else(|| text(&message["apns"]["headers"]["apns-collapse-id"]))
        .or_else(|| text(&message["webpush"]["notification"]["tag"]))
}

/// What replaces an earlier push of APNs.
pub(crate) fn apns_identity(entry: &Entry) -> Option<String> {
    let collapse_id = entry.headers.iter().find(|(name, _)| *name == "apns-collapse-id");
    collapse_id.map(|(_, value)| value.clone())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn from_fcm(message: &Value, entry: &Entry) -> Option<Notification> {
    let (android, web) = (
        &message["android"]["notification"],
        &message["webpush"]["notification"],
    );
    let alert = &message["apns"]["payload"]["aps"]["alert"];
    let common = &message["notification"];
    if common.is_null() && android.is_null() && web.is_null() && alert.is_null() {
        return None;
    }
    // Which platform the token stands for is not known, so whatever is said first is shown.
    let field = |name: &str| {
        [android, common, web, alert]
            .iter()
            .find_map(|part| text(&part[name]))
    };
    Some(Notification {
        identity: fcm_identity(message),
        title: field("title"),
        body: field("body").or_else(|| text(alert)),
        image: field("image"),
        ..notification(entry)
    })
}

fn from_apns(payload: &Value, entry: &Entry) -> Option<Notification> {
    let alert = &payload["aps"]["alert"];
    if alert.is_null() {
        return None;
    }
    Some(Notification {
        identity: apns_identity(entry),
        title: text(&alert["title"]),
        body: text(alert).or_else(|| text(&alert["body"])),
        ..notification(entry)
    })
}
