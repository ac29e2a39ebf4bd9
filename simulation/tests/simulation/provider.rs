//! A provider that keeps a ledger, and phones with trays.

use std::time::Duration;

use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform};
use jraze_domain::dispatch::{Delivery, DeviceEffect, Outcome, Scope};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_domain::message::Push;
use jraze_providers::{PayloadError, reason};
use jraze_worker::ports::{Provider, Providers};
use rand::RngExt as _;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::machine::Machine;
use crate::state::{APP, Nature, State};

/// How long a worker waits for an answer.
const NO_ANSWER_AFTER: Duration = Duration::from_secs(10);

/// One credential, for every worker the same.
#[derive(Debug, Clone)]
pub(crate) struct SimProviders(pub(crate) SimProvider);

#[derive(Debug, Clone)]
pub(crate) struct SimProvider(pub(crate) Machine);

impl Providers for SimProviders {
    type Provider = SimProvider;

    fn get(&self, app: AppId, platform: SendPlatform) -> Option<&SimProvider> {
        (app == APP && platform == SendPlatform::Fcm).then_some(&self.0)
    }

    fn configured(&self) -> impl Iterator<Item = (AppId, SendPlatform)> {
        std::iter::once((APP, SendPlatform::Fcm))
    }
}

impl Provider for SimProvider {
    /// All that matters of a message: its collapse identity.
    type Prepared = String;

    fn prepare(&self, push: &Push, _: DevicePlatform) -> Result<String, PayloadError> {
        Ok(format!("{:?}", push.collapse))
    }

    async fn send_while(
        &self,
        message: &String,
        token: &PushToken,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        let machine = &self.0;
        machine.another_call();
        machine.awake().await;
        let turn = machine.shared.with(|state| state.way(machine.provider_way / 4));
        sleep(turn).await;
        if !wanted() {
            return Outcome::new(Delivery::Requeued, reason::UNWANTED);
        }
        let device = DeviceId(token.as_str().parse().expect("tokens are numbers here"));
        if machine.shared.with(cannot_leave) {
            return Outcome::new(Delivery::Requeued, reason::NOT_CONNECTED)
                .with_hold(Scope::Connection, Some(Duration::from_secs(2)));
        }
        machine.shared.with(|state| leave(state, machine, device));
        // A machine may stand still between its last look and the request.
        machine.awake().await;
        let way = machine.provider_way;
        let (there, back) = machine.shared.with(|state| (state.way(way), state.way(way)));
        let (answer, waiting) = oneshot::channel();
        let (wire, message) = (machine.clone(), message.clone());
        tokio::spawn(async move {
            sleep(there).await;
            let outcome = wire.shared.with(|state| arrive(state, device, message));
            let silent = outcome.reason.as_str() == reason::NO_ANSWER;
            sleep(if silent { NO_ANSWER_AFTER } else { back }).await;
            wire.awake().await;
            // The worker may be gone.
            let _ = answer.send(outcome);
        });
        let lost = Outcome::new(Delivery::Unanswered, reason::CONNECTION_LOST);
        waiting.await.unwrap_or(lost)
    }

    fn quota(&self) -> Option<String> {
        Some("simulated".to_owned())
    }
}

fn cannot_leave(state: &mut State) -> bool {
    state.rng.random_bool(state.rates.unsent)
}

/// A request leaves a worker: rules 1 and 4.
fn leave(state: &mut State, machine: &Machine, device: DeviceId) {
    state.note(format_args!("{} sends to {device}", machine.name));
    if state.told.contains(&*machine.name) {
        state.violated(format!(
            "{} sent to {device} after it saw the cancel",
            machine.name
        ));
    }
    let ledger = state.of_device(device);
    ledger.left += 1;
    if ledger.left > ledger.claims + ledger.takeovers {
        let rule = format!("{device} was sent to without a claim: {ledger:?}");
        state.violated(rule);
    }
}

/// A request reaches the provider.
fn arrive(state: &mut State, device: DeviceId, message: String) -> Outcome {
    let now = state.now();
    let nature = state.devices.values().find(|there| there.target.id == device);
    let nature = nature.map_or(Nature::Refused, |there| there.nature);
    state.of_device(device).seen += 1;
    if now < state.credential_refused_until || state.rng.random_bool(state.rates.credential) {
        if now >= state.credential_refused_until {
            let lasts = Duration::from_secs(state.rng.random_range(1..20));
            state.credential_refused_until = now + lasts;
        }
        state.of_device(device).passing += 1;
        return Outcome::new(Delivery::Requeued, "AUTH").with_hold(Scope::Credential, None);
    }
    if state.rng.random_bool(state.rates.transient) {
        state.of_device(device).passing += 1;
        let wait = state.rng.random_bool(0.3);
        let wait = wait.then(|| Duration::from_secs(state.rng.random_range(1..30)));
        return Outcome::new(Delivery::Deferred, "UNAVAILABLE").with_hold(Scope::Delivery, wait);
    }
    let silence = state.rng.random_bool(state.rates.ambiguous);
    if silence && state.rng.random_bool(0.4) {
        // Not even taken.
        state.of_device(device).unanswered += 1;
        return Outcome::new(Delivery::Unanswered, reason::CONNECTION_LOST);
    }
    let outcome = match nature {
        Nature::Alive => {
            let ledger = state.of_device(device);
            ledger.accepted += 1;
            ledger.tray.insert(message);
            state.note(format_args!("provider takes {device}"));
            Outcome::accepted()
        }
        Nature::Dead => Outcome::new(Delivery::Unregistered, "UNREGISTERED")
            .with_device(DeviceEffect::Dead { since: None }),
        Nature::Refused => Outcome::new(Delivery::TokenRefused, "INVALID_ARGUMENT"),
    };
    if silence {
        state.of_device(device).unanswered += 1;
        let why = if state.rng.random_bool(0.5) {
            reason::NO_ANSWER
        } else {
            reason::CONNECTION_LOST
        };
        return Outcome::new(Delivery::Unanswered, why);
    }
    outcome
}
