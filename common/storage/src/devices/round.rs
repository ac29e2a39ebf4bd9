//! One round of writes: changes of different devices of one app, claiming different tokens.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::device::{
    Device, DevicePlatform, Implausible, PushToken, Registration, SendPlatform, TokenChange, bucket,
    storage_id,
};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_domain::property::MAX_PROPERTIES_BYTES;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use subtle::ConstantTimeEq as _;

use crate::error::StorageError;
use crate::packing::binary;
use crate::time::stored;

use super::bulk_update::bulk_update;
use super::documents::{Reader, fields, read_device, set_app_version, token_hash, value_as_bson};
use super::write::{Change, Guard, SecretHash, Step, WriteError, Writer, Written, send_platform_of};

/// A token of a provider: what the unique index is over.
type TokenKey = (SendPlatform, [u8; 32]);

/// What a round needs to know of a device that is there.
struct Found {
    object_id: ObjectId,
    send_platform: SendPlatform,
    push_token: Option<PushToken>,
    token_hash: Option<[u8; 32]>,
    secret_hash: Option<[u8; 32]>,
    properties_bytes: i64,
}

/// What is to be done about one change.
enum Plan {
    Answer(WriteError),
    Insert(Document),
    /// An earlier try of this very change has inserted the device, and failed at a later step.
    Inserted(ObjectId),
    /// The update is `None` when nothing changes and only the device is wanted.
    Update(ObjectId, Option<Document>),
}

pub(super) struct Round<'a> {
    writer: &'a Writer,
    app: AppId,
    now: DateTime<Utc>,
}

impl<'a> Round<'a> {
    pub(super) fn new(writer: &'a Writer, app: AppId, now: DateTime<Utc>) -> Self {
        Self { writer, app, now }
    }

    pub(super) async fn run(&self, changes: &[&Change]) -> Result<Vec<Step>, StorageError> {
        let found = self.find(changes).await?;
        let mut claims: HashMap<TokenKey, Option<ObjectId>> = HashMap::new();
        let is_new = |change: &&&Change| {
            change.registration.is_some() && !found.contains_key(change.external_id.as_str())
        };
        let new = changes.iter().filter(is_new).count();
        let mut ids = self.writer.ids.next_many(self.app, new).await?.into_iter();
        let plans: Vec<Plan> = changes
            .iter()
            .map(|change| {
                let (plan, claim) = match found.get(change.external_id.as_str()) {
                    Some(found) => self.plan_update(change, found),
                    None => self.plan_insert(change, &mut ids),
                };
                if let Some(key) = claim {
                    let owner = match &plan {
                        Plan::Update(object_id, _) => Some(*object_id),
                        _ => None,
                    };
                    claims.insert(key, owner);
                }
                plan
            })
            .collect();
        self.release(&claims).await?;
        let collided = self.apply(&plans).await?;
        let mut devices = self.read_back(changes, &plans).await?;

        let answers = plans.into_iter().enumerate().map(|(index, plan)| match plan {
            Plan::Answer(error) => Ok(Step::Done(Err(error))),
            _ if collided.contains(&index) => Ok(Step::Collided),
            Plan::Insert(document) => {
                let document = RawDocumentBuf::try_from(&document).map_err(StorageError::encode)?;
                Ok(Step::Done(Ok(Written {
                    device: read_device(&document)?,
                    created: true,
                })))
            }
            Plan::Inserted(object_id) => Ok(match devices.remove(&object_id) {
                Some((device, secret)) if is_ours(changes[index], secret) => Step::Done(Ok(Written {
                    device,
                    created: true,
                })),
                _ => Step::Collided,
            }),
            // Deleted, or given another secret, since it was found: look again.
            Plan::Update(object_id, _) => Ok(match devices.remove(&object_id) {
                Some((device, secret)) if shows(changes[index].guard, secret) => Step::Done(Ok(Written {
                    device,
                    created: false,
                })),
                _ => Step::Collided,
            }),
        });
        answers.collect()
    }

