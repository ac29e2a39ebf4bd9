//! How many sends a second, and what each costs: `cargo test -p jraze-tests --test wire -- --ignored
//! --nocapture measure`, for numbers that count with `--release`.
//!
//! The sandbox runs on one thread of its own and the providers on another, so that Linux can tell what
//! each has used.

use std::{sync::mpsc, time::Instant};

use futures_util::{StreamExt as _, stream};
use jraze_domain::dispatch::{Delivery, Outcome};
use jraze_providers::Provider;
use jraze_runtime::clock::{Clock as _, MockClock, SystemClock};
use jraze_sandbox::{Sandbox, Settings};
use tokio::runtime::Builder;

use super::rig::{self, APNS_TOKEN, FCM_TOKEN};

const SENDS: usize = 200_000;
const IN_FLIGHT: usize = 800;

/// Nanoseconds that this thread has run.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    text.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

async fn measure(name: &str, provider: &Provider, token: &str) {
    rig::send(provider, token).await;
    let prepared = rig::prepare(provider);
    let token = rig::push_token(token);
    println!(
        "{name}: a send takes {} bytes",
        size_of_val(&provider.send(&prepared, &token))
    );
    let (started, used) = (Instant::now(), cpu());
    let accepted = stream::iter(0..SENDS)
        .map(|_| provider.send(&prepared, &token))
        .buffer_unordered(IN_FLIGHT)
        .filter(|outcome: &Outcome| std::future::ready(outcome.delivery == Delivery::Accepted))
        .count()
        .await;
    let (took, used) = (started.elapsed(), cpu() - used);
    let rate = SENDS as f64 / took.as_secs_f64();
    let each = used as f64 / SENDS as f64 / 1_000.0;
    println!(
        "{name}: {rate:.0} sends/s, {each:.2} us of CPU each, {accepted} accepted, {:?}",
        provider.stats()
    );
    assert_eq!(accepted, SENDS);
}

#[test]
#[ignore = "a measurement"]
fn measure_both_providers() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::ephemeral(dir.path());
    settings.ledger.payloads = false;
    let (ready, sandbox) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let sandbox = Sandbox::start(settings).await.expect("the sandbox starts");
            ready
                .send(rig::credentials(&sandbox, &rig::quick()))
                .expect("somebody waits");
            std::future::pending::<()>().await;
        });
    });
    let credentials = sandbox.recv().expect("it starts");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let providers = rig::providers(credentials, &MockClock::at(SystemClock.now()));
        for (app, platform) in providers.configured() {
            let provider = providers.get(app, platform).expect("configured");
            let token = if matches!(**provider, Provider::Fcm(_)) {
                FCM_TOKEN
            } else {
                APNS_TOKEN
            };
            measure(platform.name(), provider, token).await;
        }
    });
}
