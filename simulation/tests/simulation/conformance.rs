//! The queue in memory is the database's: the same steps, drawn from seeds, on both, with the same answers.
//!
//! What the simulation proves is worth no more than this. Leases and waits are either over at once or last
//! longer than the test, so that neither clock decides an answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::device::{DevicePlatform, SendPlatform, storage_id};
use jraze_domain::dispatch::{BucketRange, Delivery};
use jraze_domain::ids::{AppId, DeviceId, NotificationId, UnitId};
use jraze_storage::ObjectId;
use jraze_storage::dispatch::{
    Advance, ClaimedDevice, Fenced, Retry, Unit, Units, Via, Window, WindowState, Windows,
};
use jraze_storage::test_util::TestDatabase;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::memory::Memory;

const APP: AppId = AppId(1);
const CAMPAIGNS: i64 = 3;
const OVER: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(3_600);
const STEPS: usize = 120;

/// Both queues, and what their holders have in hand: old leases too.
struct Both {
    rng: StdRng,
    memory: Memory,
    units: Units,
    windows: Windows,
    now: DateTime<Utc>,
    held: Vec<Unit>,
    claimed: Vec<Window>,
}

/// A step of a window in memory: matching nothing is no loss when it was taken before.
fn taken(memory: &Memory, matched: bool, window: &Window, from: WindowState) -> Result<(), Fenced> {
    if matched || memory.is_beyond(window, from) {
        Ok(())
    } else {
        Err(Fenced)
    }
}

impl Both {
    fn campaign(&mut self) -> NotificationId {
        NotificationId(self.rng.random_range(1..=CAMPAIGNS))
    }

    fn wait(&mut self) -> Duration {
        if self.rng.random_bool(0.6) { OVER } else { LONG }
    }

    fn unit(&mut self) -> Option<usize> {
        (!self.held.is_empty()).then(|| self.rng.random_range(0..self.held.len()))
    }

    fn window(&mut self) -> Option<Window> {
        let some = (!self.claimed.is_empty()).then(|| self.rng.random_range(0..self.claimed.len()));
        some.map(|index| self.claimed[index].clone())
    }

    async fn acquire(&mut self) {
        let (campaign, lease) = (self.campaign(), self.wait());
        let owner = ["a", "b"][self.rng.random_range(0..2)];
        let real = self
            .units
            .acquire(&[campaign], owner, lease)
            .await
            .expect("answers");
        let wanted = real.as_ref().map(|unit| unit.id.clone());
        // Which of several the database gives is its own affair; that it may give this one is not.
        let is_it = |unit: &Unit| {
            unit.notification == campaign && wanted.as_ref().is_none_or(|wanted| unit.id == *wanted)
        };
        assert_eq!(real, self.memory.acquire_of(is_it, owner, lease, self.now));
        self.held.extend(real);
    }

    async fn claim(&mut self) {
        let Some(index) = self.unit() else { return };
        let unit = self.held[index].clone();
        let sequence = unit.next_sequence;
        let devices: Vec<ClaimedDevice> = (1..=3)
            .map(|id| ClaimedDevice {
                id: DeviceId(id),
                device_platform: DevicePlatform::Android,
                send_platform: SendPlatform::Fcm,
                delivery: Delivery::InFlight,
            })
            .collect();
        // Each step is taken again now and then, as after an answer that was lost.
        let mut again = || self.rng.random_bool(0.2);
        let (insert_again, advance_again) = (again(), again());
        let window = Window::claimed(&unit, sequence, devices.clone());
        let insert = async || self.windows.insert(&unit, sequence, devices.clone()).await;
        let inserted = insert().await.expect("answers");
        assert_eq!(inserted, self.memory.insert(&unit, window), "insert of {unit:?}");
        if insert_again {
            assert_eq!(insert().await.expect("answers"), inserted, "insert again");
        }
        if self.rng.random_bool(0.2) {
            return; // It died in between.
        }
        let checkpoint = ObjectId::from_bytes(storage_id(APP, DeviceId(3)));
        let to = Advance { sequence, checkpoint };
        let advanced = self.units.advance(&unit, to).await.expect("answers");
        assert_eq!(advanced, self.memory.advance(&unit, to), "advance of {unit:?}");
        if advance_again {
            let again = self.units.advance(&unit, to).await.expect("answers");
            assert_eq!(again, advanced, "advance again");
            assert_eq!(self.memory.advance(&unit, to), advanced, "advance again");
        }
        if let (Ok(window), Ok(())) = (inserted, advanced) {
            self.claimed.push(window);
            self.held[index].next_sequence += 1;
        }
    }

