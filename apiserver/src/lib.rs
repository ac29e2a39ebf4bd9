//! The API server: the contract's ports, implemented over storage.
//!
//! | file | is |
//! | --- | --- |
//! | [`settings`](Settings) | how it is set up |
//! | `server` | connections |
//! | `routes` | what is mounted where, and what stands around it |
//! | `middleware/admission` | per operation: who may, how much, how long |
//! | `middleware/idempotency` | requests that may be repeated are carried out once |
//! | `auth` | whose key it is and what it may do |
//! | `ports/` | the contract's traits: convert, call, convert |
//! | `convert/` | where wire meets domain; `error` is the only table from error to HTTP |
//! | `services/` | the use cases |
//! | `background/planner` | from QUEUED to LAUNCHED |
//!
//! A request's way: connection, request id, envelope, router, admission (key, then body), port,
//! service, storage. To add an operation: first in `jraze-openapi`, then its row in
//! `middleware/admission`, its port's method, its service.

mod auth;
mod background;
mod convert;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod middleware;
mod ports;
mod random;
mod routes;
mod server;
mod services;
mod settings;

use std::{io, net::SocketAddr, sync::Arc};

use jraze_openapi::spec::Ports;
use jraze_runtime::{clock::Clock, lifecycle::Lifecycle};
use jraze_storage::{
    Store, audience_stream::Audiences, devices::Devices, dispatch::Units, fleet::Fleet, keys::Keys,
    notifications::Notifications, send_log::SendLog, tallies::Tallies,
};
use poem::{Response, endpoint::BoxEndpoint};
use rand::rngs::StdRng;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    auth::Authenticator,
    background::planner::Planner,
    middleware::{
        admission::{Admission, Limits},
        idempotency::Idempotency,
    },
    server::ConnectionLimits,
};

pub use random::Random;
pub use settings::Settings;

/// What the server works with; everything it touches is given to it.
#[derive(Debug)]
pub struct Dependencies {
    /// The database, migrated.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids and for the secrets of devices: seeded by the operating system.
    pub rng: StdRng,
}

/// A server that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, not ours, or no address.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A server that listens and does not answer yet.
pub struct ApiServer {
    listener: TcpListener,
    address: SocketAddr,
    endpoint: BoxEndpoint<'static, Response>,
    planner: Planner,
    limits: ConnectionLimits,
    lifecycle: Lifecycle,
}

impl ApiServer {
    /// Takes the port. What connects from now on waits until [`Self::serve`].
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn bind(
        settings: &Settings,
        with: Dependencies,
        lifecycle: Lifecycle,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen {
            address: settings.listen.clone(),
            source,
        };
        let listener = server::listen(&settings.listen, settings.max_connections)
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (endpoint, planner) = assemble(settings, with, &lifecycle);
        let limits = ConnectionLimits {
            max_connections: settings.max_connections,
            header_timeout: settings.header_timeout.get(),
        };
        Ok(Self {
            listener,
            address,
            endpoint,
            planner,
            limits,
            lifecycle,
        })
    }

    /// The address that was taken, with the real port where the settings said 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers and plans until the soft stop, then finishes what is running.
    pub async fn serve(self) {
        tracing::info!(address = %self.address, "the API server listens");
        // Tracked like every request, so that the end waits for the plan in hand.
        let planner = self.lifecycle.spawn(self.planner.run(self.lifecycle.clone()));
        server::serve(
            self.listener,
            Arc::new(self.endpoint),
            self.limits,
            &self.lifecycle,
        )
        .await;
        if planner.await.is_err() {
            tracing::error!("the planner panicked");
        }
        tracing::info!("the API server has stopped");
    }
}

/// Serves until the soft stop.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(settings: Settings, with: Dependencies, lifecycle: Lifecycle) -> Result<(), StartError> {
    ApiServer::bind(&settings, with, lifecycle).await?.serve().await;
    Ok(())
}

/// Who knows whom: the only place where the parts are put together.
fn assemble(
    settings: &Settings,
    with: Dependencies,
    lifecycle: &Lifecycle,
) -> (BoxEndpoint<'static, Response>, Planner) {
    let Dependencies { store, clock, rng } = with;
    let random = Arc::new(Random::new(rng));
    let launched = Arc::new(Notify::new());
    let authenticator = Arc::new(Authenticator::new(Keys::new(&store), Arc::clone(&clock)));
    let devices = Devices::with(&store, settings.gather_writes);
    let idempotency = Arc::new(Idempotency {
        rows: jraze_storage::idempotency::Idempotency::new(&store),
        random: Arc::clone(&random),
        pause: settings.body_timeout.get(),
    });
    let units = Units::new(&store);
    let log = SendLog::new(&store);
    let repository = Notifications::new(&store);

    let notifications = services::notifications::Notifications {
        repository: repository.clone(),
        units: units.clone(),
        audiences: Audiences::new(&store),
        ledger: Tallies::new(&store),
        fleet: Fleet::new(&store),
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        launched: Arc::clone(&launched),
    };
    let planner = Planner {
        notifications: repository.clone(),
        units,
        ids: devices.ids().clone(),
        audiences: Audiences::new(&store),
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        launched,
        interval: settings.planner_interval.get(),
        lease: settings.planner_lease.get(),
    };
    let ports = Ports {
        devices: ports::devices::Port {
            authenticator: Arc::clone(&authenticator),
            import: services::import::Import {
                devices: devices.clone(),
                clock: Arc::clone(&clock),
                lifecycle: lifecycle.clone(),
                line_limit: settings.import_line_limit,
                pause: settings.body_timeout.get(),
            },
            devices: services::devices::Devices {
                repository: devices,
                log: log.clone(),
                notifications: notifications.clone(),
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
            },
            lifecycle: lifecycle.clone(),
        },
        notifications: ports::notifications::Port {
            authenticator: Arc::clone(&authenticator),
            notifications,
        },
        internal: ports::internal::Port {
            authenticator: Arc::clone(&authenticator),
            tallies: services::tallies::Tallies {
                notifications: repository,
                log,
                ledger: Tallies::new(&store),
                clock,
                random: Arc::clone(&random),
                known: services::tallies::Known::default(),
            },
        },
        health: ports::health::Port {
            store,
            lifecycle: lifecycle.clone(),
        },
    };
    let admission = Admission {
        authenticator,
        idempotency,
        lifecycle: lifecycle.clone(),
        limits: Limits::from(settings),
    };
    (routes::endpoint(ports, admission, random), planner)
}
