//! What the windows of a campaign say about tokens, asked once when it closes.
//!
//! A token that its provider calls dead stays in the window until then: only the whole campaign shows
//! whether so many are believable (`jraze_domain::dispatch::brake`).

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use jraze_domain::device::SendPlatform;
use jraze_domain::ids::{NotificationId, WindowId};
use mongodb::bson::{Document, doc};

use super::windows::{COLLECTION, GoneToken, Windows};
use crate::error::StorageError;

/// What one provider answered to a campaign, over all its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Which provider.
    pub by: SendPlatform,
    /// Answers about a message or a token.
    pub answers: u64,
    /// Those that call the token dead.
    pub dead: u64,
}

/// The dead tokens of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadOf {
    /// Which window; where to go on.
    pub window: WindowId,
    /// Its dead tokens, with who called them so.
    pub tokens: Vec<(SendPlatform, GoneToken)>,
}

impl Windows {
    /// What each provider answered to a campaign.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn answered(&self, notification: NotificationId) -> Result<Vec<Answered>, StorageError> {
        let pipeline = vec![
            doc! { "$match": { "notification_id": notification.0, "answers": { "$exists": true } } },
            doc! { "$unwind": "$answers" },
            doc! { "$group": {
                "_id": "$answers.by",
                "answers": { "$sum": "$answers.answers" },
                "dead": { "$sum": "$answers.dead" },
            } },
        ];
        let mut cursor = self.documents().aggregate(pipeline).await?;
        let mut found = Vec::new();
        while let Some(row) = cursor.try_next().await? {
            found.push(
                answered(&row).ok_or_else(|| StorageError::corrupt(COLLECTION, "answers", notification.0))?,
            );
        }
        Ok(found)
    }

    /// The dead tokens of up to `limit` windows of a campaign, after the window `after`; in the order of
    /// their ids.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a document is corrupt.
    pub async fn dead(
        &self,
        notification: NotificationId,
        after: Option<&WindowId>,
        limit: i64,
    ) -> Result<Vec<DeadOf>, StorageError> {
        // All ids of a campaign's windows begin with its number and a colon, which a semicolon follows: without
        // both bounds the sort by id would walk the windows of other campaigns.
        let from = after.map_or_else(|| format!("{notification}:"), |after| after.to_string());
        let ids = doc! { "$gt": from, "$lt": format!("{notification};") };
        let filter = doc! { "_id": ids, "notification_id": notification.0, "gone": { "$exists": true } };
        let found = self.documents().find(filter).sort(doc! { "_id": 1 }).limit(limit);
        let mut cursor = found.await?;
        let mut dead = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            let window = document.read()?;
            let by: HashMap<_, _> = window
                .devices
                .iter()
                .map(|device| (device.id, device.send_platform))
                .collect();
            let tokens = window
                .gone
                .into_iter()
                .filter_map(|gone| Some((*by.get(&gone.device)?, gone)))
                .collect();
            dead.push(DeadOf {
                window: window.id,
                tokens,
            });
        }
        Ok(dead)
    }
}

fn answered(row: &Document) -> Option<Answered> {
    let count = |name: &str| u64::try_from(row.get_i64(name).ok()?).ok();
    Some(Answered {
        by: SendPlatform::from_number(i64::from(row.get_i32("_id").ok()?))?,
        answers: count("answers")?,
        dead: count("dead")?,
    })
}
