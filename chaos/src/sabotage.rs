//! Breaking the database behind jraze's back, to see that the judge says so.
//!
//! While the planner stands between the partitions and the launch, one of them is spoiled. A judge that acquits
//! such a campaign is no judge.

use std::time::Duration;

use anyhow::{Result, bail};
use mongodb::Database;
use mongodb::bson::doc;

use crate::oracle::outcomes::collection;

/// What is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A partition is marked as done before anybody sent it: its devices are lost.
    SkipPartition,
    /// A partition is there twice: its devices are sent to twice.
    DoublePartition,
}

impl Sabotage {
    pub(crate) const ALL: [Self; 2] = [Self::SkipPartition, Self::DoublePartition];

    /// The beginning of what the judge has to say.
    pub(crate) fn verdict(self) -> &'static str {
        match self {
            Self::SkipPartition => "lost",
            Self::DoublePartition => "repeated requests",
        }
    }

    /// Waits for fresh partitions and spoils one.
    pub(crate) async fn commit(self, database: Database) -> Result<()> {
        let units = collection(&database, "dispatch_units");
        let fresh = doc! { "state": "ready", "lease.epoch": 0_i64, "next_sequence": 0 };
        for _ in 0..600 {
            let Some(mut unit) = units.find_one(fresh.clone()).await? else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let id = unit.get_str("_id")?.to_owned();
            match self {
                Self::SkipPartition => {
                    units
                        .update_one(doc! { "_id": id }, doc! { "$set": { "state": "done" } })
                        .await?;
                }
                Self::DoublePartition => {
                    unit.insert("_id", format!("{id}9"));
                    units.insert_one(unit).await?;
                }
            }
            return Ok(());
        }
        bail!("no fresh partition to spoil")
    }
}
