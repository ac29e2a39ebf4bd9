//! The shape of a notification in storage.

use chrono::{DateTime, Utc};
use jraze_domain::audience::{Condition, Limits};
use jraze_domain::campaign::{Ambiguity, Audience, Draft, Held, Notification, Plan, Status};
use jraze_domain::dispatch::{Brake, Sent, Tally, Tripped};
use jraze_domain::ids::{AppId, NotificationId, NotificationUuid};
use jraze_domain::message::Content;
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};

use crate::error::StorageError;
use crate::time::{read, stored};

use super::COLLECTION;

/// As stored. Unknown fields are left alone: a newer version may have written them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NotificationDocument {
    #[serde(rename = "_id")]
    uuid: String,
    pub(super) id: i64,
    app_id: i32,
    content: Content,
    audience: AudienceDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduled_at: Option<bson::DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<bson::DateTime>,
    /// [`Ambiguity::name`]; absent in documents of before there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_ambiguous: Option<String>,
    status: i32,
    version: i64,
    created_at: bson::DateTime,
    modified_at: bson::DateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    launched_at: Option<bson::DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<bson::DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<HoldDocument>,
    /// [`Brake::code`] of each brake that a person has resumed it from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    confirmed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<PlanDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<LeaseDocument>,
    #[serde(default)]
    tally: TallyDocument,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LeaseDocument {
    pub(super) epoch: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct HoldDocument {
    code: String,
    message: String,
    since: bson::DateTime,
}

/// The client's tree is kept as the text it wrote: nothing in it can act as a key or an operator here,
/// it is given back unchanged, and it is parsed and checked again on the way out.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct AudienceDocument {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conditions: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlanDocument {
    pub(super) audience_upper_id: i64,
    pub(super) evaluated_at: bson::DateTime,
    pub(super) partitions: i32,
}

/// Totals, as the ledger last summed them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TallyDocument {
    pub(crate) android: i64,
    pub(crate) ios: i64,
    pub(crate) web: i64,
    pub(crate) unregistered: i64,
    pub(crate) failed: i64,
    pub(crate) unknown: i64,
    pub(crate) skipped: i64,
    pub(crate) expired: i64,
    pub(crate) canceled: i64,
}

impl std::ops::Add for TallyDocument {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            android: self.android.saturating_add(other.android),
            ios: self.ios.saturating_add(other.ios),
            web: self.web.saturating_add(other.web),
            unregistered: self.unregistered.saturating_add(other.unregistered),
            failed: self.failed.saturating_add(other.failed),
            unknown: self.unknown.saturating_add(other.unknown),
            skipped: self.skipped.saturating_add(other.skipped),
            expired: self.expired.saturating_add(other.expired),
            canceled: self.canceled.saturating_add(other.canceled),
        }
    }
}

impl From<TallyDocument> for Tally {
    fn from(kept: TallyDocument) -> Self {
        let count = |n: i64| u64::try_from(n).unwrap_or_default();
        Tally {
            sent: Sent {
                android: count(kept.android),
                ios: count(kept.ios),
                web: count(kept.web),
            },
            unregistered: count(kept.unregistered),
            failed: count(kept.failed),
            unknown: count(kept.unknown),
            skipped: count(kept.skipped),
            expired: count(kept.expired),
            canceled: count(kept.canceled),
        }
    }
}

impl From<&Tally> for TallyDocument {
    fn from(tally: &Tally) -> Self {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            android: count(tally.sent.android),
            ios: count(tally.sent.ios),
            web: count(tally.sent.web),
            unregistered: count(tally.unregistered),
            failed: count(tally.failed),
            unknown: count(tally.unknown),
            skipped: count(tally.skipped),
            expired: count(tally.expired),
            canceled: count(tally.canceled),
        }
    }
}

/// The fields that a person writes, for the first insert and for every edit.
pub(super) fn draft_fields(draft: &Draft) -> Document {
    // Serialising a struct of strings and a map of strings to BSON cannot fail.
    let content = bson::serialize_to_bson(&draft.content).expect("content is strings only");
    let audience = bson::serialize_to_bson(&AudienceDocument::from(&draft.audience)).expect("strings only");
    doc! {
        "content": content,
        "audience": audience,
        "scheduled_at": draft.scheduled_at.map(stored),
        "expires_at": draft.expires_at.map(stored),
        "on_ambiguous": draft.on_ambiguous.name(),
    }
}

/// Why a campaign is held.
pub(super) fn hold_document(held: &Held) -> Document {
    doc! {
        "code": held.tripped.brake.code(),
        "message": &held.tripped.message,
        "since": stored(held.since),
    }
}

