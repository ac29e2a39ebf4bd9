//! One round of writes: changes of different devices of one app, claiming different tokens.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::device::{Implausible, PushToken, Registration, SendPlatform, TokenChange};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_domain::property::MAX_PROPERTIES_BYTES;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use subtle::ConstantTimeEq as _;

use crate::error::StorageError;
use crate::packing;
use crate::time::stored;

use super::bulk_write::{bulk_insert, bulk_update, statement};
use super::documents::{Reader, TokenHash, fields};
use super::insert::new_device;
use super::set::{Fields, binary, forgets_version_key, set_token, set_told};
use super::write::{Change, Guard, Made, SecretHash, Step, Wanted, WriteError, Writer, send_platform_of};

/// A token of a provider: what the unique index is over.
type TokenKey = (SendPlatform, TokenHash);

/// What a round needs to know of a device that is there.
struct Found {
    object_id: ObjectId,
    send_platform: SendPlatform,
    push_token: Option<PushToken>,
    token_hash: Option<TokenHash>,
    secret_hash: Option<SecretHash>,
    properties_bytes: i64,
}

/// What is to be done about one change.
enum Plan {
    Answer(WriteError),
    Insert(RawDocumentBuf),
    /// An earlier try of this very change has inserted the device, and failed at a later step.
    Inserted(ObjectId),
    /// The update is `None` when nothing changes and only the device is wanted.
    Update(ObjectId, Option<RawDocumentBuf>),
}

/// How a round goes about it. The result is the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Approach {
    /// Most of the devices are not there yet, so inserting comes before looking. Where that is wrong, the
    /// server looks at each of them twice.
    pub(super) expects_new: bool,
    /// The callers want to see the devices that were there, as they are after the change.
    pub(super) shows_devices: bool,
}

pub(super) struct Round<'a> {
    writer: &'a Writer,
    app: AppId,
    now: DateTime<Utc>,
    approach: Approach,
}

impl<'a> Round<'a> {
    pub(super) fn new(writer: &'a Writer, app: AppId, now: DateTime<Utc>, approach: Approach) -> Self {
        Self {
            writer,
            app,
            now,
            approach,
        }
    }

    pub(super) async fn run(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Step>, StorageError> {
        if !self.approach.expects_new || wanted.iter().any(Wanted::claims_untold) {
            return self.look_first(wanted).await;
        }
        let registrations = |wanted: &Wanted<'_>| wanted.change.registration.is_some();
        let new = wanted.iter().filter(|wanted| registrations(wanted)).count();
        let mut ids = self.writer.ids.next_many(self.app, new).await?.into_iter();
        let mut made: Vec<Option<RawDocumentBuf>> = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            made.push(match self.plan_insert(wanted, &mut ids)? {
                Plan::Insert(document) => Some(document),
                _ => None,
            });
        }
        let inserted = made.iter().enumerate().filter(|(_, document)| document.is_some());
        let mut places: Vec<usize> = inserted.map(|(index, _)| index).collect();
        // In the order in which they lie on disk, which is not that of their numbers.
        places.sort_unstable_by_key(|place| {
            let document = made.get(*place).and_then(Option::as_ref);
            document.and_then(|document| document.get_object_id("_id").ok())
        });
        let documents = places.iter().filter_map(|index| made[*index].as_ref());
        let outcome = bulk_insert(&self.writer.store, documents).await?;
        for position in outcome.collided {
            if let Some(place) = places.get(position) {
                made[*place] = None;
            }
        }
        // Known names, tokens of other devices, and what is no registration.
        let rest: Vec<Wanted<'_>> = wanted
            .iter()
            .zip(&made)
            .filter(|(_, made)| made.is_none())
            .map(|(wanted, _)| *wanted)
            .collect();
        let mut rest = if rest.is_empty() {
            Vec::new()
        } else {
            self.look_first(&rest).await?
        }
        .into_iter();
        let steps = made.into_iter().map(|made| match made {
            Some(document) => Some(Step::Done(Ok(Made::Created(document)))),
            None => rest.next(),
        });
        // As many are left over as were made none.
        Ok(steps.flatten().collect())
    }

