//! Where a unit's devices come from: a stretch of the audience, or the list of a retry.

use std::collections::HashMap;

use jraze_domain::audience::Condition;
use jraze_domain::campaign::Audience as Whom;
use jraze_domain::device::{DevicePlatform, SendPlatform, storage_id};
use jraze_domain::dispatch::{BucketRange, Delivery};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_storage::audience_filter::AudienceRange;
use jraze_storage::audience_stream::Target;
use jraze_storage::dispatch::{ClaimedDevice, Unit, Work};
use jraze_storage::{ObjectId, StorageError};

use crate::campaigns::Campaign;
use crate::ports::{Audience, Targets as _, World};

/// One place in a window.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A device that can be sent to.
    Device(Target),
    /// A device that a retry still names, but that has gone or lost its token meanwhile.
    Vanished(DeviceId),
}

impl Place {
    fn id(&self) -> DeviceId {
        match self {
            Place::Device(target) => target.id,
            Place::Vanished(id) => *id,
        }
    }

    /// Where it stands in storage order.
    pub(crate) fn storage_id(&self, app: AppId) -> ObjectId {
        ObjectId::from_bytes(storage_id(app, self.id()))
    }

    /// As it is written into a window before sending.
    pub(crate) fn claimed(&self) -> ClaimedDevice {
        let (device_platform, send_platform) = match self {
            Place::Device(target) => (target.device_platform, target.send_platform),
            Place::Vanished(_) => (DevicePlatform::Unknown, SendPlatform::Unknown),
        };
        ClaimedDevice {
            id: self.id(),
            device_platform,
            send_platform,
            delivery: Delivery::InFlight,
        }
    }
}

/// The places of these devices, in the order of `ids`.
pub(crate) async fn places(
    audiences: &impl Audience,
    app: AppId,
    ids: &[DeviceId],
) -> Result<Vec<Place>, StorageError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let targets = audiences.targets_by_ids(app, ids).await?;
    let mut found: HashMap<DeviceId, Target> =
        targets.into_iter().map(|target| (target.id, target)).collect();
    Ok(ids
        .iter()
        .map(|id| found.remove(id).map_or(Place::Vanished(*id), Place::Device))
        .collect())
}

/// A unit's devices from its checkpoint on, in storage order.
pub(crate) enum Source<A: Audience> {
    /// The audience is empty.
    Nobody,
    /// A cursor over a stretch of the audience.
    Partition(Box<A::Stream>),
    /// What is left of a retry's list.
    Retry {
        audiences: A,
        app: AppId,
        left: std::vec::IntoIter<DeviceId>,
    },
}

impl<A: Audience> Source<A> {
    pub(crate) async fn open<W: World<Audience = A>>(
        audiences: &A,
        campaign: &Campaign<W>,
        unit: &Unit,
    ) -> Result<Self, StorageError> {
        match &unit.work {
            Work::Partition(range) => Self::partition(audiences, campaign, unit, *range).await,
            Work::Retry(devices) => {
                let claimed = unit.checkpoint;
                let left: Vec<DeviceId> = devices
                    .iter()
                    .copied()
                    .filter(|id| claimed.is_none_or(|last| storage_id(unit.app, *id) > last.bytes()))
                    .collect();
                Ok(Self::Retry {
                    audiences: audiences.clone(),
                    app: unit.app,
                    left: left.into_iter(),
                })
            }
        }
    }

    async fn partition<W: World<Audience = A>>(
        audiences: &A,
        campaign: &Campaign<W>,
        unit: &Unit,
        buckets: BucketRange,
    ) -> Result<Self, StorageError> {
        let notification = &campaign.notification;
        let everybody = Condition::everybody();
        let condition = match &notification.draft.audience {
            Whom::Nobody => return Ok(Self::Nobody),
            Whom::All => &everybody,
            Whom::Matching { condition, .. } => condition,
        };
        let Some(plan) = notification.plan else {
            return Ok(Self::Nobody);
        };
        let range = AudienceRange {
            app: unit.app,
            buckets,
            upper_id: DeviceId(plan.audience_upper_id),
            after: unit.checkpoint,
        };
        let stream = audiences.stream(range, condition, plan.evaluated_at).await?;
        Ok(Self::Partition(Box::new(stream)))
    }

    /// The next window, empty at the end.
    pub(crate) async fn next_window(&mut self, size: usize) -> Result<Vec<Place>, StorageError> {
        match self {
            Source::Nobody => Ok(Vec::new()),
            Source::Partition(stream) => {
                let targets = stream.next_many(size).await?;
                Ok(targets.into_iter().map(Place::Device).collect())
            }
            Source::Retry { audiences, app, left } => {
                let ids: Vec<DeviceId> = left.by_ref().take(size).collect();
                places(audiences, *app, &ids).await
            }
        }
    }
}
