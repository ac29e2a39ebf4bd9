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
//! | `lease`, `gates`, `brakes` | when not to send |
//! | `pace` | how fast and how wide to send |
//! | `fleet` | how much of a quota is this worker's |
//! | [`ports`] | what all of that needs of the world |
//!
//! It leases units, streams the audience, sends, records what came back and logs the sends through the
//! API server's internal endpoint. It never writes a campaign: totals and states are for others.

mod brakes;
mod campaigns;
mod dispatch;
mod error;
mod fleet;
mod gates;
mod judge;
mod lease;
mod pace;
pub mod ports;
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
use jraze_storage::fleet::Fleet;
use jraze_storage::notifications::Notifications;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use ports::{Live, LiveQueue, World};

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

/// The same, in any [`World`].
#[derive(Debug)]
pub struct DependenciesIn<W: World> {
    /// Units and windows.
    pub queue: W::Queue,
    /// Devices.
    pub audiences: W::Audience,
    /// Notifications.
    pub notifications: W::Book,
    /// The log of sends.
    pub log: W::Log,
    /// The push providers, by app.
    pub providers: Arc<W::Providers>,
    /// The workers that are there.
    pub fleet: W::Fleet,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This worker's name in leases; unique among workers.
    pub owner: String,
    /// Randomness for waits.
    pub rng: StdRng,
}

impl From<Dependencies> for DependenciesIn<Live> {
    fn from(with: Dependencies) -> Self {
        Self {
            queue: LiveQueue::new(&with.store),
            audiences: Audiences::new(&with.store),
            notifications: Notifications::new(&with.store),
            log: with.api,
            providers: with.providers,
            fleet: Fleet::new(&with.store),
            clock: with.clock,
            owner: with.owner,
            rng: with.rng,
        }
    }
}

/// Works until the soft stop; then windows in flight end and leases are given back.
///
/// # Errors
/// A setting out of its range.
pub async fn run(settings: Settings, with: Dependencies, lifecycle: Lifecycle) -> Result<(), OutOfRange> {
    run_in(settings, DependenciesIn::<Live>::from(with), lifecycle).await
}

/// The same, in any [`World`].
///
/// # Errors
/// As [`run`].
pub async fn run_in<W: World>(
    settings: Settings,
    with: DependenciesIn<W>,
    lifecycle: Lifecycle,
) -> Result<(), OutOfRange> {
    settings.validate()?;
    let DependenciesIn {
        queue,
        audiences,
        notifications,
        log,
        providers,
        fleet,
        clock,
        owner,
        mut rng,
    } = with;
    let pacing = sender::Pacing {
        max_in_flight: settings.max_in_flight,
        fcm_ramp: settings.fcm_ramp.get(),
        fcm_quota_per_minute: (settings.fcm_quota_per_minute > 0).then_some(settings.fcm_quota_per_minute),
    };
    let sender = sender::Sender::new(providers.clone(), clock.clone(), pacing, lifecycle.clone());
    let membership = fleet::Membership {
        owner: owner.clone(),
        quotas: sender.quotas(),
        gates: sender.gates(),
        clock: clock.clone(),
    };
    let campaigns = Arc::new(campaigns::Campaigns::<W>::new(notifications, providers));
    let dispatcher = dispatch::Dispatcher::<W> {
        owner,
        campaigns: campaigns.clone(),
        audiences,
        sender,
        settler: settle::Settler {
            queue: queue.clone(),
            api: log,
            clock,
            retry: RetryPolicy::default(),
            chance: settle::Chance::new(StdRng::from_rng(&mut rng)),
            lifecycle: lifecycle.clone(),
        },
        queue,
        shape: dispatch::Shape {
            concurrent_units: settings.concurrent_units,
            window_devices: settings.window_devices,
            windows_in_flight: settings.windows_in_flight,
            lease: settings.lease.get(),
        },
        lifecycle: lifecycle.clone(),
        turn: AtomicUsize::new(0),
        at_work: dispatch::AtWork::default(),
    };
    let driver = JobDriver::new(
        Arc::new(dispatcher),
        DriverSettings {
            name: "dispatch",
            concurrency: 2 * settings.concurrent_units,
            // A unit takes as long as its provider lets it; its heartbeat, not a clock, bounds it.
            step_deadline: Duration::from_secs(24 * 3_600),
            idle_wait: settings.idle_wait.get(),
            error_backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(10)),
        },
        rng,
    );
    let refresh = settings.campaign_refresh.get();
    let news = driver.wake_up();
    // A worker that stops is counted until its last window is out.
    let done = CancellationToken::new();
    let working = async {
        tokio::join!(
            campaigns.keep_fresh(refresh, &news, &lifecycle),
            driver.run(&lifecycle)
        );
        done.cancel();
    };
    tokio::join!(membership.keep(fleet, &done), working);
    Ok(())
}
