//! How many requests may be without an answer: wider while answers come well, half when they do not.
//!
//! Additive increase, multiplicative decrease. It begins at its bound, because most providers bear it
//! and the rate and the streams of the connections bound a start anyway; after trouble it grows by one
//! for every window's worth of good answers, and only while it is in use.

use tokio::time::Instant;

/// However often it is halved, so many requests may be under way.
const LEAST: f64 = 1.0;

/// A width that follows the answers.
#[derive(Debug, Clone)]
pub(super) struct Window {
    width: f64,
    most: f64,
    halved_at: Option<Instant>,
}

impl Window {
    /// At most `most` requests, from 1.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self {
            width: most,
            most,
            halved_at: None,
        }
    }

    /// Requests that may be without an answer.
    pub(super) fn width(&self) -> usize {
        self.width as usize
    }

    /// Whether it is as wide as it may be.
    pub(super) fn is_full(&self) -> bool {
        self.width >= self.most
    }

    /// A good answer, with so many requests under way, its own included.
    pub(super) fn grow(&mut self, in_flight: usize) {
        // A window that is not used proves nothing about a wider one.
        if in_flight as f64 * 2.0 >= self.width.floor() {
            self.width = (self.width + 1.0 / self.width).min(self.most);
        }
    }

    /// Trouble with a request that left at `left_at`.
    pub(super) fn halve(&mut self, left_at: Instant, now: Instant) {
        if self.halved_at.is_some_and(|halved_at| left_at <= halved_at) {
            return;
        }
        self.width = (self.width / 2.0).max(LEAST);
        self.halved_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_never_passes_its_bound_and_never_closes() {
        let start = Instant::now();
        let mut window = Window::new(100);
        for _ in 0..1_000 {
            window.grow(100);
        }
        assert_eq!(window.width(), 100);
        for n in 0..100 {
            window.halve(start + n * SECOND, start + n * SECOND);
        }
        assert_eq!(window.width(), 1);
    }

    #[test]
    fn trouble_of_what_left_before_the_last_halving_halves_nothing_again() {
        let start = Instant::now();
        let mut window = Window::new(800);
        for _ in 0..800 {
            window.halve(start, start + SECOND);
        }
        assert_eq!(window.width(), 400);
        window.halve(start + 2 * SECOND, start + 3 * SECOND);
        assert_eq!(window.width(), 200);
    }

    #[test]
    fn a_windows_worth_of_good_answers_widens_it_by_one() {
        let start = Instant::now();
        let mut window = Window::new(800);
        window.halve(start, start);
        for _ in 0..401 {
            window.grow(400);
        }
        assert_eq!(window.width(), 401);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let start = Instant::now();
        let mut window = Window::new(800);
        window.halve(start, start);
        for _ in 0..10_000 {
            window.grow(10);
        }
        assert_eq!(window.width(), 400);
    }
}
