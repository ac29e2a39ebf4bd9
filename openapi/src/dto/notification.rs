//! Notifications: a message, whom it is for, and how far it has come.

use std::{collections::BTreeMap, fmt};

use chrono::DateTime;
use poem_openapi::{Enum, Object, types::Example};
use serde::{Deserialize, Serialize};

use super::{
    condition::{self, Conditions},
    enums::{DevicePlatform, NotificationStatus, SendPlatform},
    tally::{FailureReason, SentCounts},
    time::Timestamp,
};

/// What is done with a device of which nobody can know whether it was sent to: its request was written and
/// never answered, or a worker died with it under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum OnAmbiguous {
    /// It is sent to again, under the same collapse identity: nobody is left out, and the repeat replaces
    /// the first one on the phone.
    #[default]
    Resend,
    /// It is not sent to again, and counted as `unknown`: nobody gets it twice, and some may not get it.
    Skip,
}

/// A draft: what a person writes. All of its texts, links and data together make a message of at most
/// 4,096 bytes, which is what FCM and APNs take; a heavier draft is refused.
#[derive(Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct NotificationDraft {
    /// The title.
    #[oai(validator(max_length = 512))]
    pub title: String,
    /// The text below the title.
    #[oai(validator(max_length = 3072))]
    pub body: String,
    /// Where a tap leads.
    #[oai(validator(max_length = 2048))]
    #[serde(default)]
    pub deep_link: Option<String>,
    /// A picture, by https. It is handed to the provider and never fetched here.
    #[oai(validator(max_length = 2048))]
    #[serde(default)]
    pub image_url: Option<String>,
    /// An icon, by https.
    #[oai(validator(max_length = 2048))]
    #[serde(default)]
    pub icon_url: Option<String>,
    /// Whom it is for. Absent, null or `{}` is nobody, unless `all` is true.
    #[serde(default)]
    pub conditions: Option<Conditions>,
    /// For every device of the app. Not together with `conditions`.
    #[oai(default)]
    #[serde(default)]
    pub all: bool,
    /// Texts for the app, handed over as they are.
    #[oai(validator(max_properties = 32))]
    #[serde(default)]
    pub data: Option<BTreeMap<String, String>>,
    /// When to send it, once launched; at once when absent or past.
    #[serde(default)]
    pub scheduled_at: Option<Timestamp>,
    /// After this instant it is worth nothing: providers drop it, and what has not gone out stays.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// What to do with a device of which nobody can know whether it was sent to: `resend` (the default)
    /// or `skip`.
    #[oai(default)]
    #[serde(default)]
    pub on_ambiguous: OnAmbiguous,
}

impl fmt::Debug for NotificationDraft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NotificationDraft")
            .field("all", &self.all)
            .field("scheduled_at", &self.scheduled_at)
            .finish_non_exhaustive()
    }
}

impl Example for NotificationDraft {
    fn example() -> Self {
        Self {
            title: "Weekend ride".to_owned(),
            body: "The Saturday group leaves at nine.".to_owned(),
            deep_link: Some("myapp://rides/812".to_owned()),
            image_url: Some("https://images.example.com/ride.jpg".to_owned()),
            icon_url: None,
            conditions: Some(Conditions(condition::example())),
            all: false,
            data: Some(BTreeMap::from([("ride".to_owned(), "812".to_owned())])),
            scheduled_at: None,
            expires_at: None,
            on_ambiguous: OnAmbiguous::Resend,
        }
    }
}

/// A notification as it stands.
#[derive(Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct Notification {
    /// A sequential number.
    pub id: i64,
    /// The name in every path.
    pub uuid: String,
    /// The title.
    pub title: String,
    /// The text below the title.
    pub body: String,
    /// What the providers accepted, by device platform.
    pub sent: SentCounts,
    /// Where a tap leads.
    pub deep_link: Option<String>,
    /// A picture.
    pub image_url: Option<String>,
    /// An icon.
    pub icon_url: Option<String>,
    /// Whom it is for; null when nobody or, with `all`, everybody.
    pub conditions: Option<Conditions>,
    /// Where it stands.
    pub status: NotificationStatus,
    /// When to send it.
    pub scheduled_at: Option<Timestamp>,
    /// When the draft was written.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub modified_at: Timestamp,
    /// For every device of the app.
    pub all: bool,
    /// Texts for the app.
    pub data: BTreeMap<String, String>,
    /// After this instant it is worth nothing.
    pub expires_at: Option<Timestamp>,
    /// What is done with a device of which nobody can know whether it was sent to.
    #[serde(default)]
    pub on_ambiguous: OnAmbiguous,
    /// When its sending began.
    pub launched_at: Option<Timestamp>,
    /// When it came to its end: sent, stopped or withdrawn.
    pub finished_at: Option<Timestamp>,
    /// Why it was stopped, when `status` is 3 (error).
    pub error: Option<String>,
    /// Why jraze holds it, when `status` is 6 (paused) and no person paused it. Resuming it (status 1)
    /// confirms that this was looked at: the same rule does not hold it again.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// Credentials that are left alone for now because their provider refuses them or asks for a pause, as
    /// far as this notification is being sent with them; their devices wait and everything else goes on.
    /// Empty unless `status` is 1 (launched).
    #[serde(default)]
    pub holds: Vec<CredentialHold>,
    /// How far the sending has come.
    pub progress: Progress,
    /// Devices by what became of them.
    pub counts: OutcomeCounts,
    /// The 16 most frequent words of the providers for what they did not take, most frequent first.
    /// Absent where several notifications are shown: read the one to see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Vec<FailureReason>>,
}

