//! Reading an audience: one cursor in storage order, some ten bytes of work per device.
//!
//! The cursor walks the clustered index from a checkpoint (never skip and limit), and carries
//! `hint({_id: 1})`, because a planner that finds another index usable would walk the whole collection
//! by it. Documents are read as raw BSON: what is needed is the `_id`, which holds the integer id, the
//! token, and two small numbers.
//!
//! A cursor that stood still for too long is closed by the server. The stream then opens a new one
//! behind the last device it gave, which is the same thing as going on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::audience::Condition;
use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform, bucket, id_of_storage_id, storage_id};
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::{AppId, DeviceId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use mongodb::options::Hint;
use mongodb::{Collection, Cursor};
use tokio::time::Instant;

use crate::Store;
use crate::audience_filter::{AudienceRange, audience, reachable};
use crate::counters::IdAllocator;
use crate::devices::count::{count_apart, left};
use crate::devices::{COLLECTION, fields};
use crate::error::StorageError;
use crate::indexed_properties::{IndexedProperties, NARROW, ways};

/// Devices fetched at once. Measured best between 5,000 and 10,000; ten thousand tokens are 2 MB.
const BATCH_SIZE: u32 = 5_000;

/// Buckets between two wanted devices that are sooner read through than asked around: with a million
/// devices a bucket holds a hundred, which takes as long as a tenth of a query.
const MAX_GAP: u16 = 8;

/// A device to send to, and nothing else about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub id: DeviceId,
    /// Its place in storage order: the checkpoint once it is done.
    pub object_id: ObjectId,
    /// Where to send.
    pub token: PushToken,
    /// Through whom.
    pub send_platform: SendPlatform,
    /// What it runs.
    pub device_platform: DevicePlatform,
}

/// The audiences of campaigns.
#[derive(Debug, Clone)]
pub struct Audiences {
    collection: Collection<RawDocumentBuf>,
    indexed: IndexedProperties,
    ids: IdAllocator,
}