    async fn find(&self, changes: &[&Change]) -> Result<HashMap<String, Found>, StorageError> {
        let names: Vec<&str> = changes.iter().map(|change| change.external_id.as_str()).collect();
        let filter = doc! { fields::APP_ID: i32::from(self.app.0), fields::EXTERNAL_ID: { "$in": names } };
        let projection = doc! {
            fields::EXTERNAL_ID: 1, fields::SEND_PLATFORM: 1, fields::PUSH_TOKEN: 1, fields::TOKEN_HASH: 1,
            fields::SECRET_HASH: 1,
            "properties_bytes": { "$bsonSize": format!("${}", fields::PROPERTIES) },
        };
        let mut cursor = self.writer.collection.find(filter).projection(projection).await?;
        let mut found = HashMap::new();
        while cursor.advance().await? {
            let document = cursor.current();
            let reader = Reader::new(document)?;
            let name = document
                .get_str(fields::EXTERNAL_ID)
                .map_err(|_| reader.corrupt(fields::EXTERNAL_ID))?;
            let device = Found {
                object_id: document.get_object_id("_id").map_err(|_| reader.corrupt("_id"))?,
                send_platform: reader.required(
                    fields::SEND_PLATFORM,
                    SendPlatform::from_number(reader.number(fields::SEND_PLATFORM)?),
                )?,
                push_token: reader.optional(fields::PUSH_TOKEN, |text| PushToken::new(text).ok())?,
                token_hash: reader.hash(fields::TOKEN_HASH)?,
                secret_hash: reader.hash(fields::SECRET_HASH)?,
                properties_bytes: reader.number("properties_bytes")?,
            };
            found.insert(name.to_owned(), device);
        }
        Ok(found)
    }

    fn plan_insert(
        &self,
        change: &Change,
        ids: &mut impl Iterator<Item = DeviceId>,
    ) -> (Plan, Option<TokenKey>) {
        let with_id = change
            .registration
            .as_ref()
            .and_then(|registration| Some((registration, ids.next()?)));
        let Some((registration, id)) = with_id else {
            return (Plan::Answer(WriteError::UnknownDevice), None);
        };
        let now = stored(self.now);
        let send_platform = send_platform_of(registration, SendPlatform::Unknown);
        let device_platform = registration.device_platform.unwrap_or(DevicePlatform::Unknown);
        let mut properties = Document::new();
        for (key, value) in change.properties.iter() {
            if let Some(value) = value {
                properties.insert(key.as_str(), value_as_bson(value));
            }
        }
        let mut document = doc! {
            "_id": ObjectId::from_bytes(storage_id(self.app, id)),
            fields::APP_ID: i32::from(self.app.0),
            fields::ID: i64::try_from(id.0).unwrap_or(i64::MAX),
            fields::EXTERNAL_ID: change.external_id.as_str(),
            fields::SEND_PLATFORM: i32::from(send_platform.number()),
            fields::DEVICE_PLATFORM: i32::from(device_platform.number()),
            fields::RANDOM_BUCKET: i32::from(bucket(id)),
            fields::PROPERTIES: properties,
            fields::LAST_SEEN_AT: now,
            fields::CREATED_AT: now,
            fields::MODIFIED_AT: now,
        };
        set_told(registration, &mut document, &mut Document::new());
        let mut claim = None;
        if let TokenChange::Set(token) = &registration.push_token {
            let hash = token_hash(token);
            self.set_token(token, hash, &mut document);
            claim = Some((send_platform, hash));
        }
        if let Some(secret) = change.secret_of_new {
            document.insert(fields::SECRET_HASH, binary(secret.to_vec()));
        }
        (Plan::Insert(document), claim)
    }

    fn plan_update(&self, change: &Change, found: &Found) -> (Plan, Option<TokenKey>) {
        // The whole device was in that insert; what others have changed since came later, and stays.
        if is_ours(change, found.secret_hash) {
            return (Plan::Inserted(found.object_id), None);
        }
        if !shows(change.guard, found.secret_hash) {
            return (Plan::Answer(WriteError::WrongSecret), None);
        }
        if let Some(fault) = change.registration.as_ref().and_then(|told| misfit(told, found)) {
            return (Plan::Answer(WriteError::Implausible(fault)), None);
        }
        let sets_properties = change.properties.iter().any(|(_, value)| value.is_some());
        if sets_properties && found.properties_bytes > MAX_PROPERTIES_BYTES as i64 {
            return (Plan::Answer(WriteError::PropertiesFull), None);
        }
        let (mut set, mut unset) = (Document::new(), Document::new());
        for (key, value) in change.properties.iter() {
            let path = format!("{}.{key}", fields::PROPERTIES);
            match value {
                Some(value) => set.insert(path, value_as_bson(value)),
                None => unset.insert(path, ""),
            };
        }
        let mut claim = None;
        if let Some(registration) = &change.registration {
            claim = self.register_again(registration, found, &mut set, &mut unset);
        }
        if set.is_empty() && unset.is_empty() {
            return (Plan::Update(found.object_id, None), None);
        }
        set.insert(fields::MODIFIED_AT, stored(self.now));
        let mut update = doc! { "$set": set };
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        // The secret that was shown must still be the device's when the update arrives.
        let mut filter = doc! { "_id": found.object_id };
        if let Guard::Secret(Some(secret)) = change.guard {
            filter.insert(fields::SECRET_HASH, doc! { "$eq": binary(secret.to_vec()) });
        }
        (
            Plan::Update(found.object_id, Some(doc! { "q": filter, "u": update })),
            claim,
        )
    }