    async fn record(&mut self) {
        let Some(mut window) = self.window() else { return };
        for device in &mut window.devices {
            device.delivery =
                [Delivery::Accepted, Delivery::Unanswered, Delivery::Held][self.rng.random_range(0..3)];
        }
        window.in_doubt |= self.rng.random_bool(0.2);
        let real = self.windows.record(&window).await.expect("answers");
        let matched = self.memory.record(&window);
        assert_eq!(
            real,
            taken(&self.memory, matched, &window, WindowState::Claimed),
            "{window:?}"
        );
    }

    async fn settle(&mut self) {
        let Some(window) = self.window() else { return };
        let real = self.windows.settle(&window).await.expect("answers");
        let matched = self.memory.settle(&window);
        assert_eq!(
            real,
            taken(&self.memory, matched, &window, WindowState::Recorded),
            "{window:?}"
        );
    }

    async fn take_over(&mut self) {
        let Some(index) = self.unit() else { return };
        let unit = self.held[index].clone();
        let real = self.windows.take_over(&unit).await.expect("answers");
        self.memory.mark_taken_over(&unit);
        assert_eq!(real, self.memory.taken_over(&unit), "takeover by {unit:?}");
        self.claimed.extend(real);
    }

    async fn end(&mut self) {
        let (Some(index), pause) = (self.unit(), self.wait()) else {
            return;
        };
        let unit = self.held[index].clone();
        let (real, memory) = match self.rng.random_range(0..4) {
            0 => (self.units.finish(&unit).await, self.memory.finish(&unit)),
            1 => {
                let memory = self.memory.extend(&unit, pause, self.now);
                (self.units.extend(&unit, pause).await, memory)
            }
            _ => {
                let memory = self.memory.release(&unit, pause, self.now);
                (self.units.release(&unit, pause).await, memory)
            }
        };
        assert_eq!(real.expect("answers"), memory, "{unit:?}");
    }

    async fn retry(&mut self) {
        let (Some(index), Some(window)) = (self.unit(), self.window()) else {
            return;
        };
        let source = self.held[index].clone();
        let far = self.rng.random_bool(0.5);
        let retry = Retry {
            id: UnitId::retry(source.notification, &window.id, if far { "far" } else { "due" }),
            devices: vec![DeviceId(2)],
            attempt: 2,
            failing_since: None,
            in_doubt: self.rng.random_bool(0.5),
            via: Via {
                by: SendPlatform::Fcm,
                on: Some(DevicePlatform::Ios),
            },
            wait: if far {
                Duration::from_secs(1_000_000)
            } else {
                Duration::ZERO
            },
        };
        self.units.add_retry(&source, &retry).await.expect("answers");
        self.memory.add_retry(&source, &retry, self.now);
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.acquire().await,
            30..50 => self.claim().await,
            50..62 => self.record().await,
            62..72 => self.settle().await,
            72..82 => self.take_over().await,
            82..92 => self.end().await,
            92..98 => self.retry().await,
            _ => {
                let campaign = self.campaign();
                self.units.wind_up(campaign).await.expect("answers");
                self.memory.wind_up(campaign);
            }
        }
        let campaign = self.campaign();
        let open = self.units.any_open(campaign).await.expect("answers");
        assert_eq!(open, self.memory.any_open(campaign));
    }
}

#[tokio::test]
async fn the_queue_in_memory_answers_as_the_database_does() {
    let mut claims = 0;
    for seed in 0..20 {
        let database = TestDatabase::new().await;
        let mut both = Both {
            rng: StdRng::seed_from_u64(seed),
            memory: Memory::default(),
            units: Units::new(&database),
            windows: Windows::new(&database),
            now: DateTime::from_timestamp(1_790_000_000, 0).expect("in range"),
            held: Vec::new(),
            claimed: Vec::new(),
        };
        for campaign in (1..=CAMPAIGNS).map(NotificationId) {
            let ranges = [BucketRange::ALL];
            both.units.plan(APP, campaign, &ranges).await.expect("planned");
            both.memory.plan(APP, campaign, &ranges);
        }
        for _ in 0..STEPS {
            both.step().await;
        }
        claims += both.claimed.len();
    }
    assert!(claims > 100, "only {claims} windows: the steps say nothing");
}