    async fn look_first(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Step>, StorageError> {
        let found = self.find(wanted).await?;
        let mut claims: HashMap<TokenKey, Option<ObjectId>> = HashMap::new();
        let is_new = |wanted: &&Wanted<'_>| {
            wanted.change.registration.is_some() && !found.contains_key(wanted.change.external_id.as_str())
        };
        let new = wanted.iter().filter(is_new).count();
        let mut ids = self.writer.ids.next_many(self.app, new).await?.into_iter();
        let mut plans = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let (plan, claim) = match found.get(wanted.change.external_id.as_str()) {
                Some(found) => self.plan_update(wanted, found),
                None => {
                    let platform = wanted.change.registration.as_ref();
                    let platform = platform.map(|told| send_platform_of(told, SendPlatform::Unknown));
                    (self.plan_insert(wanted, &mut ids)?, platform.zip(wanted.token))
                }
            };
            if let Some(key) = claim {
                let owner = match &plan {
                    Plan::Update(object_id, _) => Some(*object_id),
                    _ => None,
                };
                claims.insert(key, owner);
            }
            plans.push(plan);
        }
        self.release(&claims).await?;
        let (collided, all_found) = self.apply(&plans).await?;
        let blind = all_found && !self.approach.shows_devices;
        let mut devices = if blind {
            HashMap::new()
        } else {
            self.read_back(wanted, &plans).await?
        };
        let mut shown = |object_id: ObjectId, is_it: &dyn Fn(Option<SecretHash>) -> bool| {
            let (device, secret) = devices.remove(&object_id)?;
            is_it(secret).then_some(device)
        };
        let steps = plans.into_iter().enumerate().map(|(index, plan)| {
            let change = wanted[index].change;
            match plan {
                Plan::Answer(error) => Step::Done(Err(error)),
                _ if collided.contains(&index) => Step::Collided,
                Plan::Insert(document) => Step::Done(Ok(Made::Created(document))),
                Plan::Inserted(object_id) => match shown(object_id, &|secret| is_ours(change, secret)) {
                    Some(device) => Step::Done(Ok(Made::Created(device))),
                    None => Step::Collided,
                },
                Plan::Update(..) if blind => Step::Done(Ok(Made::Changed(None))),
                // Deleted, or given another secret, since it was found: look again.
                Plan::Update(object_id, _) => match shown(object_id, &|secret| shows(change.guard, secret)) {
                    Some(device) => Step::Done(Ok(Made::Changed(Some(device)))),
                    None => Step::Collided,
                },
            }
        });
        Ok(steps.collect())
    }

    async fn find(&self, wanted: &[Wanted<'_>]) -> Result<HashMap<String, Found>, StorageError> {
        let names: Vec<&str> = wanted
            .iter()
            .map(|wanted| wanted.change.external_id.as_str())
            .collect();
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
        wanted: &Wanted<'_>,
        ids: &mut impl Iterator<Item = DeviceId>,
    ) -> Result<Plan, StorageError> {
        let registration = wanted.change.registration.as_ref();
        let Some((told, id)) = registration.and_then(|told| Some((told, ids.next()?))) else {
            return Ok(Plan::Answer(WriteError::UnknownDevice));
        };
        new_device(self.app, id, stored(self.now), wanted, told).map(Plan::Insert)
    }

    fn plan_update(&self, wanted: &Wanted<'_>, found: &Found) -> (Plan, Option<TokenKey>) {
        let change = wanted.change;
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
        self.plan_statement(wanted, found).map_or_else(
            |error| (Plan::Answer(error.into()), None),
            |(statement, claim)| (Plan::Update(found.object_id, statement), claim),
        )
    }

    /// The statement `{q, u}`, and the token that it claims; no statement when nothing changes.
    fn plan_statement(
        &self,
        wanted: &Wanted<'_>,
        found: &Found,
    ) -> Result<(Option<RawDocumentBuf>, Option<TokenKey>), StorageError> {
        let change = wanted.change;
        let (mut set, mut unset) = (Fields::new(), Fields::new());
        for (key, value) in change.properties.iter() {
            let path = format!("{}.{key}", fields::PROPERTIES);
            match value {
                Some(value) => set.put_value(&path, value)?,
                None => unset.put(&path, "")?,
            }
        }
        let mut claim = None;
        if let Some(registration) = &change.registration {
            claim = self.register_again(registration, wanted.claim(), found, &mut set, &mut unset)?;
        }
        if set.is_empty() && unset.is_empty() {
            return Ok((None, None));
        }
        set.put(fields::MODIFIED_AT, stored(self.now))?;
        let mut update = Fields::new();
        update.put("$set", set.done())?;
        if !unset.is_empty() {
            update.put("$unset", unset.done())?;
        }
        let mut query = Fields::new();
        query.put("_id", found.object_id)?;
        // The secret that was shown must still be the device's when the update arrives.
        if let Guard::Secret(Some(secret)) = &change.guard {
            query.put(fields::SECRET_HASH, binary(secret))?;
        }
        let mut statement = Fields::new();
        statement.put("q", query.done())?;
        statement.put("u", update.done())?;
        Ok((Some(statement.done()), claim))
    }

    fn register_again(
        &self,
        told: &Registration,
        claim: Option<(&PushToken, &TokenHash)>,
        found: &Found,
        set: &mut Fields,
        unset: &mut Fields,
    ) -> Result<Option<TokenKey>, StorageError> {
        let now = stored(self.now);
        let send_platform = send_platform_of(told, found.send_platform);
        set.put(fields::LAST_SEEN_AT, now)?;
        set.put(fields::SEND_PLATFORM, i32::from(send_platform.number()))?;
        if let Some(platform) = told.device_platform {
            set.put(fields::DEVICE_PLATFORM, i32::from(platform.number()))?;
        }
        set_told(told, set)?;
        if forgets_version_key(told) {
            unset.put(fields::APP_VERSION_KEY, "")?;
        }
        Ok(match (&told.push_token, claim) {
            (TokenChange::Clear, _) => {
                for field in fields::OF_A_TOKEN {
                    unset.put(field, "")?;
                }
                None
            }
            (_, Some((token, hash))) => {
                unset.put(fields::TOKEN_REASON, "")?;
                // Also when it is the same token: a verdict of before must not bury it after this.
                set_token(token, hash, now, set)?;
                let has_it = found.token_hash == Some(*hash) && found.send_platform == send_platform;
                (!has_it).then_some((send_platform, *hash))
            }
            // The same token at another provider is another claim.
            (_, None) => found
                .token_hash
                .filter(|_| send_platform != found.send_platform)
                .map(|hash| (send_platform, hash)),
        })
    }

    /// Takes claimed tokens from the devices that have them.
    async fn release(&self, claims: &HashMap<TokenKey, Option<ObjectId>>) -> Result<(), StorageError> {
        let mut owners: Vec<Document> = Vec::new();
        for platform in SendPlatform::ALL {
            let hashes: Vec<_> = claims
                .keys()
                .filter(|(claimed, _)| claimed == platform)
                .map(|(_, hash)| packing::binary(hash.to_vec()))
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
                let owner =
                    doc! { "_id": object_id, fields::TOKEN_HASH: { "$eq": packing::binary(hash.to_vec()) } };
                releases.push(statement(&owner, &update)?);
            }
        }
        bulk_update(&self.writer.store, releases.iter()).await?;
        Ok(())
    }

    /// Inserts and updates. Returns the indexes of plans that met a unique key of another process, and
    /// whether every other update found its device.
    async fn apply(&self, plans: &[Plan]) -> Result<(HashSet<usize>, bool), StorageError> {
        let (mut inserts, mut updates) = (Vec::new(), Vec::new());
        let mut all_found = true;
        for (index, plan) in plans.iter().enumerate() {
            match plan {
                Plan::Insert(document) => inserts.push((index, document)),
                Plan::Update(_, Some(update)) => updates.push((index, update)),
                Plan::Update(_, None) | Plan::Answer(_) => {}
                // Only a look at its secret tells whether it is still the one.
                Plan::Inserted(_) => all_found = false,
            }
        }
        let mut collided = HashSet::new();
        // Updates first: a device that changes tokens frees its old one for another of the same round.
        if !updates.is_empty() {
            let statements = updates.iter().map(|(_, statement)| *statement);
            let outcome = bulk_update(&self.writer.store, statements).await?;
            all_found &= outcome.matched + outcome.collided.len() == updates.len();
            let indexes = outcome.collided.into_iter().filter_map(|at| updates.get(at));
            collided.extend(indexes.map(|(index, _)| *index));
        }
        if !inserts.is_empty() {
            let documents = inserts.iter().map(|(_, document)| *document);
            let outcome = bulk_insert(&self.writer.store, documents).await?;
            let indexes = outcome.collided.into_iter().filter_map(|at| inserts.get(at));
            collided.extend(indexes.map(|(index, _)| *index));
        }
        Ok((collided, all_found))
    }

    /// By name, not by `_id`: MongoDB 6 answers `$in` over a clustered `_id` with a scan of everything.
    async fn read_back(
        &self,
        wanted: &[Wanted<'_>],
        plans: &[Plan],
    ) -> Result<HashMap<ObjectId, (RawDocumentBuf, Option<SecretHash>)>, StorageError> {
        let updated = wanted
            .iter()
            .zip(plans)
            .filter(|(_, plan)| matches!(plan, Plan::Update(..) | Plan::Inserted(_)));
        let names: Vec<&str> = updated
            .map(|(wanted, _)| wanted.change.external_id.as_str())
            .collect();
        let mut devices = HashMap::with_capacity(names.len());
        if names.is_empty() {
            return Ok(devices);
        }
        let filter = doc! { fields::APP_ID: i32::from(self.app.0), fields::EXTERNAL_ID: { "$in": names } };
        let mut cursor = self.writer.collection.find(filter).await?;
        while cursor.advance().await? {
            let device = cursor.current();
            let reader = Reader::new(device)?;
            let object_id = device.get_object_id("_id").map_err(|_| reader.corrupt("_id"))?;
            devices.insert(object_id, (device.to_owned(), reader.hash(fields::SECRET_HASH)?));
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
