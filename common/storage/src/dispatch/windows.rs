//! Windows: what was claimed together, and what became of each device in it.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::device::{DevicePlatform, SendPlatform};
use jraze_domain::dispatch::brake::says_something;
use jraze_domain::dispatch::{Delivery, Reason, Tally, Tripped};
use jraze_domain::ids::{DeviceId, NotificationId, WindowId};
use mongodb::Collection;
use mongodb::bson::{self, Document, doc};

use crate::Store;
use crate::error::{StorageError, is_duplicate_key};
use crate::packing;
use crate::time::stored;

use super::units::{Fenced, Unit};
use super::window_document::{GoneDocument, ReasonDocument, WindowDocument};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "windows";

/// How far a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowState {
    /// Its devices may have been sent to; nothing is known yet.
    Claimed,
    /// Every device has its result.
    Recorded,
    /// Its sends are logged and its retries written.
    Settled,
    /// Its counts are in the totals.
    Folded,
}

impl WindowState {
    pub(super) const ALL: [Self; 4] = [Self::Claimed, Self::Recorded, Self::Settled, Self::Folded];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Recorded => "recorded",
            Self::Settled => "settled",
            Self::Folded => "folded",
        }
    }
}

/// One device of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedDevice {
    /// Which.
    pub id: DeviceId,
    /// What it is.
    pub device_platform: DevicePlatform,
    /// Who reaches it.
    pub send_platform: SendPlatform,
    /// What became of it.
    pub delivery: Delivery,
}

/// A window, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Which.
    pub id: WindowId,
    /// Its place in the unit, from 0.
    pub sequence: u32,
    /// Under which lease it was claimed or taken over.
    pub epoch: i64,
    /// How far it is.
    pub state: WindowState,
    /// A request about each of its devices may have been taken before: they are of a retry in doubt, or an
    /// earlier holder claimed the window and recorded nothing.
    pub in_doubt: bool,
    /// Its devices.
    pub devices: Vec<ClaimedDevice>,
    /// Tokens of it that the provider declared dead.
    pub gone: Vec<GoneToken>,
    /// Why deliveries ended without being accepted, in the provider's own words, and how many each.
    pub reasons: Vec<(Reason, u32)>,
    /// How long none of its deliveries may be tried again, because the provider said so.
    pub retry_after: Option<Duration>,
    /// The brake that its answers, or those before them, tripped: the campaign is to be stopped.
    pub brake: Option<Tripped>,
}

/// A token that its provider declared dead, to be taken out of audiences once the campaign is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneToken {
    /// Whose.
    pub device: DeviceId,
    /// Which token: a registration of another one is not touched.
    pub token_hash: [u8; 32],
    /// A registration after this is not touched either: the provider's own time of death, or when the
    /// request left.
    pub registered_before: DateTime<Utc>,
}

impl Window {
    /// The window that a holder of `unit` claims.
    pub fn claimed(unit: &Unit, sequence: u32, devices: Vec<ClaimedDevice>) -> Self {
        Window {
            id: WindowId::new(&unit.id, sequence),
            sequence,
            epoch: unit.epoch,
            state: WindowState::Claimed,
            in_doubt: unit.in_doubt,
            devices,
            gone: Vec::new(),
            reasons: Vec::new(),
            retry_after: None,
            brake: None,
        }
    }

    /// The ids of the devices that came to `delivery`.
    pub fn ids_with(&self, which: impl Fn(Delivery) -> bool) -> Vec<DeviceId> {
        self.devices
            .iter()
            .filter(|device| which(device.delivery))
            .map(|device| device.id)
            .collect()
    }

    /// What it adds to the totals.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for device in &self.devices {
            tally.add(device.device_platform, device.send_platform, device.delivery);
        }
        tally
    }
}

/// A settled window waiting to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which; also the batch id of its counts.
    pub id: WindowId,
    /// What it adds.
    pub tally: Tally,
    /// Why deliveries failed, and how many each.
    pub reasons: Vec<(Reason, u32)>,
    /// Why the campaign is to be stopped, if it is.
    pub brake: Option<Tripped>,
}

/// The repository of windows.
#[derive(Debug, Clone)]
pub struct Windows {
    collection: Collection<WindowDocument>,
}

