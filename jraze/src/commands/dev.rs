//! `jraze dev`: everything in one process, on one directory, nothing leaves the machine.
//!
//! In order: the data directory and its lock, a mongod (unless the configuration names a database),
//! the sandbox, keys, the API server, worker and result worker, sample devices, and then the block
//! that says where everything is. Ctrl-C goes the same way back, so that each part can still use
//! the ones below it while it finishes: workers, API server, sandbox, mongod.
//!
//! Its defaults differ from those of the roles (free ports for the sandbox, everything under the data
//! directory); file, environment and flags win over them as always.

use std::{
    fs::{self, File, TryLockError},
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use jraze_domain::ids::AppId;
use jraze_openapi::dto::ImportReport;
use jraze_providers::{CredentialSettings, apns::ApnsSettings, fcm::FcmSettings};
use jraze_runtime::{
    config::{HumanDuration, Secret},
    lifecycle::{Drained, Lifecycle},
};
use jraze_sandbox::Sandbox;
use jraze_storage::Store;
use reqwest::StatusCode;
use tokio::task;
use toml::Table;

use super::Done;
use crate::{
    client::{Client, ClientError},
    database,
    dev::{
        keys::DevKeys,
        mongod::{Mongod, absolute},
        mongod_binary,
        ready::Ready,
        samples,
    },
    output::Output,
    random,
    settings::{Settings, Sources},
    wiring::{self, GRACE},
};

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "./jraze-data")]
    data: PathBuf,
    /// Address and port of the API; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = listen)]
    listen: String,
    /// Write addresses and keys to this file, as JSON, once everything runs
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Start without sample devices
    #[arg(long)]
    no_seed: bool,
    /// The mongod to start; by default the one in PATH, else one is fetched (once)
    #[arg(long, env = "JRAZE_MONGOD", value_name = "PATH")]
    mongod: Option<PathBuf>,
}

fn listen(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("expected ADDRESS:PORT, e.g. 127.0.0.1:8080".into()),
    }
}

pub(crate) async fn run(args: DevArgs, sources: &Sources, output: Output) -> anyhow::Result<Done> {
    let data = absolute(&args.data)?;
    fs::create_dir_all(&data).with_context(|| format!("cannot write {}", data.display()))?;
    let _lock = lock(&data)?;
    if let Some(file) = &args.ready_file {
        // A file of an earlier start would tell its reader to come too early.
        fs::remove_file(file).ok();
        Ready::check(file)?;
    }

    let (base, flags) = (defaults(&data), api_flags(&args.listen));
    let mut settings = sources.start(base, flags)?;
    // Said before minutes of fetching a database and starting it.
    let address = &settings.apiserver.listen;
    drop(TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?);
    let lifecycle = Lifecycle::new();
    lifecycle
        .listen_for_signals()
        .context("cannot listen for signals")?;

    let mut mongod = None;
    if settings.mongodb.uri.expose().is_empty() {
        // Not interrupted by the first Ctrl-C: it takes a second, and ends with a known process.
        let started = start_mongod(args.mongod, &data, output).await?;
        settings.mongodb.uri = Secret::new(started.uri());
        mongod = Some(started);
    }
    let served = serve(
        settings,
        &args.ready_file,
        !args.no_seed,
        &data,
        output,
        &lifecycle,
        mongod.as_mut(),
    )
    .await;
    if let Some(mongod) = mongod {
        mongod.stop().await;
    }
    if let Some(file) = &args.ready_file {
        // It says that everything runs.
        fs::remove_file(file).ok();
    }
    served
}

/// One `jraze dev` for each directory. The lock goes with the process, however it ends.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another jraze dev works on {}; use --data for another directory",
                data.display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).context(format!("cannot lock {}", path.display())),
    }
}

/// The defaults of this command. An empty address of the database asks for a private mongod.
fn defaults(data: &Path) -> Table {
    let sandbox = Table::from_iter([
        ("fcm_port".to_owned(), 0.into()),
        ("apns_port".to_owned(), 0.into()),
        ("control_port".to_owned(), 0.into()),
        (
            "state_dir".to_owned(),
            data.join("sandbox").display().to_string().into(),
        ),
    ]);
    let mongodb = Table::from_iter([("uri".to_owned(), "".into())]);
    Table::from_iter([
        ("sandbox".to_owned(), sandbox.into()),
        ("mongodb".to_owned(), mongodb.into()),
    ])
}

fn api_flags(listen: &str) -> Table {
    let apiserver = Table::from_iter([("listen".to_owned(), listen.into())]);
    Table::from_iter([("apiserver".to_owned(), apiserver.into())])
}

async fn start_mongod(named: Option<PathBuf>, data: &Path, output: Output) -> anyhow::Result<Mongod> {
    let find = move || mongod_binary::find(named, |text| output.line(text));
    let binary = task::spawn_blocking(find)
        .await
        .context("looking for mongod broke off")??;
    Mongod::start(&binary, &data.join("mongodb"))
        .await
        .context("cannot start the database")
}

