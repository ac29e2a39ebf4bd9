//! Units of work and their leases.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::device::{DevicePlatform, SendPlatform};
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::{AppId, DeviceId, NotificationId, UnitId};
use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{self, Binary, Document, doc};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StorageError, ignore_duplicate_keys};
use crate::packing;
use crate::time::{read, stored};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "dispatch_units";

const READY: &str = "ready";
const DONE: &str = "done";

/// The lease was taken over: whatever this worker still holds of the unit is another's now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was taken over by another worker")]
pub struct Fenced;

/// What a unit is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A range of buckets of the audience.
    Partition(BucketRange),
    /// Devices whose earlier attempt failed in passing.
    Retry(Vec<DeviceId>),
}

/// A unit under this worker's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Which.
    pub id: UnitId,
    /// Of which campaign.
    pub notification: NotificationId,
    /// Of which app.
    pub app: AppId,
    /// What to send.
    pub work: Work,
    /// Which attempt its sends are, from 1.
    pub attempt: u32,
    /// For a retry: when its deliveries failed for the first time.
    pub failing_since: Option<DateTime<Utc>>,
    /// For a retry: an earlier request about each of its devices may have been taken.
    pub in_doubt: bool,
    /// For a retry: what its devices are reached through, as far as they have it in common.
    pub via: Option<Via>,
    /// The sequence of the next window.
    pub next_sequence: u32,
    /// The storage id of the last device claimed so far.
    pub checkpoint: Option<ObjectId>,
    /// Who holds it.
    pub owner: String,
    /// The fencing token: grows with every lease.
    pub epoch: i64,
}

/// A way to devices that may be closed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Via {
    /// Who sends.
    pub by: SendPlatform,
    /// To what, where that matters: a provider may refuse a credential for one device platform only.
    pub on: Option<DevicePlatform>,
}

/// What a window leaves to a later unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Computed from the window, so that writing it twice writes it once.
    pub id: UnitId,
    /// Which devices.
    pub devices: Vec<DeviceId>,
    /// Which attempt that will be.
    pub attempt: u32,
    /// When the first attempt failed, if one was made and failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// Whether an earlier request about each of the devices may have been taken.
    pub in_doubt: bool,
    /// What the devices are reached through.
    pub via: Via,
    /// How long to wait before it, from the moment when it is written.
    pub wait: Duration,
}

/// Where a unit goes on after a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The sequence that was just claimed.
    pub sequence: u32,
    /// The storage id of its last device.
    pub checkpoint: ObjectId,
}

#[derive(Debug, Serialize, Deserialize)]
struct UnitDocument {
    #[serde(rename = "_id")]
    id: String,
    app_id: i32,
    notification_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buckets: Option<RangeDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<Binary>,
    state: String,
    attempt: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since: Option<bson::DateTime>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_doubt: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<ViaDocument>,
    not_before: bson::DateTime,
    next_sequence: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<ObjectId>,
    lease: LeaseDocument,
}

#[derive(Debug, Serialize, Deserialize)]
struct RangeDocument {
    first: i32,
    last: i32,
}

/// The numbers of [`Via`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ViaDocument {
    by: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<i64>,
}

impl From<Via> for ViaDocument {
    fn from(via: Via) -> Self {
        Self {
            by: via.by.number().into(),
            on: via.on.map(|on| on.number().into()),
        }
    }
}