impl Windows {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
        }
    }

    pub(super) fn documents(&self) -> &Collection<WindowDocument> {
        &self.collection
    }

    /// Inserts the next window of a unit. It is no claim before [`super::Units::advance`] says so.
    ///
    /// A window of the same id is there when an earlier holder of the unit inserted it and never claimed it:
    /// nothing of it was sent, and it is replaced. Or it is this holder's own, whose answer was lost.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; the inner error when a later holder's window
    /// stands there.
    pub async fn insert(
        &self,
        unit: &Unit,
        sequence: u32,
        devices: Vec<ClaimedDevice>,
    ) -> Result<Result<Window, Fenced>, StorageError> {
        let window = Window::claimed(unit, sequence, devices);
        let document = WindowDocument::of(&window, unit.app, unit.notification, &unit.id);
        let older = doc! { "_id": window.id.as_str(), "epoch": { "$lt": unit.epoch } };
        match self.collection.replace_one(older, document).upsert(true).await {
            Ok(_) => Ok(Ok(window)),
            // Ours, when an earlier answer was lost; or that of another holder.
            Err(error) if is_duplicate_key(&error) => {
                let ours = doc! {
                    "_id": window.id.as_str(),
                    "epoch": unit.epoch,
                    "state": WindowState::Claimed.name(),
                };
                let found = self.collection.find_one(ours).await?;
                Ok(found.map(|_| window).ok_or(Fenced))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The windows of a unit that an earlier holder left before they were settled, taken over under
    /// this unit's epoch so that the earlier holder can no longer write them.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a document is corrupt.
    pub async fn take_over(&self, unit: &Unit) -> Result<Vec<Window>, StorageError> {
        if unit.next_sequence == 0 {
            return Ok(Vec::new()); // nothing of it was ever claimed
        }
        let unsettled = doc! {
            "unit_id": unit.id.as_str(),
            "sequence": { "$lt": i32::try_from(unit.next_sequence).unwrap_or(i32::MAX) },
            "state": { "$in": [WindowState::Claimed.name(), WindowState::Recorded.name()] },
        };
        let mut older = unsettled.clone();
        older.insert("epoch", doc! { "$lt": unit.epoch });
        self.collection
            .update_many(older, doc! { "$set": { "epoch": unit.epoch } })
            .await?;
        let mut held = unsettled;
        held.insert("epoch", unit.epoch);
        let mut cursor = self.collection.find(held).sort(doc! { "sequence": 1 }).await?;
        let mut windows = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            windows.push(document.read()?);
        }
        Ok(windows)
    }

    /// Writes what became of every device.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; the inner error when the unit was taken over.
    pub async fn record(&self, window: &Window) -> Result<Result<(), Fenced>, StorageError> {
        let results = window
            .devices
            .iter()
            .map(|device| device.delivery.byte())
            .collect();
        let mut set = doc! { "results": packing::binary(results), "state": WindowState::Recorded.name() };
        let answers = answers(window);
        if !answers.is_empty() {
            set.insert("answers", answers);
        }
        if !window.gone.is_empty() {
            let gone: Vec<GoneDocument> = window.gone.iter().map(GoneDocument::from).collect();
            set.insert(
                "gone",
                bson::serialize_to_bson(&gone).map_err(StorageError::encode)?,
            );
        }
        if !window.reasons.is_empty() {
            let reasons: Vec<ReasonDocument> = window.reasons.iter().map(ReasonDocument::from).collect();
            let reasons = bson::serialize_to_bson(&reasons).map_err(StorageError::encode)?;
            set.insert("reasons", reasons);
        }
        if window.in_doubt {
            set.insert("in_doubt", true);
        }
        if let Some(wait) = window.retry_after {
            set.insert(
                "retry_after_ms",
                i64::try_from(wait.as_millis()).unwrap_or(i64::MAX),
            );
        }
        if let Some(Tripped { brake, message }) = &window.brake {
            set.insert("brake", doc! { "code": brake.code(), "message": message });
        }
        self.step(window, WindowState::Claimed, set).await
    }

    /// Its sends are logged and its retries written.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn settle(&self, window: &Window) -> Result<Result<(), Fenced>, StorageError> {
        self.step(
            window,
            WindowState::Recorded,
            doc! { "state": WindowState::Settled.name() },
        )
        .await
    }

    /// One step of a window's life. Taking it again after an answer was lost is no loss of the lease.
    async fn step(
        &self,
        window: &Window,
        from: WindowState,
        set: Document,
    ) -> Result<Result<(), Fenced>, StorageError> {
        let own = doc! { "_id": window.id.as_str(), "epoch": window.epoch };
        let mut before = own.clone();
        before.insert("state", from.name());
        let matched = self
            .collection
            .update_one(before, doc! { "$set": set })
            .await?
            .matched_count;
        if matched == 1 {
            return Ok(Ok(()));
        }
        let mut taken = own;
        let later: Vec<&str> = WindowState::ALL
            .iter()
            .filter(|state| **state > from)
            .map(|state| state.name())
            .collect();
        taken.insert("state", doc! { "$in": later });
        Ok(self.collection.find_one(taken).await?.map(drop).ok_or(Fenced))
    }

    /// Up to `limit` settled windows of a campaign whose counts are not in the totals yet.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a document is corrupt.
    pub async fn settled(
        &self,
        notification: NotificationId,
        limit: i64,
    ) -> Result<Vec<Settled>, StorageError> {
        let mut cursor = self
            .collection
            .find(settled_of(notification))
            .limit(limit)
            .await?;
        let mut settled = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            let window = document.read()?;
            settled.push(Settled {
                tally: window.tally(),
                id: window.id,
                reasons: window.reasons,
                brake: window.brake,
            });
        }
        Ok(settled)
    }

    /// The campaigns that have windows waiting to be counted, whatever state they are in.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn uncounted(&self) -> Result<Vec<NotificationId>, StorageError> {
        let filter = doc! { "state": WindowState::Settled.name() };
        let found = self.collection.distinct("notification_id", filter).await?;
        Ok(found
            .iter()
            .filter_map(bson::Bson::as_i64)
            .map(NotificationId)
            .collect())
    }

    /// The counts of these windows are in the totals.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn folded(&self, windows: &[Settled]) -> Result<(), StorageError> {
        let ids: Vec<&str> = windows.iter().map(|window| window.id.as_str()).collect();
        self.collection
            .update_many(
                doc! { "_id": { "$in": ids }, "state": WindowState::Settled.name() },
                doc! { "$set": { "state": WindowState::Folded.name() } },
            )
            .await?;
        Ok(())
    }

    /// Whether settled windows of a campaign wait to be counted.
    ///
    /// Asked after its last unit is done: by then every claimed window is settled, and one that is still
    /// `claimed` was never claimed by its unit (rule 2 of [`super`]) and counts for nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn any_settled(&self, notification: NotificationId) -> Result<bool, StorageError> {
        Ok(self
            .collection
            .find_one(settled_of(notification))
            .await?
            .is_some())
    }

    /// Lets the windows of a settled campaign expire at `at`.
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
}

/// What each provider answered in this window, summed up when the campaign closes. A device in doubt counts
/// as unknown, but an answer that calls its token dead is an answer all the same.
fn answers(window: &Window) -> Vec<Document> {
    let gone: HashSet<DeviceId> = window.gone.iter().map(|gone| gone.device).collect();
    let is_dead =
        |device: &ClaimedDevice| device.delivery == Delivery::Unregistered || gone.contains(&device.id);
    let counted = |by: &SendPlatform| {
        let of = |device: &&ClaimedDevice| {
            device.send_platform == *by && (says_something(device.delivery) || is_dead(device))
        };
        let answers = window.devices.iter().filter(of);
        let dead = answers.clone().filter(|device| is_dead(device));
        let (answers, dead) = (answers.count() as i64, dead.count() as i64);
        (answers > 0).then(|| doc! { "by": i32::from(by.number()), "answers": answers, "dead": dead })
    };
    SendPlatform::ALL.iter().filter_map(counted).collect()
}

fn settled_of(notification: NotificationId) -> Document {
    doc! { "notification_id": notification.0, "state": WindowState::Settled.name() }
}
