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
//! A [`Lane`] puts both in the way of one credential's sends, in the order of their coming.

mod rate;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jraze_providers::Pressure;
use tokio::sync::{Mutex as Turnstile, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use rate::Rate;
use window::Window;

/// What all sends of one credential pass through.
#[derive(Debug)]
pub(crate) struct Lane {
    /// As many permits as the window is wide.
    places: Semaphore,
    /// One at a time waits for the rate, so that nobody overtakes.
    turnstile: Turnstile<()>,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    rate: Option<Rate>,
    window: Window,
    /// Permits that exist, taken or not.
    permits: usize,
}

/// The right to send one request; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    lane: &'a Lane,
    permit: Option<SemaphorePermit<'a>>,
    left_at: Instant,
}

impl Lane {
    /// A lane of at most `max_in_flight` requests without an answer, and of `quota` requests a minute
    /// when the provider has one.
    pub(crate) fn new(max_in_flight: usize, quota: Option<u32>, now: Instant) -> Self {
        let window = Window::new(max_in_flight);
        let permits = window.width();
        Self {
            places: Semaphore::new(permits),
            turnstile: Turnstile::new(()),
            pace: Mutex::new(Pace {
                rate: quota.map(|quota| Rate::new(quota, now)),
                window,
                permits,
            }),
        }
    }

    /// Waits for a place in the window. [`Turn::wait_for_rate`] comes next, unless nothing is sent.
    pub(crate) async fn enter(&self) -> Turn<'_> {
        // Never closed, so the place always comes.
        let permit = self.places.acquire().await.ok();
        Turn {
            lane: self,
            permit,
            left_at: Instant::now(),
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Waits until the quota allows one more request, or until it is not `wanted` any more: what is called
    /// off takes nothing of the quota and holds up nobody behind it.
    pub(crate) async fn wait_for_rate(&mut self, wanted: impl Fn() -> bool) {
        let is_limited = self.lane.pace().rate.is_some();
        if is_limited {
            let _first = self.lane.turnstile.lock().await;
            while wanted() {
                let now = Instant::now();
                let taken = self.lane.pace().rate.as_mut().map(|rate| rate.take(now));
                match taken {
                    Some(Err(wait)) => sleep(wait).await,
                    Some(Ok(())) | None => break,
                }
            }
        }
        self.left_at = Instant::now();
    }

    /// What the answer said about the load.
    pub(crate) fn report(&self, pressure: Pressure) {
        let now = Instant::now();
        let mut pace = self.lane.pace();
        let in_flight = pace.permits.saturating_sub(self.lane.places.available_permits());
        match pressure {
            Pressure::Well => pace.window.grow(in_flight),
            Pressure::Overloaded => pace.window.halve(self.left_at, now),
            Pressure::OverQuota => {
                pace.window.halve(self.left_at, now);
                if let Some(rate) = &mut pace.rate {
                    rate.halve(self.left_at, now);
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
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
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
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_provider_gets_half_as_many_at_a_time_once() {
        let lane = Lane::new(8, None, Instant::now());
        let mut turns = Vec::new();
        for _ in 0..8 {
            turns.push(lane.enter().await);
        }
        for turn in &turns {
            turn.report(Pressure::Overloaded);
        }
        drop(turns);
        assert_eq!(lane.places.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn good_answers_widen_the_window_again_up_to_its_bound() {
        let lane = Lane::new(8, None, Instant::now());
        lane.enter().await.report(Pressure::Overloaded);
        assert_eq!(lane.places.available_permits(), 4);
        for _ in 0..100 {
            let mut turns = Vec::new();
            while lane.places.available_permits() > 0 {
                turns.push(lane.enter().await);
            }
            turns.iter().for_each(|turn| turn.report(Pressure::Well));
        }
        assert_eq!(lane.places.available_permits(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_quota_spreads_sends_evenly() {
        // 600 a minute are ten a second, at most one of them at once.
        let lane = Lane::new(1_000, Some(600), Instant::now());
        let started = Instant::now();
        for _ in 0..31 {
            lane.enter().await.wait_for_rate(|| true).await;
        }
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(2_990)..Duration::from_millis(3_100)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_called_off_waits_no_longer_and_takes_nothing() {
        let lane = Lane::new(1_000, Some(60), Instant::now());
        lane.enter().await.wait_for_rate(|| true).await;
        let started = Instant::now();
        for _ in 0..1_000 {
            lane.enter().await.wait_for_rate(|| false).await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        lane.enter().await.wait_for_rate(|| true).await;
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_used_up_quota_sends_are_half_as_fast() {
        let lane = Lane::new(1_000, Some(6_000), Instant::now());
        sleep(Duration::from_secs(1)).await;
        let mut turn = lane.enter().await;
        turn.wait_for_rate(|| true).await;
        turn.report(Pressure::OverQuota);
        drop(turn);
        let started = Instant::now();
        for _ in 0..100 {
            lane.enter().await.wait_for_rate(|| true).await;
        }
        // 50 a second and a little more every second.
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(1_750)..Duration::from_millis(2_050)).contains(&took),
            "{took:?}"
        );
    }
}