    fn register_again(
        &self,
        registration: &Registration,
        found: &Found,
        set: &mut Document,
        unset: &mut Document,
    ) -> Option<TokenKey> {
        let now = stored(self.now);
        let send_platform = send_platform_of(registration, found.send_platform);
        set.insert(fields::LAST_SEEN_AT, now);
        set.insert(fields::SEND_PLATFORM, i32::from(send_platform.number()));
        if let Some(platform) = registration.device_platform {
            set.insert(fields::DEVICE_PLATFORM, i32::from(platform.number()));
        }
        set_told(registration, set, unset);
        match &registration.push_token {
            TokenChange::Clear => {
                unset.extend(fields::OF_A_TOKEN.map(|field| (field.to_owned(), "".into())));
                None
            }
            TokenChange::Keep => {
                // The same token at another provider is another claim.
                let hash = found
                    .token_hash
                    .filter(|_| send_platform != found.send_platform)?;
                Some((send_platform, hash))
            }
            TokenChange::Set(token) => {
                let hash = token_hash(token);
                unset.insert(fields::TOKEN_REASON, "");
                // Also when it is the same token: a verdict of before must not bury it after this.
                self.set_token(token, hash, set);
                let has_it = found.token_hash == Some(hash) && found.send_platform == send_platform;
                (!has_it).then_some((send_platform, hash))
            }
        }
    }

    fn set_token(&self, token: &PushToken, hash: [u8; 32], set: &mut Document) {
        set.insert(fields::PUSH_TOKEN, token.as_str());
        set.insert(fields::TOKEN_HASH, binary(hash.to_vec()));
        set.insert(fields::TOKEN_STATE, fields::TOKEN_ACTIVE);
        set.insert(fields::TOKEN_REGISTERED_AT, stored(self.now));
    }

