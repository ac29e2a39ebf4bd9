//! FCM and APNs on your own machine.
//!
//! A push platform can only be trusted when it was seen to send, and nobody may send to real phones in
//! a test. This crate is the other side of the wire: Firebase Cloud Messaging (HTTP v1, with Google's
//! OAuth endpoint) and the Apple Push Notification service, over real TLS and HTTP/2, checking what they
//! check and answering with their documented bodies. What arrives is written into a ledger that tests
//! read over HTTP; what is answered can be scripted, down to resets and GOAWAYs.
//!
//! ```no_run
//! # async fn example() -> Result<(), jraze_sandbox::SandboxError> {
//! use jraze_sandbox::{Sandbox, Settings};
//!
//! let sandbox = Sandbox::start(Settings::ephemeral("./sandbox")).await?;
//! println!("send to {}", sandbox.fcm_base_url());
//! println!("sign with {}", sandbox.service_account_file().display());
//! println!("read {}/ledger", sandbox.control_url());
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How a request travels
//!
//! [`server`] accepts TLS connections and [`driver`] serves HTTP/2 on them; [`fcm`] or [`apns`] checks the request; one that
//! breaks a rule is refused, any other goes to [`core`], which asks the [`script`], then the [`magic`] of
//! the token, and writes it into the [`ledger`] with its answer. [`control`] is the HTTP API on all that.
//! [`wire`] sits below HTTP/2 and says the two things that the `h2` crate cannot.
//!
//! # Adding a rule
//!
//! 1. Find the provider's documentation of it, and the answer it gives.
//! 2. FCM: a field is a row in `fcm/schema.rs`, a limit a line in `fcm/check.rs`, an error a row in
//!    `fcm/answers.rs`. APNs: a function in `apns/check.rs`, a reason in `apns/answers.rs`.
//! 3. A test over the wire, named as the rule, in `tests/fcm.rs` or `tests/apns.rs`.

#![deny(unreachable_pub)]

mod apns;
mod chance;
mod clock;
mod control;
mod core;
mod credentials;
mod driver;
mod error;
mod fcm;
mod http1;
mod jwt;
mod ledger;
mod load;
mod magic;
mod query;
mod render;
mod script;
mod server;
mod settings;
mod stop;
mod timeline;
mod tls;
mod totals;
mod tray;
mod wire;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use jraze_runtime::clock::{Clock, SystemClock};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    core::Core,
    credentials::{ServiceAccount, SigningKey},
};
pub use crate::{
    error::SandboxError,
    ledger::Provider,
    script::{Answer, Http2Code, Rule, Script, ScriptError},
    settings::{ApnsSettings, FcmSettings, LedgerSettings, Settings},
};

/// Where a sandbox listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) fcm_base_url: String,
    pub(crate) oauth_token_url: String,
    pub(crate) apns_base_url: String,
    pub(crate) control_url: String,
}

/// Where one provider is reached.
struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: Arc<AtomicU64>,
    stop: stop::Stop,
}

impl Door {
    async fn serve<H: server::Handler>(self, handler: H) {
        let handler = Arc::new(handler);
        server::serve(self.listener, self.acceptor, handler, self.connections, self.stop).await;
    }
}

/// A running sandbox. Dropping it stops it without waiting; [`Sandbox::shutdown`] waits.
#[derive(Debug)]
pub struct Sandbox {
    addresses: Addresses,
    ca_pem: String,
    ca_file: PathBuf,
    service_account_file: PathBuf,
    apns_key_file: PathBuf,
    apns_key_id: String,
    settings: Settings,
    stopper: stop::Stopper,
    tasks: JoinSet<()>,
}

impl Sandbox {
    /// Starts FCM, APNs and the control API; they answer when this returns.
    ///
    /// # Errors
    ///
    /// When a port is taken, the state directory cannot be used, or a setting or rule makes no sense.
    pub async fn start(settings: Settings) -> Result<Self, SandboxError> {
        Self::start_at(settings, Arc::new(SystemClock)).await
    }

