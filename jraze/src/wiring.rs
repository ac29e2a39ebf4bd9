//! From settings to running roles: what `main` of each role would do, once, for the commands that
//! run one role and for `jraze dev`, which runs all.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use jraze_apiserver::ApiServer;
use jraze_openapi::client::InternalClient;
use jraze_providers::ProviderSet;
use jraze_runtime::{
    clock::{Clock, SystemClock},
    config::Secret,
    lifecycle::{Drained, Lifecycle},
};
use jraze_storage::Store;
use rand::Rng as _;
use url::Url;

use crate::{client::tls_config, commands::Done, internal_key, random};

/// How long work in flight may take after the soft stop.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// The machine's clock, to be passed on.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Works until the soft stop.
pub(crate) async fn worker(
    settings: jraze_worker::Settings,
    credentials: jraze_worker::Credentials,
    store: Store,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let api = internal_client("worker", &settings.api_url, &settings.internal_key)?;
    lifecycle.spawn(internal_key::check("worker", api.clone(), lifecycle.clone()));
    let seed = random::generator().next_u64();
    let providers = ProviderSet::from_settings(credentials, clock(), seed)?;
    if providers.is_empty() {
        tracing::warn!("no [[credentials]] are configured: this worker can send nothing");
    }
    let with = jraze_worker::Dependencies {
        store,
        providers: Arc::new(providers),
        api,
        clock: clock(),
        // Unique among workers, and readable in a lease: which process was it?
        owner: format!("worker-{}-{:08x}", std::process::id(), seed as u32),
        rng: random::generator(),
    };
    settings.validate()?;
    tracing::info!(owner = with.owner, "the worker works");
    Ok(jraze_worker::run(settings, with, lifecycle).await?)
}

/// Collects results until the soft stop.
pub(crate) async fn result_worker(
    settings: jraze_result_worker::Settings,
    store: Store,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let api = internal_client("result_worker", &settings.api_url, &settings.internal_key)?;
    lifecycle.spawn(internal_key::check(
        "result_worker",
        api.clone(),
        lifecycle.clone(),
    ));
    let with = jraze_result_worker::Dependencies {
        store,
        api,
        clock: clock(),
        rng: random::generator(),
    };
    tracing::info!("the result worker works");
    jraze_result_worker::run(settings, with, lifecycle).await;
    Ok(())
}

/// The client of the API server's internal endpoints. `role` names the table of the settings.
fn internal_client(role: &str, api: &str, key: &Secret) -> anyhow::Result<InternalClient> {
    anyhow::ensure!(
        !key.expose().is_empty(),
        "{role}.internal_key is not set; `jraze keys create internal` makes one"
    );
    let base: Url = api
        .parse()
        .with_context(|| format!("{role}.api_url is no address: {api}"))?;
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config()?)
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .build()
        .context("cannot build the HTTP client")?;
    Ok(InternalClient::new(http, base, key.expose())?)
}

/// Runs one role until it ends or the process is told to stop.
pub(crate) async fn until_stopped(
    lifecycle: Lifecycle,
    role: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<Done> {
    lifecycle
        .listen_for_signals()
        .context("cannot listen for signals")?;
    let mut task = lifecycle.spawn(role);
    let early = tokio::select! {
        ended = &mut task => Some(ended),
        () = lifecycle.stopping().cancelled() => None,
    };
    // A role that ended by itself takes the process with it.
    lifecycle.stop();
    let drained = lifecycle.drain(GRACE).await;
    let ended = match early {
        Some(ended) => ended,
        None => task.await,
    };
    ended.context("the role broke off")?.unwrap_or(Ok(()))?;
    Ok(match drained {
        Drained::Clean => Done::Fully,
        Drained::Forced => {
            tracing::warn!("work in flight was dropped; its leases run out and another process goes on");
            Done::Failed
        }
    })
}

/// The API server: its address, and what serves until the soft stop.
pub(crate) async fn apiserver(
    settings: &jraze_apiserver::Settings,
    store: Store,
    lifecycle: Lifecycle,
) -> anyhow::Result<(
    SocketAddr,
    impl Future<Output = anyhow::Result<()>> + Send + 'static,
)> {
    let with = jraze_apiserver::Dependencies {
        store,
        clock: clock(),
        rng: random::generator(),
    };
    let server = ApiServer::bind(settings, with, lifecycle).await?;
    Ok((server.address(), async move {
        server.serve().await;
        Ok(())
    }))
}