impl Audiences {
    /// Over the store's devices.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
            indexed: IndexedProperties::new(store),
            ids: IdAllocator::new(store),
        }
    }

    /// Opens a stream of the devices in the range that meet the condition, in storage order.
    ///
    /// `now` is what relative dates count from: the time frozen in the plan, the same for each part.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn stream(
        &self,
        range: AudienceRange,
        condition: &Condition,
        now: DateTime<Utc>,
    ) -> Result<AudienceStream, StorageError> {
        let filter = audience(&range, condition, now);
        let cursor = open(&self.collection, filter.clone()).await?;
        Ok(AudienceStream {
            collection: self.collection.clone(),
            filter,
            cursor,
            last: None,
        })
    }

    /// How many devices a campaign launched now would reach: as many as [`Self::stream`] would give.
    ///
    /// # Errors
    /// [`StorageError::TimedOut`] when it takes longer than `max_time`, other errors when the database
    /// does not answer.
    pub async fn count(
        &self,
        app: AppId,
        condition: &Condition,
        now: DateTime<Utc>,
        max_time: Duration,
    ) -> Result<u64, StorageError> {
        let end = Instant::now() + max_time;
        let devices = self.ids.upper_bound(app).await?.0;
        if let Some(count) = self
            .count_by_index(app, condition, now, devices / NARROW, end)
            .await?
        {
            return Ok(count);
        }
        let filter = audience(&everything(app), condition, now);
        count_apart(&self.collection, app, devices, &filter, end).await
    }

    /// How many devices there are in the range that meet the condition.
    pub(crate) async fn count_range(
        &self,
        range: AudienceRange,
        condition: &Condition,
        now: DateTime<Utc>,
        max_time: Duration,
    ) -> Result<u64, StorageError> {
        let count = self
            .collection
            .count_documents(audience(&range, condition, now))
            .hint(Hint::Keys(doc! { "_id": 1 }))
            .max_time(max_time);
        Ok(count.await?)
    }

    /// The same by the index of a property, where there is one that finds `few` devices or less.
    async fn count_by_index(
        &self,
        app: AppId,
        condition: &Condition,
        now: DateTime<Utc>,
        few: u64,
        end: Instant,
    ) -> Result<Option<u64>, StorageError> {
        let indexed = self.indexed.list(app).await?;
        let ways = ways(app, condition, &indexed);
        if ways.is_empty() {
            return Ok(None);
        }
        for way in ways {
            let by_index = Hint::Name(way.index);
            let at_most = self
                .collection
                .count_documents(way.at_most)
                .hint(by_index.clone())
                .limit(few + 1)
                .max_time(left(end));
            // An index that is being built is listed and cannot be used.
            if !at_most.await.is_ok_and(|at_most| at_most <= few) {
                continue;
            }
            let filter = doc! { "$and": [way.within, audience(&everything(app), condition, now)] };
            let count = self.collection.count_documents(filter).hint(by_index);
            return Ok(Some(count.max_time(left(end)).await?));
        }
        Ok(None)
    }

    /// Those of the given devices that can be sent to, in storage order; for retries. A device that is
    /// gone, has lost its token since, or cannot be read, is left out.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn targets_by_ids(&self, app: AppId, ids: &[DeviceId]) -> Result<Vec<Target>, StorageError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable_by_key(|id| (bucket(*id), *id));
        let mut targets = Vec::with_capacity(ids.len());
        for run in ids.chunk_by(|left, right| bucket(*right) - bucket(*left) <= MAX_GAP) {
            let keys: Vec<_> = run
                .iter()
                .map(|id| ObjectId::from_bytes(storage_id(app, *id)))
                .collect();
            let mut filter = reachable();
            // The ends are what bounds the scan: MongoDB 6 answers `$in` alone over a clustered `_id`
            // by reading the whole collection.
            filter.insert(
                "_id",
                doc! { "$gte": keys.first(), "$lte": keys.last(), "$in": &keys },
            );
            let mut cursor = open(&self.collection, filter).await?;
            while cursor.advance().await? {
                targets.extend(target_or_report(cursor.current()));
            }
        }
        Ok(targets)
    }
}

fn everything(app: AppId) -> AudienceRange {
    AudienceRange {
        app,
        buckets: BucketRange::ALL,
        upper_id: DeviceId(u64::MAX),
        after: None,
    }
}

/// A position in an audience.
pub struct AudienceStream {
    collection: Collection<RawDocumentBuf>,
    filter: Document,
    cursor: Cursor<RawDocumentBuf>,
    last: Option<ObjectId>,
}

