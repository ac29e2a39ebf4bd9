//! How much of a provider's quota is this worker's.
//!
//! FCM counts the requests of a project, whoever sends them. So every worker says every few seconds that it
//! is there, hears how many send under the same quota, and takes the part that falls to it. There is no
//! leader and nothing is assigned: each worker takes its own part, and the rules below keep the sum of the
//! parts at the quota or under it while workers come, go and die.
//!
//! | a worker | takes |
//! | --- | --- |
//! | before the first answer of the database | [`LITTLE`] |
//! | that counts nobody but itself | all of it |
//! | that is new among others | [`LITTLE`], until each of them has had time to count it |
//! | among others | its part: one divided by how many they are |
//! | without an answer of the database for [`TRUSTED`] | [`LITTLE`]: the others may soon count it no more |
//!
//! A worker that stops takes its row away, one that dies is forgotten after [`LASTS`]; each of the others has
//! the larger part at its next look, [`EVERY`] later at most.
//!
//! Those under the same quota are those with a credential for the same Firebase project, for whichever app:
//! a project has one quota, and may hold several apps. Parts are equal although the work may not be: a
//! quota that one worker does not use is lost to the others, but a campaign large enough to need all of it
//! is in partitions that every worker takes its share of.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_runtime::clock::Clock;
use jraze_storage::dispatch::Via;
use jraze_storage::fleet::CredentialHold;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::gates::{Gated, Gates, Held};
use crate::pace::Lane;
use crate::ports::Fleet;

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// For how long a worker that falls silent is counted.
const LASTS: Duration = Duration::from_secs(10);
/// For how long the last answer is built upon.
const TRUSTED: Duration = Duration::from_secs(5);
/// After so long, each of the others has looked again, or trusts its last answer no more and has noticed.
const HEARD_OF: Duration = TRUSTED.saturating_add(EVERY);
/// Little enough to be no matter on top of a quota that others use up; of FCM's, up to a hundred and fifty
/// requests a second once the lane is warm.
const LITTLE: f64 = 1.0 / 64.0;

/// What a worker knows of its standing under one quota.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Standing {
    /// Since when the others count this worker without a break.
    since: Option<Instant>,
    /// When the last question left that was answered.
    asked: Option<Instant>,
    workers: usize,
}

impl Standing {
    /// The database counted so many `workers`, asked at `asked` and heard of at `now`.
    fn heard(&mut self, asked: Instant, now: Instant, workers: usize) {
        let unbroken = self
            .asked
            .is_some_and(|before| asked.saturating_duration_since(before) < LASTS);
        if !unbroken {
            self.since = None;
        }
        if workers <= 1 {
            // Nobody has to hear of it; whoever comes finds it there.
            self.since = Some(now.checked_sub(HEARD_OF).unwrap_or(now));
        }
        self.since.get_or_insert(now);
        self.asked = Some(asked);
        self.workers = workers.max(1);
    }

    /// The part of the quota to take at `now`, above 0 and up to 1.
    fn part(&self, now: Instant) -> f64 {
        let (Some(since), Some(asked)) = (self.since, self.asked) else {
            return LITTLE;
        };
        let part = 1.0 / self.workers as f64;
        let trusted = now.saturating_duration_since(asked) < TRUSTED;
        let heard_of = self.workers == 1 || now.saturating_duration_since(since) >= HEARD_OF;
        if trusted && heard_of {
            part
        } else {
            part.min(LITTLE)
        }
    }
}

