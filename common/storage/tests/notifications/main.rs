//! Notifications, their totals and the send log, on a real server.

mod states;
mod totals;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Ambiguity, Audience, Draft, Event, Notification};
use jraze_domain::ids::{AppId, NotificationUuid};
use jraze_domain::message::Content;
use jraze_storage::notifications::{NotificationRef, Notifications, Transition};

const APP: AppId = AppId(1);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("in range")
}

fn draft() -> Draft {
    let data = BTreeMap::from([("sku".to_owned(), "42".to_owned())]);
    Draft {
        content: Content {
            title: "Sale".into(),
            body: "Now".into(),
            data,
            ..Content::default()
        },
        audience: Audience::All,
        scheduled_at: None,
        expires_at: None,
        on_ambiguous: Ambiguity::Resend,
    }
}

async fn add(notifications: &Notifications, number: u128, draft: &Draft) -> Notification {
    let uuid = NotificationUuid(uuid::Uuid::from_u128(number));
    notifications.add(APP, uuid, draft, now()).await.expect("added")
}

async fn launch(notifications: &Notifications, notification: &Notification) -> Transition {
    let which = NotificationRef::Id(notification.id);
    notifications
        .transition(APP, which, Event::Launch, None, now())
        .await
        .expect("answers")
}