impl fmt::Debug for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Notification")
            .field("uuid", &self.uuid)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Example for Notification {
    fn example() -> Self {
        let draft = NotificationDraft::example();
        let at = |second| Timestamp(DateTime::from_timestamp(second, 0).unwrap_or_default());
        Self {
            id: 12,
            uuid: "0b0f0c7e-5a2e-4c8e-9d3c-2f6c1a3b7d10".to_owned(),
            title: draft.title,
            body: draft.body,
            sent: SentCounts {
                android: 20_312,
                ios: 11_871,
                web: 0,
            },
            deep_link: draft.deep_link,
            image_url: draft.image_url,
            icon_url: draft.icon_url,
            conditions: draft.conditions,
            status: NotificationStatus::Sent,
            scheduled_at: None,
            created_at: at(1_795_251_600),
            modified_at: at(1_795_251_671),
            all: false,
            data: draft.data.unwrap_or_default(),
            expires_at: None,
            launched_at: Some(at(1_795_251_660)),
            finished_at: Some(at(1_795_251_671)),
            on_ambiguous: OnAmbiguous::Resend,
            error: None,
            hold: None,
            holds: Vec::new(),
            progress: Progress {
                partitions_total: 25,
                partitions_done: 25,
            },
            counts: OutcomeCounts {
                targeted: 33_000,
                sent: 32_183,
                failed: 5,
                unregistered: 812,
                ..OutcomeCounts::default()
            },
            failures: Some(vec![FailureReason {
                reason: "UNREGISTERED".to_owned(),
                count: 812,
            }]),
        }
    }
}

/// Why jraze holds a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct Hold {
    /// The rule: `environment_mismatch` (more than 20 % of a provider's first 200 answers refuse tokens in a
    /// way that the credential's environment, topic or project could cause) or `mass_invalidation` (at
    /// least 1,000 tokens called dead, more than 30 % of a provider's answers). No token is dropped meanwhile.
    pub code: String,
    /// What was seen, for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A credential that is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct CredentialHold {
    /// Whose credential.
    pub send_platform: SendPlatform,
    /// Only devices of this platform wait, because only the project's key for them is refused; absent
    /// when every device of the provider waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_platform: Option<DevicePlatform>,
    /// The provider's own word, like `InvalidProviderToken`, or one of ours that begins with `jraze:`; at
    /// most 64 bytes.
    pub reason: String,
    /// Since when nothing went through it: it was refused, or a worker lacks it.
    pub since: Timestamp,
    /// When it is tried again; about now while it is being tried.
    pub until: Timestamp,
}

/// How far the sending has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct Progress {
    /// Parts that the audience was cut into; 0 until the sending is planned.
    pub partitions_total: u64,
    /// Parts that are done.
    pub partitions_done: u64,
}

/// Devices by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// Devices that were streamed so far and have an outcome: the sum of the others.
    pub targeted: u64,
    /// The provider took it.
    pub sent: u64,
    /// The provider refused it for good.
    pub failed: u64,
    /// The provider said that the token is dead.
    pub unregistered: u64,
    /// A crash left open whether the provider took it.
    pub unknown: u64,
    /// Could not be sent to: no token, or no credential for its provider.
    pub skipped: u64,
    /// Too late: `expires_at` had passed.
    pub expired: u64,
    /// Had not gone out when a person stopped it.
    pub canceled: u64,
}

/// A change of status by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct NotificationStatusChange {
    /// The status to move to: 5 launches a draft, 4 withdraws it, 6 pauses, 1 resumes, 7 cancels.
    pub status: NotificationStatus,
}

impl Example for NotificationStatusChange {
    fn example() -> Self {
        Self {
            status: NotificationStatus::Paused,
        }
    }
}