impl From<&Audience> for AudienceDocument {
    fn from(audience: &Audience) -> Self {
        let (kind, conditions) = match audience {
            Audience::Nobody => ("nobody", None),
            Audience::All => ("all", None),
            Audience::Matching { source, .. } => ("matching", Some(source.to_string())),
        };
        Self {
            kind: kind.to_owned(),
            conditions,
        }
    }
}

impl NotificationDocument {
    pub(super) fn draft(
        id: NotificationId,
        uuid: NotificationUuid,
        app: AppId,
        draft: &Draft,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            uuid: uuid.to_string(),
            id: id.0,
            app_id: i32::from(app.0),
            content: draft.content.clone(),
            audience: AudienceDocument::from(&draft.audience),
            scheduled_at: draft.scheduled_at.map(stored),
            expires_at: draft.expires_at.map(stored),
            on_ambiguous: Some(draft.on_ambiguous.name().to_owned()),
            status: i32::from(Status::Draft.number()),
            version: 1,
            created_at: stored(now),
            modified_at: stored(now),
            launched_at: None,
            finished_at: None,
            error: None,
            hold: None,
            confirmed: Vec::new(),
            plan: None,
            lease: None,
            tally: TallyDocument::default(),
        }
    }

    /// The domain's notification, or a word on which field of which document is broken.
    pub(crate) fn read(self) -> Result<Notification, StorageError> {
        let id = self.id;
        let corrupt = |field: &'static str| StorageError::corrupt(COLLECTION, field, id);
        let status = Status::from_number(i64::from(self.status)).ok_or_else(|| corrupt("status"))?;
        Ok(Notification {
            id: NotificationId(id),
            uuid: NotificationUuid(uuid::Uuid::try_parse(&self.uuid).map_err(|_| corrupt("_id"))?),
            app: AppId(u16::try_from(self.app_id).map_err(|_| corrupt("app_id"))?),
            draft: Draft {
                content: self.content,
                audience: self.audience.read(id)?,
                scheduled_at: self.scheduled_at.map(read),
                expires_at: self.expires_at.map(read),
                on_ambiguous: match self.on_ambiguous {
                    Some(name) => Ambiguity::from_name(&name).ok_or_else(|| corrupt("on_ambiguous"))?,
                    None => Ambiguity::default(),
                },
            },
            hold: match self.hold {
                // One that is over stays in the document, for people who look there.
                Some(hold) if status == Status::Paused => {
                    Some(hold.read().ok_or_else(|| corrupt("hold.code"))?)
                }
                _ => None,
            },
            // A brake of a later version is none of ours to look at.
            confirmed: self
                .confirmed
                .iter()
                .filter_map(|code| Brake::from_code(code))
                .collect(),
            status,
            version: self.version,
            created_at: read(self.created_at),
            modified_at: read(self.modified_at),
            launched_at: self.launched_at.map(read),
            finished_at: self.finished_at.map(read),
            error: self.error,
            plan: self.plan.map(|plan| plan.read(id)).transpose()?,
            tally: self.tally.into(),
        })
    }
}

impl HoldDocument {
    fn read(self) -> Option<Held> {
        Some(Held {
            tripped: Tripped {
                brake: Brake::from_code(&self.code)?,
                message: self.message,
            },
            since: read(self.since),
        })
    }
}

impl AudienceDocument {
    fn read(self, id: i64) -> Result<Audience, StorageError> {
        let corrupt = || StorageError::corrupt(COLLECTION, "audience", id);
        match (self.kind.as_str(), self.conditions) {
            ("nobody", _) => Ok(Audience::Nobody),
            ("all", _) => Ok(Audience::All),
            ("matching", Some(text)) => {
                let source: serde_json::Value = serde_json::from_str(&text).map_err(|_| corrupt())?;
                let condition = Condition::parse(&source, Limits::default()).map_err(|_| corrupt())?;
                Ok(Audience::Matching { condition, source })
            }
            _ => Err(corrupt()),
        }
    }
}

impl PlanDocument {
    fn read(self, id: i64) -> Result<Plan, StorageError> {
        let corrupt = || StorageError::corrupt(COLLECTION, "plan", id);
        Ok(Plan {
            audience_upper_id: u64::try_from(self.audience_upper_id).map_err(|_| corrupt())?,
            evaluated_at: read(self.evaluated_at),
            partitions: u32::try_from(self.partitions).map_err(|_| corrupt())?,
        })
    }
}