    /// The same with a clock of the caller's, by which tokens expire.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::start`].
    pub async fn start_at(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, SandboxError> {
        check(&settings)?;
        let script = script(&settings)?;
        let dir = &settings.state_dir;
        fs::create_dir_all(dir).map_err(|source| SandboxError::file(dir, source))?;
        let identity = tls::Identity::load(&settings)?;
        // Making an RSA key takes a good part of a second, too long for a worker thread.
        let account = {
            let settings = settings.clone();
            tokio::task::spawn_blocking(move || ServiceAccount::load(&settings))
                .await
                .map_err(|_| SandboxError::KeyGeneration)??
        };
        let key = SigningKey::load(&settings)?;

        let listen = settings.listen;
        let (fcm_listener, fcm_port) = bind(listen, settings.fcm_port, "FCM").await?;
        let (apns_listener, apns_port) = bind(listen, settings.apns_port, "APNs").await?;
        let (control_listener, control_port) = bind(listen, settings.control_port, "control").await?;
        let host = host(listen);
        let addresses = Addresses {
            fcm_base_url: format!("https://{host}:{fcm_port}"),
            oauth_token_url: format!("https://{host}:{fcm_port}/token"),
            apns_base_url: format!("https://{host}:{apns_port}"),
            control_url: format!("http://{host}:{control_port}"),
        };
        let service_account_file = account.write(&settings.fcm.project_id, &addresses.oauth_token_url)?;

        let mut names = vec![host.as_str(), "localhost", "127.0.0.1"];
        names.extend(settings.names.iter().map(String::as_str));
        let core = Arc::new(Core {
            clock: clock::Clock::new(clock),
            ledger: ledger::Ledger::new(&settings.ledger),
            director: script::Director::default(),
            access_tokens: fcm::oauth::AccessTokens::default(),
            account,
            key,
            audiences: names
                .iter()
                .map(|name| format!("https://{name}:{fcm_port}/token"))
                .collect(),
            load: load::Meter::default(),
            settings: settings.clone(),
        });
        core.director.replace(script)?;

        let (stopper, stopped) = stop::Stopper::new();
        let connections = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let fcm_door = Door {
            listener: fcm_listener,
            acceptor: TlsAcceptor::from(identity.server_config(&["h2", "http/1.1"])?),
            connections: Arc::clone(&connections),
            stop: stopped.clone(),
        };
        let apns_door = Door {
            listener: apns_listener,
            acceptor: TlsAcceptor::from(identity.server_config(&["h2"])?),
            connections,
            stop: stopped.clone(),
        };
        let (fcm, apns) = (
            fcm::Fcm::new(Arc::clone(&core)),
            apns::Apns::new(Arc::clone(&core)),
        );
        if settings.load_only {
            let fcm = load::Load::new(Provider::Fcm, fcm, Arc::clone(&core));
            let apns = load::Load::new(Provider::Apns, apns, Arc::clone(&core));
            tasks.spawn(fcm_door.serve(fcm));
            tasks.spawn(apns_door.serve(apns));
        } else {
            tasks.spawn(fcm_door.serve(fcm));
            tasks.spawn(apns_door.serve(apns));
        }
        tasks.spawn(control::serve(
            control_listener,
            Arc::new(control::Control {
                core: Arc::clone(&core),
                addresses: addresses.clone(),
                ca_pem: identity.ca_pem.clone(),
            }),
            stopped,
        ));
        tracing::info!(
            fcm = %addresses.fcm_base_url,
            apns = %addresses.apns_base_url,
            control = %addresses.control_url,
            "sandbox is up"
        );
        Ok(Self {
            addresses,
            ca_pem: identity.ca_pem,
            ca_file: settings.state_dir.join("ca.pem"),
            service_account_file,
            apns_key_file: core.key.path.clone(),
            apns_key_id: core.key.key_id.clone(),
            settings,
            stopper,
            tasks,
        })
    }

    /// Base URL of FCM; `/v1/projects/{project}/messages:send` is below it.
    pub fn fcm_base_url(&self) -> &str {
        &self.addresses.fcm_base_url
    }

    /// URL of the OAuth token endpoint, which is also the `token_uri` of the service account.
    pub fn oauth_token_url(&self) -> &str {
        &self.addresses.oauth_token_url
    }

    /// Base URL of APNs; `/3/device/{token}` is below it.
    pub fn apns_base_url(&self) -> &str {
        &self.addresses.apns_base_url
    }

    /// Base URL of the control API.
    pub fn control_url(&self) -> &str {
        &self.addresses.control_url
    }

    /// The certificate authority that clients have to trust, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The file with the certificate authority.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The service account of FCM, in the file that Google hands out.
    pub fn service_account_file(&self) -> &Path {
        &self.service_account_file
    }

    /// The project that the service account belongs to.
    pub fn project_id(&self) -> &str {
        &self.settings.fcm.project_id
    }

    /// The signing key of APNs, in the file that Apple hands out.
    pub fn apns_key_file(&self) -> &Path {
        &self.apns_key_file
    }

    /// The `kid` of provider tokens.
    pub fn apns_key_id(&self) -> &str {
        &self.apns_key_id
    }

    /// The `iss` of provider tokens.
    pub fn apns_team_id(&self) -> &str {
        &self.settings.apns.team_id
    }

    /// The first topic that may be pushed to.
    pub fn apns_topic(&self) -> &str {
        self.settings.apns.topics.first().map_or("", String::as_str)
    }

    /// The settings that it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Stops: no new connection is accepted, requests at work are answered for half a second, then
    /// everything is closed. Nothing of the sandbox runs when this returns.
    pub async fn shutdown(mut self) {
        self.stopper.stop();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn check(settings: &Settings) -> Result<(), SandboxError> {
    let refuse = |name, problem| Err(SandboxError::Setting { name, problem });
    let range = "must be from 1 to 100000";
    let streams = 1..=100_000;
    if !streams.contains(&settings.fcm.max_streams) {
        return refuse("fcm.max_streams", range);
    }
    if !streams.contains(&settings.apns.max_streams) {
        return refuse("apns.max_streams", range);
    }
    if !(1..=settings.apns.max_streams).contains(&settings.apns.streams_before_auth) {
        return refuse("apns.streams_before_auth", "must be from 1 to apns.max_streams");
    }
    if settings.apns.topics.is_empty() {
        return refuse("apns.topics", "must name at least one bundle id");
    }
    if !(1..=86_400).contains(&settings.fcm.access_token_ttl_s) {
        return refuse("fcm.access_token_ttl_s", "must be from 1 to 86400");
    }
    if settings.fcm.quota_per_minute == Some(0) {
        return refuse("fcm.quota_per_minute", "must be at least 1");
    }
    if settings.fcm.quota_burst == Some(0) {
        return refuse("fcm.quota_burst", "must be at least 1");
    }
    if settings.latency_ms.max(settings.latency_jitter_ms) > 600_000 {
        return refuse("latency_ms", "must be at most 600000, as latency_jitter_ms");
    }
    Ok(())
}

fn script(settings: &Settings) -> Result<Script, SandboxError> {
    let mut script = settings.script.clone();
    if let Some(path) = &settings.script_file {
        let text = fs::read_to_string(path).map_err(|source| SandboxError::file(path, source))?;
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        let file: Result<Script, String> = if is_toml {
            toml::from_str(&text).map_err(|error| error.to_string())
        } else {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        };
        let file = file.map_err(|problem| SandboxError::State {
            path: path.clone(),
            problem,
        })?;
        script.rules.extend(file.rules);
    }
    Ok(script)
}

async fn bind(listen: IpAddr, port: u16, purpose: &'static str) -> Result<(TcpListener, u16), SandboxError> {
    let address = SocketAddr::new(listen, port);
    let refuse = |source| SandboxError::Listen {
        address,
        purpose,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let port = listener.local_addr().map_err(refuse)?.port();
    Ok((listener, port))
}

/// The host in URLs: an address that the certificate names and that is reached from this machine.
fn host(listen: IpAddr) -> String {
    match listen {
        IpAddr::V6(address) if !address.is_unspecified() => format!("[{address}]"),
        IpAddr::V4(address) if !address.is_unspecified() => address.to_string(),
        _ => Ipv4Addr::LOCALHOST.to_string(),
    }
}
