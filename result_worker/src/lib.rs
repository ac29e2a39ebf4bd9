//! The result worker: folds finished windows into exact counts and closes campaigns.
//!
//! [`collect`] takes settled windows, stops the campaign when one of them says so, raises the counts
//! through the API server's internal endpoint with each window's id as batch id, and moves a campaign to
//! SENT when nothing of it is open. [`tokens`] takes the dead tokens of a campaign that is over out of
//! audiences. [`retention`] takes what is too old out of the send log.

mod collect;
mod retention;
mod settings;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use jraze_openapi::client::InternalClient;
use jraze_runtime::backoff::{Backoff, jittered};
use jraze_runtime::clock::Clock;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::Store;
use jraze_storage::devices::Devices;
use jraze_storage::dispatch::{Units, Windows};
use jraze_storage::notifications::Notifications;
use jraze_storage::tallies::Tallies;
use rand::rngs::StdRng;

use collect::{Paces, Round};
use retention::Forgetting;

pub use collect::CollectError;
pub use settings::Settings;

/// What a result worker works with.
#[derive(Debug)]
pub struct Dependencies {
    /// The database.
    pub store: Store,
    /// The API server's internal endpoints.
    pub api: InternalClient,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for waits.
    pub rng: StdRng,
}

const AFTER_FAILURE: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));

/// While a campaign is running somebody waits for its counts, so it is looked at so many times as often.
const SOONER: u32 = 5;

/// Collects, and forgets, until the soft stop.
pub async fn run(settings: Settings, with: Dependencies, lifecycle: Lifecycle) {
    let days = match settings.log_days {
        0 => 0,
        days => days.clamp(30, 3_650),
    };
    let (forgetting, clock) = (Forgetting::new(&with.store, days), Arc::clone(&with.clock));
    tokio::join!(
        forgetting.run(clock.as_ref(), &lifecycle),
        collect_results(settings, with, &lifecycle)
    );
}

async fn collect_results(settings: Settings, with: Dependencies, lifecycle: &Lifecycle) {
    let Dependencies {
        store,
        api,
        clock,
        mut rng,
    } = with;
    let collector = collect::Collector {
        notifications: Notifications::new(&store),
        units: Units::new(&store),
        windows: Windows::new(&store),
        tallies: Tallies::new(&store),
        devices: Devices::new(&store),
        api,
        clock,
        paces: Paces::default(),
        windows_per_call: i64::from(settings.windows_per_call.clamp(1, 500)),
        retention: settings
            .retention
            .get()
            .clamp(Duration::from_secs(60), Duration::from_secs(30 * 86_400)),
    };
    let poll = settings
        .poll
        .get()
        .clamp(Duration::from_millis(20), Duration::from_secs(10));
    let mut failures = 0;
    while !lifecycle.stopping().is_cancelled() {
        let wait = match collector.round().await {
            Ok(Round::Worked) => Duration::ZERO,
            Ok(Round::Expecting) => jittered(poll / SOONER, &mut rng),
            Ok(Round::Idle) => jittered(poll, &mut rng),
            Err(error) => {
                let wait = AFTER_FAILURE.delay(failures, &mut rng);
                failures += 1;
                tracing::warn!(%error, ?wait, "collecting results failed, trying again");
                lifecycle
                    .stopping()
                    .run_until_cancelled(tokio::time::sleep(wait))
                    .await;
                continue;
            }
        };
        failures = 0;
        lifecycle
            .stopping()
            .run_until_cancelled(tokio::time::sleep(wait))
            .await;
    }
}