/// Everything above the database, until the first signal or until a part ends by itself.
async fn serve(
    settings: Settings,
    ready_file: &Option<PathBuf>,
    seed: bool,
    data: &Path,
    output: Output,
    lifecycle: &Lifecycle,
    mongod: Option<&mut Mongod>,
) -> anyhow::Result<Done> {
    let Settings {
        mongodb,
        apiserver,
        mut worker,
        mut result_worker,
        mut credentials,
        sandbox,
        ..
    } = settings;
    let uri = mongodb.uri.expose().to_owned();
    let store = database::open(&mongodb).await?;
    let mut rng = random::generator();
    let keys = DevKeys::ready(data, &store, &mut rng, &*wiring::clock()).await?;
    let sandbox = Sandbox::start(sandbox)
        .await
        .context("cannot start the sandbox")?;
    if credentials.is_empty() {
        credentials = sandbox_credentials(&sandbox);
        // What is only pretended needs no warming up.
        worker.fcm_ramp = HumanDuration::from_secs(0);
    }

    // The API server outlives the workers, which report to it until their last window is settled.
    let below = Lifecycle::new();
    let (address, api) = wiring::apiserver(&apiserver, store.clone(), below.clone()).await?;
    let mut api = below.spawn(api);
    let url = format!("http://{address}");
    worker.api_url.clone_from(&url);
    worker.internal_key = Secret::new(&keys.internal);
    result_worker.api_url.clone_from(&url);
    result_worker.internal_key = Secret::new(&keys.internal);
    let mut sender = lifecycle.spawn(wiring::worker(
        worker,
        credentials,
        store.clone(),
        lifecycle.clone(),
    ));
    let mut collector = lifecycle.spawn(wiring::result_worker(
        result_worker,
        store.clone(),
        lifecycle.clone(),
    ));

    let ready = async {
        let client = Client::new(url.parse()?, Some(Secret::new(&keys.server)))?;
        let devices = if seed {
            Some(seed_devices(&client).await?)
        } else {
            None
        };
        let ready = Ready {
            docs: format!("{url}/docs"),
            api: url.clone(),
            admin_key: keys.admin.clone(),
            server_key: keys.server.clone(),
            client_key: keys.client.clone(),
            internal_key: keys.internal.clone(),
            sandbox: sandbox.control_url().to_owned(),
            mongodb: uri,
        };
        ready.print(output, data, devices);
        if let Some(file) = ready_file {
            ready.write(file)?;
        }
        anyhow::Ok(())
    };
    let database_ended = async {
        match mongod {
            Some(mongod) => mongod.ended().await,
            None => std::future::pending().await,
        }
    };
    let outcome = async {
        tokio::select! {
            ready = ready => ready?,
            () = lifecycle.stopping().cancelled() => return Ok(()),
        }
        tokio::select! {
            // Looked at first: parts that end because they were told to have not failed.
            biased;
            () = lifecycle.stopping().cancelled() => Ok(()),
            ended = &mut api => Err(part_ended("API server", ended)),
            ended = &mut sender => Err(part_ended("worker", ended)),
            ended = &mut collector => Err(part_ended("result worker", ended)),
            ended = database_ended => Err(anyhow::anyhow!("mongod ended by itself: {ended:?}")),
        }
    }
    .await;

    output.line("stopping");
    stop(lifecycle, &below, sandbox, store).await;
    outcome.map(|()| Done::Fully)
}

/// Downwards: workers, API server, sandbox, connections.
async fn stop(workers: &Lifecycle, api: &Lifecycle, sandbox: Sandbox, store: Store) {
    workers.stop();
    if workers.drain(GRACE).await == Drained::Forced {
        api.abort();
    }
    api.stop();
    // A second signal ends this too.
    tokio::select! {
        _ = api.drain(GRACE) => {}
        () = workers.aborting().cancelled() => api.abort(),
    }
    sandbox.shutdown().await;
    store.close().await;
}

fn part_ended(name: &str, ended: Result<Option<anyhow::Result<()>>, task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Some(Err(error))) => error.context(format!("the {name} ended")),
        Err(error) => anyhow::Error::new(error).context(format!("the {name} broke off")),
        Ok(_) => anyhow::anyhow!("the {name} ended by itself"),
    }
}

/// What the worker presents to the pretend FCM and APNs.
fn sandbox_credentials(sandbox: &Sandbox) -> jraze_worker::Credentials {
    const APP: AppId = AppId(1);
    let ca_file = Some(sandbox.ca_file().to_owned());
    let mut fcm = FcmSettings::new(APP, sandbox.service_account_file());
    fcm.base_url = sandbox.fcm_base_url().to_owned();
    fcm.token_url = sandbox.oauth_token_url().to_owned();
    fcm.ca_file.clone_from(&ca_file);
    let mut apns = ApnsSettings::new(
        APP,
        sandbox.apns_key_file(),
        sandbox.apns_key_id(),
        sandbox.apns_team_id(),
        sandbox.apns_topic(),
    );
    apns.base_url = sandbox.apns_base_url().to_owned();
    apns.ca_file = ca_file;
    vec![CredentialSettings::Fcm(fcm), CredentialSettings::Apns(apns)]
}

/// Imports the sample devices unless the first of them is there; a person may have changed them.
async fn seed_devices(client: &Client) -> anyhow::Result<u64> {
    let first = client
        .get(&["devices", "demo-000000"])
        .send::<serde_json::Value>()
        .await;
    match first {
        Ok(_) => Ok(samples::COUNT),
        Err(ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => {
            let request = client
                .post(&["devices", "-", ":import"])
                .ndjson(samples::ndjson(samples::COUNT));
            let report: ImportReport = request.send().await.context("cannot import the sample devices")?;
            Ok(report.created + report.updated)
        }
        Err(error) => Err(error).context("cannot look for the sample devices"),
    }
}