impl AudienceStream {
    /// The next device, or `None` when there is no other. One that cannot be read is reported in the log
    /// and passed over: whoever stopped at it would meet it again for ever.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the database does not answer: open a new stream behind the
    /// last checkpoint.
    pub async fn next(&mut self) -> Result<Option<Target>, StorageError> {
        loop {
            match self.cursor.advance().await {
                Ok(true) => {
                    if let Some(target) = target_or_report(self.cursor.current()) {
                        self.last = Some(target.object_id);
                        return Ok(Some(target));
                    }
                }
                Ok(false) => return Ok(None),
                Err(error) if is_closed(&error) => self.reopen().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Up to `most` devices; fewer only at the end.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_many(&mut self, most: usize) -> Result<Vec<Target>, StorageError> {
        let mut targets = Vec::with_capacity(most.min(BATCH_SIZE as usize));
        while targets.len() < most
            && let Some(target) = self.next().await?
        {
            targets.push(target);
        }
        Ok(targets)
    }

    async fn reopen(&mut self) -> Result<(), StorageError> {
        if let Some(last) = self.last
            && let Ok(ids) = self.filter.get_document_mut("_id")
        {
            ids.remove("$gte");
            ids.insert("$gt", last);
        }
        self.cursor = open(&self.collection, self.filter.clone()).await?;
        Ok(())
    }
}

async fn open(
    collection: &Collection<RawDocumentBuf>,
    filter: Document,
) -> Result<Cursor<RawDocumentBuf>, StorageError> {
    let projection = doc! { fields::PUSH_TOKEN: 1, fields::SEND_PLATFORM: 1, fields::DEVICE_PLATFORM: 1 };
    let cursor = collection
        .find(filter)
        .projection(projection)
        .hint(Hint::Keys(doc! { "_id": 1 }))
        .sort(doc! { "_id": 1 })
        .batch_size(BATCH_SIZE)
        .await?;
    Ok(cursor)
}

/// `CursorNotFound` and `CursorKilled`.
fn is_closed(error: &mongodb::error::Error) -> bool {
    matches!(*error.kind, ErrorKind::Command(ref error) if matches!(error.code, 43 | 237))
}

fn target_or_report(document: &RawDocument) -> Option<Target> {
    // The error names the storage id and the field, and nothing of what is in it.
    target(document)
        .inspect_err(|error| tracing::error!(%error, "a device cannot be read and is sent nothing"))
        .ok()
}

pub(crate) fn target(document: &RawDocument) -> Result<Target, StorageError> {
    let mut object_id = None;
    let (mut token, mut send_platform, mut device_platform) = (None, None, None);
    // One pass over four fields; look-ups by name would each start at the front.
    for field in document {
        let (name, value) = field.map_err(|_| {
            let id = object_id.map_or_else(|| "?".to_owned(), |id: ObjectId| id.to_hex());
            StorageError::corrupt(COLLECTION, "(any)", id)
        })?;
        match name.as_str() {
            "_id" => object_id = value.as_object_id(),
            fields::PUSH_TOKEN => token = value.as_str().and_then(|text| PushToken::new(text).ok()),
            fields::SEND_PLATFORM => {
                send_platform = value
                    .as_i32()
                    .and_then(|number| SendPlatform::from_number(number.into()));
            }
            fields::DEVICE_PLATFORM => {
                device_platform = value
                    .as_i32()
                    .and_then(|number| DevicePlatform::from_number(number.into()));
            }
            _ => {}
        }
    }
    let object_id = object_id.ok_or_else(|| StorageError::corrupt(COLLECTION, "_id", "?"))?;
    let corrupt = |field| move || StorageError::corrupt(COLLECTION, field, object_id);
    Ok(Target {
        id: id_of_storage_id(object_id.bytes()),
        object_id,
        token: token.ok_or_else(corrupt(fields::PUSH_TOKEN))?,
        send_platform: send_platform.ok_or_else(corrupt(fields::SEND_PLATFORM))?,
        device_platform: device_platform.ok_or_else(corrupt(fields::DEVICE_PLATFORM))?,
    })
}

#[cfg(test)]
mod tests {
    use jraze_domain::audience::Limits;
    use jraze_domain::device::{
        ExternalId, PropertyChanges, PropertyKey, PropertyValue, Registration, Scalar, TokenChange,
    };
    use jraze_domain::dispatch::BucketRange;
    use jraze_runtime::clock::{Clock as _, SystemClock};
    use serde_json::json;

    use super::*;
    use crate::devices::{Change, Devices};
    use crate::test_util::TestDatabase;

    const APP: AppId = AppId(1);

    #[tokio::test]
    async fn a_device_that_cannot_be_read_is_passed_over_and_the_audience_goes_on() {
        let database = TestDatabase::new().await;
        let now = SystemClock.now();
        let all = (1..=6).map(|index| {
            let external_id = ExternalId::new(format!("d{index}")).expect("a name");
            let token = PushToken::new(format!("t{index}")).expect("a token");
            Change::register(Registration {
                push_token: TokenChange::Set(token),
                send_platform: Some(SendPlatform::Fcm),
                device_platform: Some(DevicePlatform::Android),
                ..Registration::of(external_id)
            })
        });
        for outcome in Devices::new(&database).import(APP, all.collect(), now).await {
            outcome.expect("made");
        }
        let collection = database.collection::<Document>(COLLECTION);
        for (id, damage) in [
            (2_i64, doc! { fields::PUSH_TOKEN: 7 }),
            (3, doc! { fields::DEVICE_PLATFORM: 99 }),
            (5, doc! { fields::DEVICE_PLATFORM: "of tomorrow" }),
        ] {
            let which = doc! { fields::APP_ID: 1, fields::ID: id };
            let damaged = collection.update_one(which, doc! { "$set": damage }).await;
            assert_eq!(damaged.expect("damaged").modified_count, 1);
        }
        let numbers = |targets: Vec<Target>| {
            let mut numbers: Vec<u64> = targets.iter().map(|target| target.id.0).collect();
            numbers.sort_unstable();
            numbers
        };

        let audiences = Audiences::new(&database);
        let range = AudienceRange {
            app: APP,
            buckets: BucketRange::ALL,
            upper_id: DeviceId(u64::MAX),
            after: None,
        };
        let stream = audiences.stream(range, &Condition::everybody(), now).await;
        let streamed = stream.expect("opened").next_many(usize::MAX).await.expect("read");
        assert_eq!(numbers(streamed), [1, 4, 6]);
        let ids: Vec<DeviceId> = (1..=6).map(DeviceId).collect();
        let asked = audiences.targets_by_ids(APP, &ids).await.expect("read");
        assert_eq!(numbers(asked), [1, 4, 6]);
    }

    #[tokio::test]
    async fn a_narrow_count_goes_by_the_index_of_its_property_and_a_wide_one_does_not() {
        let database = TestDatabase::new().await;
        let now = SystemClock.now();
        let key = |text: &str| PropertyKey::new(text).expect("a key");
        let all = (0..1_500).map(|number| {
            // One is a list, which is no text: the index has it, and the audience has not.
            let plan = match number {
                7 => PropertyValue::List(vec![Scalar::Text("p7".into())]),
                _ => PropertyValue::Text(format!("p{}", number % 100)),
            };
            let external_id = ExternalId::new(format!("d{number}")).expect("a name");
            let token = PushToken::new(format!("t{number}")).expect("a token");
            let registration = Registration {
                push_token: TokenChange::Set(token),
                send_platform: Some(SendPlatform::Fcm),
                ..Registration::of(external_id)
            };
            let properties = [
                (key("plan"), Some(plan)),
                (key("n"), Some(PropertyValue::Int(number))),
            ];
            Change {
                properties: PropertyChanges::new(properties).expect("two"),
                ..Change::register(registration)
            }
        });
        for outcome in Devices::new(&database).import(APP, all.collect(), now).await {
            outcome.expect("made");
        }
        let indexed = IndexedProperties::new(&database);
        let audiences = Audiences::new(&database);
        let few = audiences.ids.upper_bound(APP).await.expect("counted").0 / NARROW;
        let count = async |tree: serde_json::Value| {
            let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
            let end = Instant::now() + Duration::from_secs(10);
            let by_index = audiences.count_by_index(APP, &condition, now, few, end);
            let by_index = by_index.await.expect("answers");
            let count = audiences.count(APP, &condition, now, Duration::from_secs(10));
            (by_index, count.await.expect("answers"))
        };
        let p7 = json!({"key": "plan", "operator": "str_eq", "value": "p7"});
        let first_half = json!({"key": "n", "operator": "int_lt", "value": 750});
        let both = json!({"join_type": "AND", "conditions": [&first_half, &p7]});
        assert_eq!(count(p7.clone()).await, (None, 14));
        for property in ["plan", "n"] {
            assert!(indexed.add(APP, &key(property)).await.expect("built"));
        }
        assert_eq!(count(p7).await, (Some(14), 14));
        assert_eq!(count(both).await, (Some(7), 7), "by the one that finds few");
        assert_eq!(count(first_half).await, (None, 750), "too many to be worth it");
        let three = json!({"key": "plan", "operator": "str_in", "value": ["p1", "p2", "p3"]});
        assert_eq!(count(three).await, (None, 45));
    }
}
