//! Which connection the next request takes.
//!
//! Some in a row take the same one, if it has room: they leave in one write and mostly come back in one read,
//! and loads are compared once for all of them. A connection that hangs gets no more than one such row beyond
//! its share.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::connection::State;

/// Requests in a row that take the same connection before loads are compared again.
const TOGETHER: usize = 16;

/// Whose turn it is among the connections of a pool. Their list may change at any time: then it is the turn of
/// whoever stands in the same place.
#[derive(Debug, Default)]
pub(super) struct Turn {
    place: AtomicUsize,
    asked: AtomicUsize,
}

/// A stream that was taken.
#[derive(Debug)]
pub(super) struct Taken<'a, T> {
    pub(super) on: &'a T,
    /// Every connection has as many streams in flight as make it busy.
    pub(super) all_busy: bool,
}

impl Turn {
    /// Takes a stream of one of these connections, each of which has a `state`; `None` when none is free. One is
    /// busy from `busy` streams in flight on.
    pub(super) fn take<'a, T>(
        &self,
        connections: &'a [T],
        state: impl Fn(&T) -> &State,
        busy: usize,
    ) -> Option<Taken<'a, T>> {
        let goes_on = !self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(TOGETHER);
        // A busy one has no turn: only the least busy tells whether all are.
        if goes_on
            && let Some(on) = connections.get(self.place.load(Ordering::Relaxed))
            && state(on).in_flight() + 1 < busy
            && state(on).reserve()
        {
            return Some(Taken { on, all_busy: false });
        }
        loop {
            let usable = |(_, one): &(usize, &T)| {
                let state = state(one);
                state.in_flight() < state.limit() && !state.is_retired()
            };
            let (place, on) = connections
                .iter()
                .enumerate()
                .filter(usable)
                .min_by_key(|(_, one)| state(one).in_flight())?;
            if state(on).reserve() {
                self.place.store(place, Ordering::Relaxed);
                let all_busy = state(on).in_flight() >= busy;
                return Some(Taken { on, all_busy });
            }
            // Somebody was faster.
        }
    }

    /// The next request takes the least busy connection: the one whose turn it was refuses them.
    pub(super) fn end(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MANY: usize = 1_000;

    fn connection(number: u64, limit: usize) -> State {
        let state = State::new(number, Arc::default());
        state.set_limit(limit);
        state
    }

    fn connections(limits: &[usize]) -> Vec<State> {
        let each = (0..).zip(limits);
        each.map(|(number, limit)| connection(number, *limit)).collect()
    }

    fn take(turn: &Turn, among: &[State], busy: usize) -> Option<(u64, bool)> {
        let taken = turn.take(among, |state| state, busy)?;
        Some((taken.on.number, taken.all_busy))
    }

    #[test]
    fn sixteen_in_a_row_share_a_connection_and_then_it_is_the_least_busys_turn() {
        let (turn, among) = (Turn::default(), connections(&[100, 100]));
        let taken: Vec<u64> = (0..64)
            .map(|_| take(&turn, &among, MANY).expect("free").0)
            .collect();
        let rows: Vec<(u64, usize)> = taken
            .chunk_by(|one, next| one == next)
            .map(|row| (row[0], row.len()))
            .collect();
        assert_eq!(rows, [(0, 16), (1, 16), (0, 16), (1, 16)]);
    }

    #[test]
    fn one_without_room_or_that_is_retired_loses_its_turn_and_nobody_free_is_none() {
        let (turn, among) = (Turn::default(), connections(&[3, 100]));
        let taken: Vec<u64> = (0..6)
            .map(|_| take(&turn, &among, MANY).expect("free").0)
            .collect();
        assert_eq!(taken, [0, 0, 0, 1, 1, 1]);
        among[1].retire();
        assert_eq!(take(&turn, &among, MANY), None);
        among[0].release();
        assert_eq!(take(&turn, &among, MANY), Some((0, false)));
    }

    #[test]
    fn a_busy_one_loses_its_turn_and_all_are_busy_only_when_the_least_busy_is() {
        let (turn, among) = (Turn::default(), connections(&[100, 100]));
        let taken: Vec<(u64, bool)> = (0..20).map(|_| take(&turn, &among, 10).expect("free")).collect();
        let first_told = taken.iter().position(|(_, all_busy)| *all_busy);
        // Of nine and nine the next makes one busy, and the one after it the other.
        assert_eq!(first_told, Some(18), "{taken:?}");
    }

    #[test]
    fn a_list_that_changed_is_no_harm() {
        let (turn, mut among) = (Turn::default(), connections(&[1, 1, 100]));
        for _ in 0..4 {
            take(&turn, &among, MANY);
        }
        among.truncate(1);
        among[0].release();
        assert_eq!(take(&turn, &among, MANY), Some((0, false)));
        assert_eq!(take(&turn, &[], MANY), None);
    }

    #[test]
    fn who_refuses_has_no_turn_any_more_when_another_is_less_busy() {
        let (turn, among) = (Turn::default(), connections(&[100, 100]));
        assert_eq!(take(&turn, &among, MANY), Some((0, false)));
        turn.end();
        assert_eq!(take(&turn, &among, MANY), Some((1, false)));
    }
}
