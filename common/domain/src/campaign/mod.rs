//! A notification, from the draft a person writes to the counts at the end.

pub mod state;

use chrono::{DateTime, Utc};

use crate::audience::Condition;
use crate::dispatch::{Brake, Tally, Tripped};
use crate::ids::{AppId, NotificationId, NotificationUuid};
use crate::message::Content;

pub use state::{Event, IllegalTransition, Status};

/// Whom a notification is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Audience {
    /// Nobody: the conditions are absent, and absent never means everybody.
    Nobody,
    /// Every device of the app, because the request said `"all": true`.
    All,
    /// The devices that match. `source` is the tree as the client wrote it, given back unchanged.
    Matching {
        /// The rules.
        condition: Condition,
        /// The client's own JSON.
        source: serde_json::Value,
    },
}

/// What to do with a device of which nobody can know whether it was sent to: a request was written and
/// never answered, or a worker died with it under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ambiguity {
    /// Send again, under the same collapse identity: nobody is left out, and a phone shows one entry.
    #[default]
    Resend,
    /// Do not send again, and count it as unknown: nobody gets it twice, and some perhaps not at all.
    Skip,
}

impl Ambiguity {
    /// Its name on the wire and in storage.
    pub fn name(self) -> &'static str {
        match self {
            Ambiguity::Resend => "resend",
            Ambiguity::Skip => "skip",
        }
    }

    /// The choice of that name.
    pub fn from_name(name: &str) -> Option<Ambiguity> {
        [Ambiguity::Resend, Ambiguity::Skip]
            .into_iter()
            .find(|choice| choice.name() == name)
    }
}

/// Why a campaign is PAUSED by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which brake, and what was seen.
    pub tripped: Tripped,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// What a person may write into a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its text and links.
    pub content: Content,
    /// For whom.
    pub audience: Audience,
    /// When to send; at once when absent or past.
    pub scheduled_at: Option<DateTime<Utc>>,
    /// When it becomes worthless: nothing is sent or retried after it.
    pub expires_at: Option<DateTime<Utc>>,
    /// What to do when nobody can know whether a device was sent to.
    pub on_ambiguous: Ambiguity,
}

/// What the planner froze when it started the campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Devices with a higher id registered too late for this campaign.
    pub audience_upper_id: u64,
    /// "Now" for relative dates in conditions, the same for every partition.
    pub evaluated_at: DateTime<Utc>,
    /// How many partitions there are.
    pub partitions: u32,
}

/// A notification; a campaign is one that was launched.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// Sequential, over all apps.
    pub id: NotificationId,
    /// For the outside.
    pub uuid: NotificationUuid,
    /// Whose.
    pub app: AppId,
    /// What a person wrote.
    pub draft: Draft,
    /// Where it is in its life.
    pub status: Status,
    /// Grows with every change; guards against lost updates.
    pub version: i64,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub modified_at: DateTime<Utc>,
    /// When a person launched it.
    pub launched_at: Option<DateTime<Utc>>,
    /// When it reached a terminal state.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it is in ERROR.
    pub error: Option<String>,
    /// Why it is PAUSED, when it was not a person who paused it.
    pub hold: Option<Held>,
    /// The brakes that held it and that a person has resumed it from; they do not hold it again.
    pub confirmed: Vec<Brake>,
    /// Set once it is LAUNCHED.
    pub plan: Option<Plan>,
    /// Final outcomes so far.
    pub tally: Tally,
}