/// What this worker has in common with the others.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) owner: String,
    /// The quotas that it sends under, each with the lane of its sends.
    pub(crate) quotas: Vec<(String, Arc<Lane>)>,
    /// The credentials that it leaves alone, which it tells for those who look at a campaign.
    pub(crate) gates: Arc<Gates>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Membership {
    /// Keeps every lane at its part of the quota until `done`, then leaves.
    pub(crate) async fn keep(self, fleet: impl Fleet, done: &CancellationToken) {
        let (names, lanes): (Vec<String>, Vec<Arc<Lane>>) = self.quotas.into_iter().unzip();
        let mut standings = vec![Standing::default(); lanes.len()];
        // Something may be said to be held: until it is said that nothing is, it stays there.
        let mut shown = false;
        let apply = |standings: &[Standing]| {
            let now = Instant::now();
            for (standing, lane) in standings.iter().zip(&lanes) {
                lane.set_part(standing.part(now));
            }
        };
        apply(&standings);
        while !done.is_cancelled() {
            let asked = Instant::now();
            match meanwhile(fleet.present(&self.owner, &names, LASTS), || apply(&standings)).await {
                Ok(counts) => {
                    let now = Instant::now();
                    for (standing, workers) in standings.iter_mut().zip(counts) {
                        let before = standing.workers;
                        standing.heard(asked, now, workers);
                        if standing.workers != before {
                            tracing::info!(workers, "workers under this quota");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "counting the workers under a quota failed"),
            }
            apply(&standings);
            let held = self.gates.held(Instant::now());
            if shown || !held.is_empty() {
                let holds: Vec<_> = held.iter().map(|held| hold(held, self.clock.now())).collect();
                let telling = fleet.hold(&self.owner, &holds);
                match meanwhile(telling, || apply(&standings)).await {
                    Ok(()) => shown = !holds.is_empty(),
                    Err(error) => {
                        tracing::warn!(%error, "telling which credentials are held failed");
                        shown = true;
                    }
                }
            }
            done.run_until_cancelled(sleep_until(asked + EVERY)).await;
        }
        if let Err(error) = fleet.leave(&self.owner).await {
            tracing::debug!(%error, "the others count this worker for some seconds more");
        }
    }
}

/// Waits for the database and looks at the lanes all the while. The question is not dropped when it takes
/// long: that would cost a connection to the database each time.
async fn meanwhile<T>(question: impl Future<Output = T>, look: impl Fn()) -> T {
    let mut question = std::pin::pin!(question);
    loop {
        tokio::select! {
            biased;
            answer = &mut question => return answer,
            () = sleep(EVERY) => look(),
        }
    }
}

fn hold(held: &Held, now: DateTime<Utc>) -> CredentialHold {
    let Gated { app, by, on } = held.gated;
    CredentialHold {
        app,
        via: Via { by, on },
        reason: held.reason.clone(),
        since: now - held.since,
        until: now + held.left,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jraze_domain::device::SendPlatform;
    use jraze_domain::dispatch::Reason;
    use jraze_domain::ids::AppId;
    use jraze_runtime::clock::SystemClock;
    use jraze_storage::StorageError;

    use super::*;
    use crate::ports::Stored;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A fleet whose every second word is lost.
    #[derive(Debug, Default)]
    struct Deaf {
        tries: AtomicUsize,
        shown: AtomicUsize,
    }

    impl Fleet for Arc<Deaf> {
        async fn present(&self, _: &str, quotas: &[String], _: Duration) -> Stored<Vec<usize>> {
            Ok(vec![1; quotas.len()])
        }

        async fn hold(&self, _: &str, holds: &[CredentialHold]) -> Stored<()> {
            if self.tries.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                return Err(StorageError::Stopped);
            }
            self.shown.store(holds.len(), Ordering::Relaxed);
            Ok(())
        }

        async fn leave(&self, _: &str) -> Stored<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_nothing_is_held_any_more_is_said_until_it_is_heard() {
        let (fleet, gates, done) = (
            Arc::<Deaf>::default(),
            Arc::<Gates>::default(),
            CancellationToken::new(),
        );
        let membership = Membership {
            owner: "w".into(),
            quotas: Vec::new(),
            gates: gates.clone(),
            clock: Arc::new(SystemClock),
        };
        let credential = Gated::all(AppId(1), SendPlatform::Fcm);
        gates.close(credential, None, &Reason::new("UNAUTHENTICATED"), Instant::now());
        let (told, end) = (fleet.clone(), done.clone());
        let keeping = tokio::spawn(async move { membership.keep(told, &end).await });
        sleep(EVERY / 2).await;
        assert_eq!(fleet.shown.load(Ordering::Relaxed), 1);
        // Its wait is over, and something goes through.
        let later = Instant::now() + seconds(3_600);
        gates.open(credential, later);
        assert_eq!(gates.held(later), []);
        sleep(EVERY).await;
        assert_eq!(fleet.shown.load(Ordering::Relaxed), 1, "that word was lost");
        sleep(EVERY).await;
        assert_eq!(fleet.shown.load(Ordering::Relaxed), 0);
        let tries = fleet.tries.load(Ordering::Relaxed);
        sleep(EVERY * 3).await;
        assert_eq!(fleet.tries.load(Ordering::Relaxed), tries, "it is said once");
        done.cancel();
        keeping.await.unwrap();
    }

    #[test]
    fn little_is_taken_before_the_database_has_answered() {
        assert_eq!(Standing::default().part(Instant::now()), LITTLE);
    }

    #[test]
    fn who_is_alone_takes_all_of_it_at_once() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.heard(now, now, 1);
        assert_eq!(standing.part(now), 1.0);
    }

    #[test]
    fn a_newcomer_takes_little_until_the_others_have_had_time_to_count_it() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        for (second, wanted) in [(0, LITTLE), (2, LITTLE), (6, LITTLE), (8, 0.25), (10, 0.25)] {
            let now = start + seconds(second);
            standing.heard(now, now, 4);
            assert_eq!(standing.part(now), wanted, "after {second} s");
        }
    }

    #[test]
    fn who_was_there_before_makes_room_for_a_newcomer_at_once_and_takes_over_from_one_that_left() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.heard(start, start, 1);
        for (second, workers, wanted) in [(2, 2, 0.5), (4, 3, 1.0 / 3.0), (6, 2, 0.5), (8, 1, 1.0)] {
            let now = start + seconds(second);
            standing.heard(now, now, workers);
            assert_eq!(standing.part(now), wanted, "after {second} s");
        }
    }

    #[test]
    fn who_was_alone_for_a_moment_and_then_met_others_is_no_newcomer() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.heard(start, start, 1);
        let now = start + seconds(2);
        standing.heard(now, now, 2);
        // It was counted by the other when that one came.
        assert_eq!(standing.part(now), 0.5);
    }

    #[test]
    fn who_hears_nothing_falls_back_to_little_and_is_a_newcomer_once_it_was_forgotten() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.heard(start, start, 1);
        assert_eq!(standing.part(start + seconds(4)), 1.0);
        assert_eq!(standing.part(start + seconds(5)), LITTLE);
        // Still counted: at its part again with the answer.
        let now = start + seconds(9);
        standing.heard(now, now, 2);
        assert_eq!(standing.part(now), 0.5);
        // Forgotten: the others took its part.
        let now = now + seconds(10);
        standing.heard(now, now, 2);
        assert_eq!(standing.part(now), LITTLE);
        let now = now + seconds(4);
        standing.heard(now, now, 2);
        let now = now + seconds(3);
        assert_eq!(standing.part(now), 0.5);
    }

    #[test]
    fn a_newcomer_waits_until_one_whose_look_hangs_has_fallen_back() {
        let (mut old, mut newcomer, start) = (Standing::default(), Standing::default(), Instant::now());
        old.heard(start, start, 1);
        // It comes right after that look, and the next look of the old one is never answered.
        newcomer.heard(start, start, 2);
        for tenths in 0..200 {
            let now = start + Duration::from_millis(100 * tenths);
            if tenths % 20 == 0 {
                newcomer.heard(now, now, 2);
            }
            // A lane is looked at only so often.
            let seen = now.checked_sub(EVERY).unwrap_or(now).max(start);
            let sum = old.part(seen) + newcomer.part(now);
            assert!(sum <= 1.0 + LITTLE, "{sum} after {tenths} tenths of a second");
        }
    }

    #[test]
    fn among_very_many_the_part_of_a_newcomer_is_no_larger_than_its_part() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.heard(now, now, 1_000);
        assert_eq!(standing.part(now), 0.001);
    }

    /// Workers that come, go and die at odd times, over a fleet as the database keeps it: the parts that
    /// they take never come to more than the quota and a little.
    #[test]
    fn the_sum_of_the_parts_stays_at_the_quota_while_workers_come_and_go() {
        let start = Instant::now();
        let step = Duration::from_millis(100);
        // When each comes, when it ends, and whether it leaves in good order.
        let lives = [
            (0, 400, true),
            (7, 900, false),
            (7, 300, false),
            (55, 1_000, true),
            (211, 260, true),
            (213, 800, false),
            (505, 1_000, true),
        ];
        let mut standings = [Standing::default(); 7];
        let mut rows: [Option<Instant>; 7] = [None; 7];
        let mut full = 0;
        for tick in 0..1_000_u32 {
            let now = start + step * tick;
            for (n, (comes, ends, leaves)) in lives.into_iter().enumerate() {
                if tick == ends && leaves {
                    rows[n] = None;
                }
                if tick >= comes && tick < ends && (tick - comes).is_multiple_of(20) {
                    rows[n] = Some(now + LASTS);
                    let workers = rows.iter().flatten().filter(|until| **until > now).count();
                    standings[n].heard(now, now, workers);
                }
            }
            let there = |n: usize| tick >= lives[n].0 && tick < lives[n].1;
            let sum: f64 = (0..7).filter(|n| there(*n)).map(|n| standings[n].part(now)).sum();
            assert!(sum <= 1.0 + 3.0 * LITTLE, "{sum} at {tick}");
            full += u32::from(sum > 0.99);
        }
        // Whoever comes takes little for seven seconds, and six of them come in these hundred.
        assert!(full > 425, "and it is used: {full} of 1000");
    }
}
