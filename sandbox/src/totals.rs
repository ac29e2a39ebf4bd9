//! What people see, added up: the trays of all phones and the requests that led to them.
//!
//! A duplicate has two faces. *Requests* are what the provider accepted: a second one for the same
//! notification and token is a duplicate request, however well it hides. *Tray entries* are what the
//! person sees: a second one is a duplicate entry only when nothing made it replace the first. A sender
//! that must send again after a crash is judged by the second; what it costs is told by the first.
//!
//! Which notification a push belongs to is read from its data (`jraze_notification`, or the key that
//! the caller names), else from its collapse identity, else from its whole content. Like trays, totals
//! are computed from the ledger when they are asked for, a piece at a time.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use crate::{
    chance, fcm,
    ledger::{Entry, Ledger, Provider},
    tray,
};

/// The data key that names the notification, unless the caller says another.
pub(crate) const NOTIFICATION_KEY: &str = "jraze_notification";

/// One phone, added up.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Phone {
    pub(crate) provider: Provider,
    pub(crate) token: String,
    /// Accepted requests.
    pub(crate) accepted: u64,
    /// Different notifications among them.
    pub(crate) notifications: u64,
    /// Accepted requests beyond the first of each notification.
    pub(crate) duplicate_requests: u64,
    /// Entries that the tray shows.
    pub(crate) entries: u64,
    /// Entries beyond the first of each notification.
    pub(crate) duplicate_entries: u64,
    /// Pushes that took the place of an earlier entry.
    pub(crate) replacements: u64,
    /// Accepted pushes that show nothing.
    pub(crate) silent: u64,
}

/// All phones, added up.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    /// Phones with an accepted request.
    pub(crate) devices: u64,
    pub(crate) duplicate_requests: u64,
    pub(crate) tray_entries: u64,
    pub(crate) duplicate_tray_entries: u64,
    pub(crate) replacements: u64,
    pub(crate) silent: u64,
    /// Phones with a duplicate request, with a duplicate entry.
    pub(crate) devices_with_duplicate_requests: u64,
    pub(crate) devices_with_duplicate_entries: u64,
}

impl Totals {
    /// Counts one phone.
    pub(crate) fn add(&mut self, phone: &Phone) {
        self.accepted += phone.accepted;
        self.devices += 1;
        self.duplicate_requests += phone.duplicate_requests;
        self.tray_entries += phone.entries;
        self.duplicate_tray_entries += phone.duplicate_entries;
        self.replacements += phone.replacements;
        self.silent += phone.silent;
        self.devices_with_duplicate_requests += u64::from(phone.duplicate_requests > 0);
        self.devices_with_duplicate_entries += u64::from(phone.duplicate_entries > 0);
    }
}

/// The phones of one piece of the ledger that accepted something, in no order.
pub(crate) fn phones(ledger: &Ledger, piece: usize, key: &str) -> Vec<Phone> {
    let mut by_phone: HashMap<(Provider, Arc<str>), Vec<Entry>> = HashMap::new();
    for entry in ledger.accepted(piece) {
        if entry.outcome != fcm::VALIDATE_ONLY {
            let phone = (entry.provider, Arc::clone(&entry.token));
            by_phone.entry(phone).or_default().push(entry);
        }
    }
    by_phone
        .into_iter()
        .map(|((provider, token), entries)| phone(provider, &token, &entries, key))
        .collect()
}

fn phone(provider: Provider, token: &str, entries: &[Entry], key: &str) -> Phone {
    let tray = tray::tray(token, entries);
    let named: HashMap<u64, String> = entries
        .iter()
        .map(|entry| (entry.sequence, notification(entry, key)))
        .collect();
    let distinct = |mut names: Vec<&String>| {
        names.sort_unstable();
        names.dedup();
        names.len() as u64
    };
    let notifications = distinct(named.values().collect());
    let shown = tray.notifications.iter();
    let shown = distinct(shown.filter_map(|entry| named.get(&entry.sequence)).collect());
    let (accepted, on_show) = (entries.len() as u64, tray.notifications.len() as u64);
    Phone {
        provider,
        token: token.to_string(),
        accepted,
        notifications,
        duplicate_requests: accepted - notifications,
        entries: on_show,
        duplicate_entries: on_show - shown,
        replacements: tray.notifications.iter().map(|entry| entry.replaced).sum(),
        silent: tray.silent,
    }
}