    /// Takes claimed tokens from the devices that have them.
    async fn release(&self, claims: &HashMap<TokenKey, Option<ObjectId>>) -> Result<(), StorageError> {
        let mut owners: Vec<Document> = Vec::new();
        for platform in SendPlatform::ALL {
            let hashes: Vec<_> = claims
                .keys()
                .filter(|(claimed, _)| claimed == platform)
                .map(|(_, hash)| binary(hash.to_vec()))
                .collect();
            if !hashes.is_empty() {
                owners.push(doc! {
                    fields::APP_ID: i32::from(self.app.0),
                    fields::SEND_PLATFORM: i32::from(platform.number()),
                    fields::TOKEN_HASH: { "$in": hashes },
                });
            }
        }
        if owners.is_empty() {
            return Ok(());
        }
        let projection = doc! { fields::SEND_PLATFORM: 1, fields::TOKEN_HASH: 1 };
        let mut cursor = self
            .writer
            .collection
            .find(doc! { "$or": owners })
            .projection(projection)
            .await?;
        let mut unset = Document::new();
        unset.extend(fields::OF_A_TOKEN.map(|field| (field.to_owned(), "".into())));
        let update = doc! { "$unset": unset, "$set": { fields::MODIFIED_AT: stored(self.now) } };
        let mut releases = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            let reader = Reader::new(&document)?;
            let object_id = document.get_object_id("_id").map_err(|_| reader.corrupt("_id"))?;
            let platform: i64 = reader.number(fields::SEND_PLATFORM)?;
            let Some(hash) = reader.hash(fields::TOKEN_HASH)? else {
                continue;
            };
            let key = SendPlatform::from_number(platform).map(|platform| (platform, hash));
            let new_owner = key.and_then(|key| claims.get(&key)).copied().flatten();
            if new_owner != Some(object_id) {
                let filter = doc! { "_id": object_id, fields::TOKEN_HASH: { "$eq": binary(hash.to_vec()) } };
                releases.push(doc! { "q": filter, "u": update.clone() });
            }
        }
        bulk_update(&self.writer.store, &releases).await?;
        Ok(())
    }

    /// Inserts and updates; returns the indexes of plans that met a unique key of another process.
    async fn apply(&self, plans: &[Plan]) -> Result<HashSet<usize>, StorageError> {
        let (mut inserts, mut updates) = (Vec::new(), Vec::new());
        for (index, plan) in plans.iter().enumerate() {
            match plan {
                Plan::Insert(document) => {
                    let document = RawDocumentBuf::try_from(document).map_err(StorageError::encode)?;
                    inserts.push((index, document));
                }
                Plan::Update(_, Some(update)) => updates.push((index, update.clone())),
                _ => {}
            }
        }
        let mut collided = HashSet::new();
        // Updates first: a device that changes tokens frees its old one for another of the same round.
        if !updates.is_empty() {
            let (indexes, statements): (Vec<_>, Vec<_>) = updates.into_iter().unzip();
            for position in bulk_update(&self.writer.store, &statements).await? {
                collided.extend(indexes.get(position));
            }
        }
        if !inserts.is_empty() {
            let (indexes, documents): (Vec<_>, Vec<_>) = inserts.into_iter().unzip();
            match self.writer.collection.insert_many(documents).ordered(false).await {
                Ok(_) => {}
                Err(error) if crate::error::is_duplicate_key(&error) => {
                    if let ErrorKind::InsertMany(ref failure) = *error.kind {
                        let errors = failure.write_errors.iter().flatten();
                        collided.extend(errors.filter_map(|error| indexes.get(error.index)));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(collided)
    }

    /// By name, not by `_id`: MongoDB 6 answers `$in` over a clustered `_id` with a scan of everything.
    async fn read_back(
        &self,
        changes: &[&Change],
        plans: &[Plan],
    ) -> Result<HashMap<ObjectId, (Device, Option<SecretHash>)>, StorageError> {
        let updated = changes
            .iter()
            .zip(plans)
            .filter(|(_, plan)| matches!(plan, Plan::Update(..) | Plan::Inserted(_)));
        let names: Vec<&str> = updated.map(|(change, _)| change.external_id.as_str()).collect();
        let mut devices = HashMap::new();
        if names.is_empty() {
            return Ok(devices);
        }
        let filter = doc! { fields::APP_ID: i32::from(self.app.0), fields::EXTERNAL_ID: { "$in": names } };
        let mut cursor = self.writer.collection.find(filter).await?;
        while cursor.advance().await? {
            let device = read_device(cursor.current())?;
            let secret = Reader::new(cursor.current())?.hash(fields::SECRET_HASH)?;
            devices.insert(ObjectId::from_bytes(device.storage_id()), (device, secret));
        }
        Ok(devices)
    }
}

/// What is wrong when a token and its provider meet, one told and the other stored. Told together, they
/// were looked at before.
fn misfit(told: &Registration, found: &Found) -> Option<Implausible> {
    match (&told.push_token, told.send_platform) {
        (TokenChange::Set(token), None) => token.suits(found.send_platform).err(),
        (TokenChange::Keep, Some(platform)) if platform != found.send_platform => {
            let fault = found.push_token.as_ref()?.suits(platform).err();
            fault.map(|_| Implausible::Provider)
        }
        _ => None,
    }
}

/// Whether the device of that secret was made by this very change: nobody else has its fresh secret.
fn is_ours(change: &Change, stored: Option<SecretHash>) -> bool {
    stored.is_some() && stored == change.secret_of_new
}

/// Whether a guard lets its change touch a device of that secret.
fn shows(guard: Guard, stored: Option<SecretHash>) -> bool {
    match (guard, stored) {
        (Guard::Anyone, _) => true,
        (Guard::Secret(Some(shown)), Some(stored)) => shown.ct_eq(&stored).into(),
        (Guard::Secret(_), _) => false,
    }
}

/// The optional texts that a registration told.
fn set_told(registration: &Registration, set: &mut Document, unset: &mut Document) {
    if let Some(locale) = &registration.locale {
        set.insert(fields::LOCALE, locale.as_str());
    }
    if let Some(time_zone) = &registration.time_zone {
        set.insert(fields::TIME_ZONE, time_zone.as_str());
    }
    if let Some(version) = &registration.app_version {
        set_app_version(version, set, unset);
    }
}
