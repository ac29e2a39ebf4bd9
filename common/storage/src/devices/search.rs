//! Finding devices by names, by a condition, or both, a page at a time.
//!
//! For people and tools that look at some devices. It counts, in parts side by side unless names say where to
//! look, and skips, which costs time in proportion to what it passes over: campaigns read audiences as a stream
//! instead.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::audience::Condition;
use jraze_domain::device::{Device, ExternalId};
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::AppId;
use mongodb::bson::{Document, doc};
use tokio::time::Instant;

use crate::audience_filter::{compile, id_range};
use crate::error::StorageError;

use super::Devices;
use super::count::count_apart;
use super::documents::{fields, read_device};

/// What devices can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderField {
    /// The sequential number.
    Id,
    /// The caller's name, byte by byte.
    ExternalId,
    /// The bucket.
    RandomBucket,
    /// First registration.
    CreatedAt,
    /// Last registration.
    LastSeenAt,
    /// Last change.
    ModifiedAt,
}

impl OrderField {
    /// Every field.
    pub const ALL: [Self; 6] = [
        Self::Id,
        Self::ExternalId,
        Self::RandomBucket,
        Self::CreatedAt,
        Self::LastSeenAt,
        Self::ModifiedAt,
    ];

    /// The name on the wire, which is that of the stored field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => fields::ID,
            Self::ExternalId => fields::EXTERNAL_ID,
            Self::RandomBucket => fields::RANDOM_BUCKET,
            Self::CreatedAt => fields::CREATED_AT,
            Self::LastSeenAt => fields::LAST_SEEN_AT,
            Self::ModifiedAt => fields::MODIFIED_AT,
        }
    }

    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// One key of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceOrder {
    /// By what.
    pub field: OrderField,
    /// Which way.
    pub direction: Direction,
}

impl DeviceOrder {
    /// Reads `id` or `-id`; `None` for a field that devices cannot be ordered by.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, direction) = match text.strip_prefix('-') {
            Some(name) => (name, Direction::Descending),
            None => (text, Direction::Ascending),
        };
        OrderField::from_name(name).map(|field| Self { field, direction })
    }
}

/// What to look for. Everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct DeviceSearch {
    /// Only devices of these names; an empty list finds nothing.
    pub external_ids: Option<Vec<ExternalId>>,
    /// Only devices that meet it.
    pub condition: Option<Condition>,
    /// First by the first key, and so on; storage order when there is none.
    pub order_bys: Vec<DeviceOrder>,
    /// Devices to pass over.
    pub start: u64,
    /// Devices to return at most, up to [`DeviceSearch::MAX_SIZE`].
    pub size: u32,
}

impl DeviceSearch {
    /// Most devices of one page.
    pub const MAX_SIZE: u32 = 1_000;
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePage {
    /// The devices of this page.
    pub devices: Vec<Device>,
    /// How many there are on all pages.
    pub total: u64,
}

impl Devices {
    /// One page of a search. `now` is what relative dates count from, `max_time` how long counting and
    /// reading may take each.
    ///
    /// # Errors
    /// [`StorageError::TimedOut`] when one took longer, other errors when the database does not answer.
    pub async fn search(
        &self,
        app: AppId,
        search: &DeviceSearch,
        now: DateTime<Utc>,
        max_time: Duration,
    ) -> Result<DevicePage, StorageError> {
        let condition = search.condition.as_ref();
        let filter = filter(app, search.external_ids.as_deref(), condition, now);
        let total = match &search.external_ids {
            Some(_) => {
                let count = self.collection.count_documents(filter.clone());
                count.max_time(max_time).await?
            }
            None => {
                let end = Instant::now() + max_time;
                let devices = self.ids.upper_bound(app).await?.0;
                let filter = condition_filter(condition, now);
                count_apart(&self.collection, app, devices, &filter, end).await?
            }
        };
        let size = search.size.min(DeviceSearch::MAX_SIZE);
        let mut devices = Vec::new();
        // A limit of zero means no limit to MongoDB.
        if size > 0 && search.start < total {
            let mut cursor = self
                .collection
                .find(filter)
                .sort(order(&search.order_bys))
                .skip(search.start)
                .limit(i64::from(size))
                .max_time(max_time)
                .await?;
            while cursor.advance().await? {
                devices.push(read_device(cursor.current())?);
            }
        }
        Ok(DevicePage { devices, total })
    }
}

fn filter(
    app: AppId,
    external_ids: Option<&[ExternalId]>,
    condition: Option<&Condition>,
    now: DateTime<Utc>,
) -> Document {
    let mut filter = match external_ids {
        Some(names) => {
            let names: Vec<&str> = names.iter().map(ExternalId::as_str).collect();
            doc! { fields::APP_ID: i32::from(app.0), fields::EXTERNAL_ID: { "$in": names } }
        }
        None => doc! { "_id": id_range(app, BucketRange::ALL, None) },
    };
    filter.extend(condition_filter(condition, now));
    filter
}

fn condition_filter(condition: Option<&Condition>, now: DateTime<Utc>) -> Document {
    let condition = condition
        .map(|condition| compile(condition, now))
        .unwrap_or_default();
    if condition.is_empty() {
        return condition;
    }
    doc! { "$and": [condition] }
}

/// Ends with the storage id, so that pages neither repeat nor skip equals.
fn order(keys: &[DeviceOrder]) -> Document {
    let mut order = Document::new();
    for key in keys {
        let direction = match key.direction {
            Direction::Ascending => 1,
            Direction::Descending => -1,
        };
        if !order.contains_key(key.field.name()) {
            order.insert(key.field.name(), direction);
        }
    }
    order.insert("_id", 1);
    order
}
