//! A worker's machine: its wire to everything else, and what happens to it.
//!
//! A call that has left the machine is on its way whatever becomes of the worker: it is a task of the
//! network, so a write may arrive after its writer has died or was taken for dead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_storage::StorageError;
use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::scenario::Mishap;
use crate::state::{Shared, State};

/// What becomes of one call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    /// It never arrives.
    Lost,
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// It fails, and is done so much later.
    Late(Duration),
    /// It fails in a way that a repeat does not mend.
    Broken,
}

/// The calls and mishaps of one place where workers run, over all its workers.
#[derive(Debug)]
pub(crate) struct Slot {
    calls: u32,
    /// The next one last.
    mishaps: Vec<(u32, Mishap)>,
}

impl Slot {
    pub(crate) fn new(mut mishaps: Vec<(u32, Mishap)>) -> Arc<Mutex<Self>> {
        mishaps.reverse();
        Arc::new(Mutex::new(Self { calls: 0, mishaps }))
    }
}

/// One worker's machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: Arc<str>,
    pub(crate) shared: Shared,
    pub(crate) storage_way: Duration,
    pub(crate) provider_way: Duration,
    slot: Arc<Mutex<Slot>>,
    frozen_until: Arc<Mutex<Instant>>,
    mishaps: mpsc::UnboundedSender<Mishap>,
}

impl Machine {
    pub(crate) fn new(
        name: String,
        shared: Shared,
        (storage_way, provider_way): (Duration, Duration),
        slot: Arc<Mutex<Slot>>,
        mishaps: mpsc::UnboundedSender<Mishap>,
    ) -> Self {
        Self {
            name: name.into(),
            shared,
            storage_way,
            provider_way,
            slot,
            frozen_until: Arc::new(Mutex::new(Instant::now())),
            mishaps,
        }
    }

    /// Another call is made; perhaps it is the one that something happens at.
    pub(crate) fn another_call(&self) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.calls += 1;
        let calls = slot.calls;
        let Some((_, mishap)) = slot.mishaps.pop_if(|(at, _)| *at <= calls) else {
            return;
        };
        drop(slot);
        self.shared.with(|state| {
            state.struck.insert(self.name.to_string());
            state.note(format_args!("{} {mishap:?}", self.name));
        });
        if let Mishap::Freeze(lasts) = mishap {
            *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + lasts;
        } else {
            // Nobody listens any more once everything has healed.
            let _ = self.mishaps.send(mishap);
        }
    }

    /// Waits while it is cut off.
    pub(crate) async fn awake(&self) {
        loop {
            let until = *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// One round trip to the database.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        operation: impl FnOnce(&mut State, DateTime<Utc>, &str) -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        self.another_call();
        self.awake().await;
        let way = self.storage_way;
        let (fate, there, back) = self.shared.with(|state| {
            state.calls += 1;
            let fate = fate(state);
            if !matches!(fate, Fate::Done) {
                state.struck.insert(self.name.to_string());
                state.note(format_args!("{} {what} {fate:?}", self.name));
            }
            (fate, state.way(way), state.way(way))
        });
        let (answer, waiting) = oneshot::channel();
        let machine = self.clone();
        tokio::spawn(async move {
            sleep(there).await;
            let done = || {
                machine.shared.with(|state| {
                    let now = state.now();
                    state.note(format_args!("{} {what}", machine.name));
                    operation(state, now, &machine.name)
                })
            };
            let result = match fate {
                Fate::Done => Ok(done()),
                Fate::Lost => Err(away()),
                Fate::Broken => Err(StorageError::Stopped),
                Fate::AnswerLost => {
                    done();
                    Err(away())
                }
                Fate::Late(after) => {
                    // The worker may be gone.
                    let _ = answer.send(Err(away()));
                    sleep(after).await;
                    done();
                    return;
                }
            };
            sleep(back).await;
            machine.awake().await;
            let _ = answer.send(result);
        });
        waiting.await.unwrap_or(Err(StorageError::Stopped))
    }
}

fn fate(state: &mut State) -> Fate {
    if !state.rng.random_bool(state.rates.storage) {
        return Fate::Done;
    }
    match state.rng.random_range(0..10) {
        0..4 => Fate::Lost,
        4..7 => Fate::AnswerLost,
        7..9 => Fate::Late(Duration::from_millis(state.rng.random_range(1..15_000))),
        _ => Fate::Broken,
    }
}

fn away() -> StorageError {
    StorageError::connection_lost(std::io::ErrorKind::ConnectionReset.into())
}