impl ViaDocument {
    pub(crate) fn read(self) -> Option<Via> {
        Some(Via {
            by: SendPlatform::from_number(self.by)?,
            on: match self.on {
                Some(on) => Some(DevicePlatform::from_number(on)?),
                None => None,
            },
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct LeaseDocument {
    owner: String,
    epoch: i64,
    expires_at: bson::DateTime,
}

/// The repository of units.
#[derive(Debug, Clone)]
pub struct Units {
    collection: Collection<UnitDocument>,
}

impl Units {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
        }
    }

    /// Writes the partitions of a plan; those that exist already stay as they are.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; repeating the call is safe.
    pub async fn plan(
        &self,
        app: AppId,
        notification: NotificationId,
        partitions: &[BucketRange],
    ) -> Result<(), StorageError> {
        let documents: Vec<_> = (0..)
            .zip(partitions)
            .map(|(index, range)| UnitDocument {
                id: UnitId::partition(notification, index).to_string(),
                app_id: i32::from(app.0),
                notification_id: notification.0,
                buckets: Some(RangeDocument {
                    first: range.first.into(),
                    last: range.last.into(),
                }),
                devices: None,
                state: READY.to_owned(),
                attempt: 1,
                failing_since: None,
                in_doubt: false,
                via: None,
                not_before: EPOCH_START,
                next_sequence: 0,
                checkpoint: None,
                lease: LeaseDocument::free(),
            })
            .collect();
        ignore_duplicate_keys(self.collection.insert_many(documents).ordered(false).await)
    }

    /// Writes the retry of some devices of `source`; one that exists already stays as it is.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub async fn add_retry(&self, source: &Unit, retry: &Retry) -> Result<(), StorageError> {
        let document = UnitDocument {
            id: retry.id.to_string(),
            app_id: i32::from(source.app.0),
            notification_id: source.notification.0,
            buckets: None,
            devices: Some(packing::binary(packing::pack_ids(&retry.devices))),
            state: READY.to_owned(),
            attempt: i32::try_from(retry.attempt).unwrap_or(i32::MAX),
            failing_since: retry.failing_since.map(stored),
            in_doubt: retry.in_doubt,
            via: Some(retry.via.into()),
            // Written by the database, whose clock it is compared with.
            not_before: EPOCH_START,
            next_sequence: 0,
            checkpoint: None,
            lease: LeaseDocument::free(),
        };
        let document = bson::serialize_to_document(&document).map_err(StorageError::encode)?;
        let insert = vec![doc! { "$replaceWith": { "$cond": {
            "if": { "$eq": [{ "$type": "$state" }, "missing"] },
            "then": { "$mergeObjects": [
                { "$literal": document },
                { "not_before": { "$add": ["$$NOW", millis(retry.wait)] } },
            ] },
            "else": "$$ROOT",
        } } }];
        let written = self
            .collection
            .update_one(doc! { "_id": retry.id.to_string() }, insert)
            .upsert(true)
            .await;
        ignore_duplicate_keys(written.map(drop))
    }

    /// Leases one unit of these campaigns that is ready, due and not held, or `None`.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the document is corrupt.
    pub async fn acquire(
        &self,
        notifications: &[NotificationId],
        owner: &str,
        lease_for: Duration,
    ) -> Result<Option<Unit>, StorageError> {
        if notifications.is_empty() {
            return Ok(None);
        }
        let ids: Vec<i64> = notifications.iter().map(|id| id.0).collect();
        let filter = doc! {
            "state": READY,
            "notification_id": { "$in": ids },
            "$expr": { "$and": [
                { "$lte": ["$not_before", "$$NOW"] },
                { "$lte": ["$lease.expires_at", "$$NOW"] },
            ] },
        };
        let lease = vec![doc! { "$set": { "lease": {
            "owner": owner,
            "epoch": { "$add": ["$lease.epoch", 1_i64] },
            "expires_at": { "$add": ["$$NOW", millis(lease_for)] },
        } } }];
        self.collection
            .find_one_and_update(filter, lease)
            .return_document(ReturnDocument::After)
            .await?
            .map(UnitDocument::read)
            .transpose()
    }

    /// Pushes the end of the lease out (heartbeat).
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer. The inner error says the lease is lost.
    pub async fn extend(&self, unit: &Unit, lease_for: Duration) -> Result<Result<(), Fenced>, StorageError> {
        let until = vec![doc! { "$set": {
            "lease.expires_at": { "$add": ["$$NOW", millis(lease_for)] },
        } }];
        self.fenced(self.collection.update_one(held(unit), until).await?.matched_count)
    }

    /// Makes the window that was just inserted a claim: rule 2 of this module. Taking the step again after
    /// an answer was lost is taking it once.
    ///
    /// # Errors
    /// As [`Self::extend`].
    pub async fn advance(&self, unit: &Unit, to: Advance) -> Result<Result<(), Fenced>, StorageError> {
        let sequence = i32::try_from(to.sequence).unwrap_or(i32::MAX);
        let after = doc! { "next_sequence": sequence.saturating_add(1), "checkpoint": to.checkpoint };
        let mut filter = held(unit);
        filter.insert("$or", vec![doc! { "next_sequence": sequence }, after.clone()]);
        let update = doc! { "$set": after };
        self.fenced(self.collection.update_one(filter, update).await?.matched_count)
    }

    /// Nothing is left of it.
    ///
    /// # Errors
    /// As [`Self::extend`].
    pub async fn finish(&self, unit: &Unit) -> Result<Result<(), Fenced>, StorageError> {
        let update = doc! { "$set": { "state": DONE } };
        self.fenced(
            self.collection
                .update_one(held(unit), update)
                .await?
                .matched_count,
        )
    }

    /// Gives it back before the lease runs out, to be taken up from its checkpoint not before `pause`
    /// from now.
    ///
    /// # Errors
    /// As [`Self::extend`].
    pub async fn release(&self, unit: &Unit, pause: Duration) -> Result<Result<(), Fenced>, StorageError> {
        // Nobody's: a step of this holder that lingers on the server must not match any more.
        let update = vec![doc! { "$set": {
            "lease.owner": "",
            "lease.expires_at": "$$NOW",
            "not_before": { "$add": ["$$NOW", millis(pause)] },
        } }];
        self.fenced(
            self.collection
                .update_one(held(unit), update)
                .await?
                .matched_count,
        )
    }

    /// Whether any unit of a campaign, retries included, is not done.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn any_open(&self, notification: NotificationId) -> Result<bool, StorageError> {
        let open = doc! { "notification_id": notification.0, "state": READY };
        Ok(self.collection.find_one(open).await?.is_some())
    }

