//! An audience in parts, beside one plain cursor.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jraze_domain::audience::Condition;
use jraze_domain::device::BUCKETS;
use jraze_domain::dispatch::BucketRange;
use jraze_storage::Store;
use jraze_storage::audience_filter::audience;
use jraze_storage::audience_stream::Audiences;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::Hint;

use super::{millis, now, trees, whole};
use crate::processor::ticks;
use crate::storage_report::Figures;
use crate::storage_world::{Server, collection};

/// Parts of the chunked audience, as a campaign to a million devices has.
const PARTS: u16 = 100;

/// The audience by a hundred cursors of jraze, and by one of the plain driver that only looks at what comes.
pub(super) async fn audiences(
    store: &Store,
    server: &Server,
    raw: &mongodb::Database,
    rounds: usize,
    label: &str,
    figures: &mut Figures,
) -> Result<()> {
    let audiences = Audiences::new(store);
    let devices = collection::<RawDocumentBuf>(raw, "devices");
    let chosen = trees()?
        .into_iter()
        .filter(|(name, _)| ["1 %, text", "10 %, OR", "56 %, OR of three", "everybody"].contains(name));
    for (name, condition) in chosen {
        // The first round warms up, and each of the two is first in every other round: what one of them read
        // is in the caches when the other comes.
        for round in 0..=rounds {
            let filter = audience(&whole(BucketRange::ALL), &condition, now());
            let (plain, chunked) = if round % 2 == 0 {
                let plain = in_one(server, &devices, filter).await?;
                (plain, in_parts(server, &audiences, &condition).await?)
            } else {
                let chunked = in_parts(server, &audiences, &condition).await?;
                (in_one(server, &devices, filter).await?, chunked)
            };
            ensure!(plain.devices == chunked.devices, "{name}");
            if round == 0 {
                continue;
            }
            let audience = format!("audience, {name}{label}");
            for (what, value) in [
                ("one plain cursor, ms of CPU", plain.cpu),
                ("a hundred parts, ms of CPU", chunked.cpu),
            ] {
                figures.add(&format!("{audience}: {what}"), value);
            }
            let over = format!("{audience}: parts over plain");
            figures.add(&format!("**{over}, CPU**"), chunked.cpu / plain.cpu);
            figures.add(&format!("{over}, time"), chunked.wall / plain.wall);
        }
    }
    Ok(())
}

/// As the plain driver reads, by the same index and in the same order.
async fn in_one(
    server: &Server,
    devices: &mongodb::Collection<RawDocumentBuf>,
    filter: Document,
) -> Result<Took> {
    let before = Used::of(server)?;
    let mut cursor = devices
        .find(filter)
        .projection(doc! { "push_token": 1, "send_platform": 1, "device_platform": 1 })
        .hint(Hint::Keys(doc! { "_id": 1 }))
        .sort(doc! { "_id": 1 })
        .batch_size(5_000)
        .await?;
    let mut seen = 0_u64;
    while cursor.advance().await? {
        seen += u64::from(cursor.current().as_bytes().len() > 4);
    }
    before.until_now(server, seen)
}

/// As workers read a campaign, one partition after the other.
async fn in_parts(server: &Server, audiences: &Audiences, condition: &Condition) -> Result<Took> {
    let before = Used::of(server)?;
    let width = BUCKETS / PARTS;
    let mut seen = 0;
    for part in 0..PARTS {
        let range = BucketRange {
            first: part * width + 1,
            last: (part + 1) * width,
        };
        let mut stream = audiences.stream(whole(range), condition, now()).await?;
        while stream.next().await?.is_some() {
            seen += 1;
        }
    }
    before.until_now(server, seen)
}

/// Processor time of mongod and this process, and the time.
struct Used {
    cpu: Duration,
    at: Instant,
}

struct Took {
    devices: u64,
    cpu: f64,
    wall: f64,
}

impl Used {
    fn of(server: &Server) -> Result<Self> {
        let own = ticks(std::path::Path::new("/proc/self")).context("no /proc")?;
        Ok(Self {
            cpu: own + server.cpu()?,
            at: Instant::now(),
        })
    }

    fn until_now(&self, server: &Server, devices: u64) -> Result<Took> {
        let now = Self::of(server)?;
        Ok(Took {
            devices,
            cpu: millis(now.cpu.saturating_sub(self.cpu)),
            wall: millis(now.at - self.at),
        })
    }
}
