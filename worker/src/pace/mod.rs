//! How fast and how wide one credential sends.
//!
//! Two rules, each pure and told the time: [`rate`] spreads requests evenly below the provider's quota,
//! [`window`] bounds how many are without an answer. What an answer means for them is the provider's
//! table ([`jraze_providers::pressure`]); this module only obeys it:
//!
//! | answer | rate | window |
//! | --- | --- | --- |
//! | a good one, refusals of single devices included | | grows |
//! | the credential's quota is used up (FCM 429) | halved, then back by 10 % of the full rate in 10 s | halved |
//! | overloaded or silent (503, edges, no answer in time) | | halved |
//! | anything else | | |
//!
//! The many requests under way when the provider first complains all complain alike, so what left before
//! the last halving halves nothing again.
//!
//! A [`Lane`] puts both in the way of the sends under one quota. Campaigns take turns there: the sends of
//! each stand in a line of their own, of which only the first [`HEADS`] wait with those of other campaigns.
//! So a small campaign passes a large one's hundreds of thousands, however long those have waited.

mod rate;
mod window;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jraze_domain::ids::NotificationId;
use jraze_providers::Pressure;
use tokio::sync::{Mutex as Turnstile, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use rate::Rate;
use window::Window;

/// Sends of one campaign that wait in the lane itself. More would let a large campaign stand in front of a
/// small one, fewer would make every send wait until the one before it was heard of.
const HEADS: usize = 16;
/// The longest sleep before a look at whether the rate has changed or the send is still wanted.
const DOZE: Duration = Duration::from_millis(250);
/// Lines that are kept before those that nobody stands in are given up.
const LINES: usize = 64;

/// What bounds a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Requests that may be without an answer, from 1.
    pub(crate) max_in_flight: usize,
    /// Requests a minute, when the provider has a quota.
    pub(crate) quota: Option<u32>,
    /// The time in which the rate warms up; 0 for none.
    pub(crate) warm_up: Duration,
}

/// What all sends under one quota pass through.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Where the sends of each campaign wait for their turn among the others.
    lines: Mutex<BTreeMap<NotificationId, Arc<Semaphore>>>,
    /// Whether there is a rate, and so always somebody who waits.
    is_limited: bool,
    /// As many permits as the window is wide.
    places: Semaphore,
    /// One at a time waits for the rate, so that nobody overtakes.
    turnstile: Turnstile<()>,
    pace: Mutex<Pace>,
    /// The window is as wide as it may be and nothing is to be taken back, so a good answer changes
    /// nothing, and no lock is taken for it.
    is_steady: AtomicBool,
}

#[derive(Debug)]
struct Pace {
    rate: Option<Rate>,
    window: Window,
    /// Permits that exist, taken or not.
    permits: usize,
}

impl Pace {
    fn is_steady(&self) -> bool {
        self.window.is_full() && self.permits == self.window.width()
    }
}

/// The right to send one request; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    lane: &'a Lane,
    permit: Option<SemaphorePermit<'a>>,
    /// Its place at the head of its campaign's line, until it leaves.
    head: Option<OwnedSemaphorePermit>,
    left_at: Option<Instant>,
}

impl Lane {
    /// A lane that nobody is in.
    pub(crate) fn new(bounds: Bounds, now: Instant) -> Self {
        let window = Window::new(bounds.max_in_flight);
        let permits = window.width();
        Self {
            lines: Mutex::default(),
            is_limited: bounds.quota.is_some(),
            places: Semaphore::new(permits),
            turnstile: Turnstile::new(()),
            pace: Mutex::new(Pace {
                rate: bounds.quota.map(|quota| Rate::new(quota, bounds.warm_up, now)),
                window,
                permits,
            }),
            is_steady: AtomicBool::new(true),
        }
    }