    /// Winds up a stopped campaign: partitions that nobody ever claimed anything of are done, and whatever
    /// else is open is due now. The devices of a retry were claimed once, so each of them has to come out
    /// as something; a worker says as what, and nothing is gained by waiting.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn wind_up(&self, notification: NotificationId) -> Result<(), StorageError> {
        let open = doc! { "notification_id": notification.0, "state": READY };
        let mut unclaimed = open.clone();
        unclaimed.insert("buckets", doc! { "$exists": true });
        unclaimed.insert("next_sequence", 0);
        // A holder that is about to claim is fenced by the epoch.
        let end = doc! { "$set": { "state": DONE }, "$inc": { "lease.epoch": 1_i64 } };
        self.collection.update_many(unclaimed, end).await?;
        let mut waiting = open;
        waiting.insert("not_before", doc! { "$gt": EPOCH_START });
        let due = doc! { "$set": { "not_before": EPOCH_START } };
        self.collection.update_many(waiting, due).await?;
        Ok(())
    }

    /// The partitions done of several campaigns, for lists.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn partitions_done(
        &self,
        notifications: &[NotificationId],
    ) -> Result<Vec<(NotificationId, u32)>, StorageError> {
        let ids: Vec<i64> = notifications.iter().map(|id| id.0).collect();
        let pipeline = vec![
            doc! { "$match": {
                "state": DONE, "notification_id": { "$in": ids }, "buckets": { "$exists": true },
            } },
            doc! { "$group": { "_id": "$notification_id", "done": { "$sum": 1_i64 } } },
        ];
        let mut cursor = self.collection.aggregate(pipeline).await?;
        let mut found = Vec::new();
        while let Some(row) = cursor.try_next().await? {
            if let (Ok(id), Ok(done)) = (row.get_i64("_id"), row.get_i64("done")) {
                found.push((NotificationId(id), u32::try_from(done).unwrap_or(u32::MAX)));
            }
        }
        Ok(found)
    }

    /// Lets the units of a settled campaign expire at `at`.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn expire(&self, notification: NotificationId, at: DateTime<Utc>) -> Result<(), StorageError> {
        self.collection
            .update_many(
                doc! { "notification_id": notification.0 },
                doc! { "$set": { "expire_at": stored(at) } },
            )
            .await?;
        Ok(())
    }

    fn fenced(&self, matched: u64) -> Result<Result<(), Fenced>, StorageError> {
        Ok(if matched == 1 { Ok(()) } else { Err(Fenced) })
    }
}

/// A time before every campaign: due from the start.
const EPOCH_START: bson::DateTime = bson::DateTime::from_millis(0);

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The filter that fences: this unit, still held under this lease.
fn held(unit: &Unit) -> Document {
    doc! { "_id": unit.id.as_str(), "lease.owner": &unit.owner, "lease.epoch": unit.epoch }
}

impl LeaseDocument {
    fn free() -> Self {
        Self {
            owner: String::new(),
            epoch: 0,
            expires_at: EPOCH_START,
        }
    }
}

impl UnitDocument {
    fn read(self) -> Result<Unit, StorageError> {
        let id = self.id;
        let corrupt = |field: &'static str| StorageError::corrupt(COLLECTION, field, &id);
        let work = match (&self.buckets, &self.devices) {
            (Some(range), None) => Work::Partition(BucketRange {
                first: u16::try_from(range.first).map_err(|_| corrupt("buckets.first"))?,
                last: u16::try_from(range.last).map_err(|_| corrupt("buckets.last"))?,
            }),
            (None, Some(packed)) => {
                Work::Retry(packing::unpack_ids(&packed.bytes).ok_or_else(|| corrupt("devices"))?)
            }
            _ => return Err(corrupt("buckets")),
        };
        Ok(Unit {
            notification: NotificationId(self.notification_id),
            app: AppId(u16::try_from(self.app_id).map_err(|_| corrupt("app_id"))?),
            work,
            attempt: u32::try_from(self.attempt).map_err(|_| corrupt("attempt"))?,
            failing_since: self.failing_since.map(read),
            in_doubt: self.in_doubt,
            via: match self.via {
                Some(via) => Some(via.read().ok_or_else(|| corrupt("via"))?),
                None => None,
            },
            next_sequence: u32::try_from(self.next_sequence).map_err(|_| corrupt("next_sequence"))?,
            checkpoint: self.checkpoint,
            owner: self.lease.owner,
            epoch: self.lease.epoch,
            id: UnitId::from_stored(id),
        })
    }
}