/// Which notification a push belongs to.
fn notification(entry: &Entry, key: &str) -> String {
    let mut payload: Value = serde_json::from_slice(&entry.payload).unwrap_or_default();
    let (named, collapse) = match entry.provider {
        Provider::Fcm => {
            let message = &mut payload["message"];
            if let Some(message) = message.as_object_mut() {
                // The content alone tells notifications apart.
                message.remove("token");
            }
            (message["data"][key].clone(), tray::fcm_identity(message))
        }
        Provider::Apns => (payload[key].clone(), tray::apns_identity(entry)),
    };
    match (named, collapse) {
        (Value::String(name), _) => name,
        (Value::Null, Some(identity)) => identity,
        (Value::Null, None) => format!("{:016x}", chance::hash(0, payload.to_string().as_bytes())),
        (other, _) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::settings::LedgerSettings;

    fn push(ledger: &Ledger, token: &str, status: Option<u16>, message: &Value) {
        ledger.record(Provider::Fcm, token, status, |sequence, token| Entry {
            sequence,
            received_us: 0,
            provider: Provider::Fcm,
            scope: "p".into(),
            token,
            headers: Arc::default(),
            payload: Bytes::from(json!({"message": message}).to_string()),
            status,
            outcome: "".into(),
            message_id: 0,
            connection: 1,
            stream: 1,
        });
    }

    fn message(token: &str, notification: Option<&str>, tag: Option<&str>, title: &str) -> Value {
        let mut message = json!({"token": token, "notification": {"title": title}});
        if let Some(name) = notification {
            message["data"] = json!({NOTIFICATION_KEY: name});
        }
        if let Some(tag) = tag {
            message["android"] = json!({"notification": {"tag": tag}});
        }
        message
    }

    fn totals(ledger: &Ledger) -> Totals {
        let mut totals = Totals::default();
        for piece in 0..Ledger::PIECES {
            for phone in phones(ledger, piece, NOTIFICATION_KEY) {
                totals.add(&phone);
            }
        }
        totals
    }

    #[test]
    fn a_resend_that_replaces_is_a_duplicate_request_and_no_duplicate_entry() {
        let ledger = Ledger::new(&LedgerSettings::default());
        for _ in 0..2 {
            push(
                &ledger,
                "a",
                Some(200),
                &message("a", Some("n1"), Some("n1"), "Sale"),
            );
        }
        push(
            &ledger,
            "a",
            Some(503),
            &message("a", Some("n1"), Some("n1"), "Sale"),
        );
        push(
            &ledger,
            "a",
            Some(200),
            &message("a", Some("n2"), Some("n2"), "Sale"),
        );
        let wanted = Totals {
            accepted: 3,
            devices: 1,
            duplicate_requests: 1,
            tray_entries: 2,
            replacements: 1,
            devices_with_duplicate_requests: 1,
            ..Totals::default()
        };
        assert_eq!(totals(&ledger), wanted);
    }

    #[test]
    fn a_resend_without_identity_is_seen_twice() {
        let ledger = Ledger::new(&LedgerSettings::default());
        for _ in 0..2 {
            push(&ledger, "a", Some(200), &message("a", Some("n1"), None, "Sale"));
        }
        push(&ledger, "b", Some(200), &message("b", Some("n1"), None, "Sale"));
        let found = totals(&ledger);
        assert_eq!((found.devices, found.tray_entries), (2, 3));
        assert_eq!((found.duplicate_requests, found.duplicate_tray_entries), (1, 1));
        assert_eq!(found.devices_with_duplicate_entries, 1);
    }

    #[test]
    fn without_a_name_the_collapse_identity_and_then_the_content_tell_notifications_apart() {
        let ledger = Ledger::new(&LedgerSettings::default());
        push(&ledger, "a", Some(200), &message("a", None, Some("x"), "One"));
        push(&ledger, "a", Some(200), &message("a", None, Some("x"), "Two"));
        push(&ledger, "b", Some(200), &message("b", None, None, "One"));
        push(&ledger, "b", Some(200), &message("b", None, None, "Two"));
        push(&ledger, "b", Some(200), &message("b", None, None, "Two"));
        let found = totals(&ledger);
        assert_eq!((found.duplicate_requests, found.duplicate_tray_entries), (2, 1));
    }
}