    /// Waits for this campaign's turn and for a place in the window. [`Turn::wait_for_rate`] comes next,
    /// unless nothing is sent.
    pub(crate) async fn enter(&self, campaign: NotificationId) -> Turn<'_> {
        let (head, permit) = if !self.is_limited
            && let Ok(permit) = self.places.try_acquire()
        {
            // Nobody waits, so there is no line to stand in.
            (None, Some(permit))
        } else {
            // Apart, so that a send that need not wait is small.
            Box::pin(self.line_up(campaign)).await
        };
        Turn {
            lane: self,
            permit,
            head,
            left_at: None,
        }
    }

    /// From now on this part of the quota is this worker's; above 0, up to 1.
    pub(crate) fn set_part(&self, part: f64) {
        if let Some(rate) = &mut self.pace().rate {
            rate.set_part(part, Instant::now());
        }
    }

    async fn line_up(
        &self,
        campaign: NotificationId,
    ) -> (Option<OwnedSemaphorePermit>, Option<SemaphorePermit<'_>>) {
        // Never closed, neither of them, so the place always comes.
        let head = self.line(campaign).acquire_owned().await.ok();
        (head, self.places.acquire().await.ok())
    }

    async fn wait_for_rate(&self, wanted: impl Fn() -> bool) {
        let _first = self.turnstile.lock().await;
        while wanted() {
            let now = Instant::now();
            let taken = self.pace().rate.as_mut().map(|rate| rate.take(now));
            match taken {
                Some(Err(wait)) => sleep(wait.min(DOZE)).await,
                Some(Ok(())) | None => break,
            }
        }
    }

    fn line(&self, campaign: NotificationId) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() > LINES && !lines.contains_key(&campaign) {
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        let line = lines
            .entry(campaign)
            .or_insert_with(|| Arc::new(Semaphore::new(HEADS)));
        Arc::clone(line)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Waits until the quota allows one more request, or until it is not `wanted` any more: what is called
    /// off takes nothing of the quota and holds up nobody behind it. Tells when that was: the send counts as
    /// left then.
    pub(crate) async fn wait_for_rate(&mut self, wanted: impl Fn() -> bool) -> Instant {
        if self.lane.is_limited {
            Box::pin(self.lane.wait_for_rate(wanted)).await;
        }
        let now = Instant::now();
        self.left_at = Some(now);
        self.head = None;
        now
    }

    /// What the answer said about the load.
    pub(crate) fn report(&self, pressure: Pressure) {
        if pressure == Pressure::Well && self.lane.is_steady.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        let left_at = self.left_at.unwrap_or(now);
        let mut pace = self.lane.pace();
        let in_flight = pace.permits.saturating_sub(self.lane.places.available_permits());
        match pressure {
            Pressure::Well => pace.window.grow(in_flight),
            Pressure::Overloaded => pace.window.halve(left_at, now),
            Pressure::OverQuota => {
                pace.window.halve(left_at, now);
                if let Some(rate) = &mut pace.rate {
                    rate.halve(left_at, now);
                }
            }
            Pressure::Unrelated => return,
        }
        let width = pace.window.width();
        if width > pace.permits {
            self.lane.places.add_permits(width - pace.permits);
            pace.permits = width;
        } else {
            // Places that are taken go when they are given back.
            pace.permits -= self.lane.places.forget_permits(pace.permits - width);
        }
        self.lane.is_steady.store(pace.is_steady(), Ordering::Release);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.lane.is_steady.load(Ordering::Acquire) {
            return;
        }
        let mut pace = self.lane.pace();
        if let Some(permit) = self.permit.take()
            && pace.permits > pace.window.width()
        {
            pace.permits -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    const ONE: NotificationId = NotificationId(1);
    const OTHER: NotificationId = NotificationId(2);

    fn lane(max_in_flight: usize, quota: Option<u32>) -> Lane {
        let bounds = Bounds {
            max_in_flight,
            quota,
            warm_up: Duration::ZERO,
        };
        Lane::new(bounds, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_provider_gets_half_as_many_at_a_time_once() {
        let lane = lane(8, None);
        let mut turns = Vec::new();
        for _ in 0..8 {
            turns.push(lane.enter(ONE).await);
        }
        for turn in &turns {
            turn.report(Pressure::Overloaded);
        }
        drop(turns);
        assert_eq!(lane.places.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn good_answers_widen_the_window_again_up_to_its_bound() {
        let lane = lane(8, None);
        lane.enter(ONE).await.report(Pressure::Overloaded);
        assert_eq!(lane.places.available_permits(), 4);
        for _ in 0..100 {
            let mut turns = Vec::new();
            while lane.places.available_permits() > 0 {
                turns.push(lane.enter(ONE).await);
            }
            turns.iter().for_each(|turn| turn.report(Pressure::Well));
        }
        assert_eq!(lane.places.available_permits(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_quota_spreads_sends_evenly() {
        // 600 a minute are ten a second, at most one of them at once.
        let lane = lane(1_000, Some(600));
        let started = Instant::now();
        for _ in 0..31 {
            lane.enter(ONE).await.wait_for_rate(|| true).await;
        }
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(2_990)..Duration::from_millis(3_100)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_called_off_waits_no_longer_and_takes_nothing() {
        let lane = lane(1_000, Some(60));
        lane.enter(ONE).await.wait_for_rate(|| true).await;
        let started = Instant::now();
        for _ in 0..1_000 {
            lane.enter(ONE).await.wait_for_rate(|| false).await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        lane.enter(ONE).await.wait_for_rate(|| true).await;
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_used_up_quota_sends_are_half_as_fast() {
        let lane = lane(1_000, Some(6_000));
        sleep(Duration::from_secs(1)).await;
        let mut turn = lane.enter(ONE).await;
        turn.wait_for_rate(|| true).await;
        turn.report(Pressure::OverQuota);
        drop(turn);
        let started = Instant::now();
        for _ in 0..100 {
            lane.enter(ONE).await.wait_for_rate(|| true).await;
        }
        // 50 a second and a little more every second.
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(1_750)..Duration::from_millis(2_050)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_campaign_takes_turns_with_a_large_one_that_came_first() {
        // 50 a second.
        let lane = lane(100, Some(3_000));
        let started = Instant::now();
        let send = async |campaign| {
            lane.enter(campaign).await.wait_for_rate(|| true).await;
            started.elapsed()
        };
        let large = join_all((0..2_000).map(|_| send(ONE)));
        let small = async {
            sleep(Duration::from_secs(2)).await;
            let left = join_all((0..50).map(|_| send(OTHER))).await;
            left.into_iter().max().expect("fifty") - Duration::from_secs(2)
        };
        let (large, small) = tokio::join!(large, small);
        // Alone it would need one second, with every other turn two.
        assert!(small < Duration::from_millis(2_600), "{small:?}");
        let last = large.into_iter().max().expect("two thousand");
        assert!(
            last < Duration::from_millis(41_500),
            "nothing of the rate is lost: {last:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_campaign_gets_places_too_when_answers_are_slow() {
        let lane = lane(10, None);
        let started = Instant::now();
        let send = async |campaign| {
            let mut turn = lane.enter(campaign).await;
            turn.wait_for_rate(|| true).await;
            sleep(Duration::from_millis(100)).await;
            started.elapsed()
        };
        let large = join_all((0..1_000).map(|_| send(ONE)));
        let small = async {
            sleep(Duration::from_secs(1)).await;
            let left = join_all((0..20).map(|_| send(OTHER))).await;
            left.into_iter().max().expect("twenty") - Duration::from_secs(1)
        };
        let (_, small) = tokio::join!(large, small);
        assert!(small < Duration::from_millis(900), "{small:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_at_a_small_part_of_the_quota_hears_soon_of_a_larger_one() {
        let lane = lane(10, Some(60));
        lane.set_part(1.0 / 64.0);
        lane.enter(ONE).await.wait_for_rate(|| true).await;
        let started = Instant::now();
        let (_, ()) = tokio::join!(
            async { lane.enter(ONE).await.wait_for_rate(|| true).await },
            async {
                sleep(Duration::from_secs(1)).await;
                lane.set_part(1.0);
            }
        );
        let took = started.elapsed();
        assert!(took < Duration::from_millis(2_300), "{took:?}");
    }

    #[tokio::test]
    async fn lines_that_nobody_stands_in_are_given_up() {
        // Where there is a rate, everybody lines up.
        let lane = lane(10, Some(600));
        let _standing = lane.enter(NotificationId(1)).await;
        for id in 2..1_000 {
            drop(lane.enter(NotificationId(id)).await);
        }
        let lines = lane.lines.lock().expect("nobody panicked");
        assert!(lines.len() <= LINES + 1 && lines.contains_key(&NotificationId(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_takes_one_place_and_a_full_lane_moves_on_when_it_is_halved() {
        let alone = lane(1, Some(600_000));
        drop(alone.enter(ONE).await);
        let full = lane(64, Some(600_000));
        let send = async || {
            let mut turn = full.enter(ONE).await;
            turn.wait_for_rate(|| true).await;
            sleep(Duration::from_millis(20)).await;
            turn.report(Pressure::Overloaded);
        };
        let all = join_all((0..400).map(|_| send()));
        let done = tokio::time::timeout(Duration::from_secs(600), all).await;
        assert!(done.is_ok(), "they wait for each other");
    }
}
