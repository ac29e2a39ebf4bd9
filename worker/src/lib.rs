//! The worker: turns a launched campaign into sends.
//!
//! | file | is |
//! | --- | --- |
//! | [`settings`] | how it is set up |
//! | `campaigns` | which campaigns run, and their messages |
//! | `dispatch` | the step for one unit of work; start reading here |
//! | `source` | where its devices come from |
//! | `sender` | sending one window |
//! | `judge` | what answers mean: final, or tried again, and when |
//! | `settle` | from answers to a settled window |
//! | `lease`, `gates` | when not to send |
//!
//! It leases units, streams the audience, sends, records what came back and logs the sends through the
//! API server's internal endpoint. It never writes a campaign: totals and states are for others.

mod campaigns;
mod dispatch;
mod error;
mod gates;
mod judge;
mod lease;
mod sender;
mod settings;
mod settle;
mod source;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use jraze_domain::dispatch::RetryPolicy;
use jraze_openapi::client::InternalClient;
use jraze_providers::ProviderSet;
use jraze_runtime::backoff::Backoff;
use jraze_runtime::clock::Clock;
use jraze_runtime::job_driver::{DriverSettings, JobDriver};
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::Store;
use jraze_storage::audience_stream::Audiences;
use jraze_storage::dispatch::{Units, Windows};
use jraze_storage::notifications::Notifications;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub use error::StepError;
pub use settings::{Credentials, OutOfRange, Settings};

/// What a worker works with; everything it touches is given to it.
#[derive(Debug)]
pub struct Dependencies {
    /// The database.
    pub store: Store,
    /// The push providers, by app.
    pub providers: Arc<ProviderSet>,
    /// The API server's internal endpoints.
    pub api: InternalClient,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This worker's name in leases; unique among workers.
    pub owner: String,
    /// Randomness for waits.
    pub rng: StdRng,
}

/// Works until the soft stop; then windows in flight end and leases are given back.
///
/// # Errors
/// A setting out of its range.
pub async fn run(settings: Settings, with: Dependencies, lifecycle: Lifecycle) -> Result<(), OutOfRange> {
    settings.validate()?;
    let Dependencies {
        store,
        providers,
        api,
        clock,
        owner,
        mut rng,
    } = with;
    let campaigns = Arc::new(campaigns::Campaigns::new(
        Notifications::new(&store),
        providers.clone(),
    ));
    let (units, windows) = (Units::new(&store), Windows::new(&store));
    let dispatcher = dispatch::Dispatcher {
        owner,
        campaigns: campaigns.clone(),
        audiences: Audiences::new(&store),
        sender: sender::Sender::new(providers, clock.clone(), settings.max_in_flight),
        settler: settle::Settler {
            units: units.clone(),
            windows: windows.clone(),
            api,
            clock,
            retry: RetryPolicy::default(),
            chance: settle::Chance::new(StdRng::from_rng(&mut rng)),
            lifecycle: lifecycle.clone(),
        },
        units,
        windows,
        shape: dispatch::Shape {
            window_devices: settings.window_devices,
            windows_in_flight: settings.windows_in_flight,
            lease: settings.lease.get(),
        },
        lifecycle: lifecycle.clone(),
        turn: AtomicUsize::new(0),
    };
    let driver = JobDriver::new(
        Arc::new(dispatcher),
        DriverSettings {
            name: "dispatch",
            concurrency: settings.concurrent_units,
            // A unit takes as long as its provider lets it; its heartbeat, not a clock, bounds it.
            step_deadline: Duration::from_secs(24 * 3_600),
            idle_wait: settings.idle_wait.get(),
            error_backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(10)),
        },
        rng,
    );
    let refresh = settings.campaign_refresh.get();
    tokio::join!(campaigns.keep_fresh(refresh, &lifecycle), driver.run(&lifecycle));
    Ok(())
}
