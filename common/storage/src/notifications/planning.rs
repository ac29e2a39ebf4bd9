//! What the planner does to a notification: claim it when it is due, then start or fail it.
//!
//! The claim is a lease by the database's clock. `epoch` grows with every claim and stands in the
//! filter of the write that ends it, so a planner that was paused past its lease changes nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Notification, Plan, Status};
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use crate::error::StorageError;
use crate::time::stored;

use super::Notifications;

/// A planner's hold on one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannerLease {
    epoch: i64,
}

/// A notification that is due, held by this planner.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// What is to be planned.
    pub notification: Notification,
    /// The hold.
    pub lease: PlannerLease,
}

impl Notifications {
    /// Claims one QUEUED notification whose time has come, by the database's clock.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn claim_due(&self, lease_for: Duration) -> Result<Option<Claimed>, StorageError> {
        let millis = i64::try_from(lease_for.as_millis()).unwrap_or(i64::MAX);
        let filter = doc! {
            "status": i32::from(Status::Queued.number()),
            "$expr": { "$and": [
                { "$lte": [{ "$ifNull": ["$scheduled_at", "$$NOW"] }, "$$NOW"] },
                { "$lte": [{ "$ifNull": ["$lease.expires_at", "$$NOW"] }, "$$NOW"] },
            ] },
        };
        let claim = vec![doc! { "$set": { "lease": {
            "epoch": { "$add": [{ "$ifNull": ["$lease.epoch", 0_i64] }, 1_i64] },
            "expires_at": { "$add": ["$$NOW", millis] },
        } } }];
        let claimed = self
            .collection
            .find_one_and_update(filter, claim)
            .sort(doc! { "scheduled_at": 1, "id": 1 })
            .return_document(ReturnDocument::After)
            .await?;
        claimed
            .map(|document| {
                let epoch = document.lease.as_ref().map_or(0, |lease| lease.epoch);
                Ok(Claimed {
                    notification: document.read()?,
                    lease: PlannerLease { epoch },
                })
            })
            .transpose()
    }

    /// Keeps the plan before any partition of it is written, so that whoever takes over after a crash
    /// writes the same partitions and not overlapping ones. `false` as for [`Self::start`].
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn freeze(&self, claimed: &Claimed, plan: Plan) -> Result<bool, StorageError> {
        let update = doc! { "$set": { "plan": plan_document(plan) } };
        Ok(self
            .collection
            .update_one(held(claimed), update)
            .await?
            .matched_count
            == 1)
    }

    /// QUEUED to LAUNCHED with its plan. `false` when the lease was lost or a person withdrew it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn start(
        &self,
        claimed: &Claimed,
        plan: Plan,
        now: DateTime<Utc>,
    ) -> Result<bool, StorageError> {
        let set = doc! {
            "status": i32::from(Status::Launched.number()),
            "modified_at": stored(now),
            "plan": plan_document(plan),
        };
        self.end_claim(claimed, set).await
    }

    /// QUEUED to ERROR with the stated reason. `false` as for [`Self::start`].
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn fail_claimed(
        &self,
        claimed: &Claimed,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StorageError> {
        let set = doc! {
            "status": i32::from(Status::Error.number()),
            "error": reason,
            "modified_at": stored(now),
            "finished_at": stored(now),
        };
        self.end_claim(claimed, set).await
    }

    async fn end_claim(&self, claimed: &Claimed, set: Document) -> Result<bool, StorageError> {
        let update = doc! { "$set": set, "$unset": { "lease.expires_at": "" }, "$inc": { "version": 1 } };
        Ok(self
            .collection
            .update_one(held(claimed), update)
            .await?
            .matched_count
            == 1)
    }
}

/// The filter that fences: still QUEUED, still held under this lease.
fn held(claimed: &Claimed) -> Document {
    doc! {
        "_id": claimed.notification.uuid.to_string(),
        "status": i32::from(Status::Queued.number()),
        "lease.epoch": claimed.lease.epoch,
    }
}

fn plan_document(plan: Plan) -> Document {
    doc! {
        "audience_upper_id": i64::try_from(plan.audience_upper_id).unwrap_or(i64::MAX),
        "evaluated_at": stored(plan.evaluated_at),
        "partitions": i32::try_from(plan.partitions).unwrap_or(i32::MAX),
    }
}
