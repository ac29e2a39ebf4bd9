//! The state machine of a notification: one table, and nothing else decides.
//!
//! ```text
//! DRAFT --launch--> QUEUED --start--> LAUNCHED --finish--> SENT
//!   |                 |               |   ^  |
//!   |                 |         pause |   | resume
//!   +----withdraw-----+        (hold) v   |  |
//!           |                        PAUSED  |
//!           v                           |    |
//!        DELETED                     cancel -+--> CANCELED        fail: QUEUED, LAUNCHED, PAUSED --> ERROR
//! ```
//!
//! To add an edge: add its row to [`EDGES`], and say in [`Event`] who may cause it. Storage turns an
//! edge into a compare-and-set on the state it starts from, so two callers never both take it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a notification is in its life. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// Being written; the only state in which it can be edited.
    Draft = 0,
    /// Planned and being sent.
    Launched = 1,
    /// Every device has a final outcome and the counts are settled. Terminal.
    Sent = 2,
    /// Stopped by us, with a stated reason. Terminal.
    Error = 3,
    /// Withdrawn by a person before it was sent. Terminal.
    Deleted = 4,
    /// Launched by a person; waits for `scheduled_at` or for its dispatch plan.
    Queued = 5,
    /// Held in the middle of sending, by a person or by a brake; nothing new leaves.
    Paused = 6,
    /// Stopped by a person in the middle of sending; what had gone stays gone. Terminal.
    Canceled = 7,
}

/// Something that happens to a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A person launches it.
    Launch,
    /// The planner has written its partitions.
    Start,
    /// The last outcome is settled.
    Finish,
    /// It cannot go on (a broken audience, a refused payload).
    Fail,
    /// A person takes it back before anything was sent.
    Withdraw,
    /// A person holds it.
    Pause,
    /// A brake holds it: what the provider answers has to be looked at by a person.
    Hold,
    /// A person lets it go on.
    Resume,
    /// A person stops it for good.
    Cancel,
}

/// The whole machine: from, event, to. Whatever is not here is refused.
pub const EDGES: &[(Status, Event, Status)] = &[
    (Status::Draft, Event::Launch, Status::Queued),
    (Status::Draft, Event::Withdraw, Status::Deleted),
    (Status::Queued, Event::Start, Status::Launched),
    (Status::Queued, Event::Withdraw, Status::Deleted),
    (Status::Queued, Event::Fail, Status::Error),
    (Status::Launched, Event::Finish, Status::Sent),
    (Status::Launched, Event::Pause, Status::Paused),
    (Status::Launched, Event::Hold, Status::Paused),
    (Status::Launched, Event::Cancel, Status::Canceled),
    (Status::Launched, Event::Fail, Status::Error),
    (Status::Paused, Event::Resume, Status::Launched),
    (Status::Paused, Event::Cancel, Status::Canceled),
    (Status::Paused, Event::Fail, Status::Error),
];

/// A transition that the machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a notification that is {from} cannot become {to}")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: Status,
    /// The state that was asked for.
    pub to: Status,
}

impl Status {
    /// Every state, in the order of the contract's numbers.
    pub const ALL: [Status; 8] = [
        Status::Draft,
        Status::Launched,
        Status::Sent,
        Status::Error,
        Status::Deleted,
        Status::Queued,
        Status::Paused,
        Status::Canceled,
    ];

    /// The contract's number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The state with the contract's number, if there is one.
    pub fn from_number(number: i64) -> Option<Status> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Status::ALL.get(index).copied())
    }

    /// The contract's name.
    pub fn name(self) -> &'static str {
        match self {
            Status::Draft => "DRAFT",
            Status::Launched => "LAUNCHED",
            Status::Sent => "SENT",
            Status::Error => "ERROR",
            Status::Deleted => "DELETED",
            Status::Queued => "QUEUED",
            Status::Paused => "PAUSED",
            Status::Canceled => "CANCELED",
        }
    }

    /// Nothing leaves this state any more.
    pub fn is_terminal(self) -> bool {
        !EDGES.iter().any(|(from, _, _)| *from == self)
    }

    /// The state after `event`, or `None` when the machine has no such edge.
    pub fn after(self, event: Event) -> Option<Status> {
        EDGES
            .iter()
            .find(|(from, on, _)| *from == self && *on == event)
            .map(|(_, _, to)| *to)
    }

    /// The states in which `event` can happen, for the filter of a compare-and-set.
    pub fn sources(event: Event) -> impl Iterator<Item = Status> {
        EDGES
            .iter()
            .filter(move |(_, on, _)| *on == event)
            .map(|(from, _, _)| *from)
    }

    /// The event by which a *person* moves a notification from `self` to `wanted`.
    ///
    /// SENT, ERROR and the first LAUNCHED are ours to reach, never a request's.
    ///
    /// # Errors
    /// [`IllegalTransition`] naming both states when no person's event leads there.
    pub fn person_event(self, wanted: Status) -> Result<Event, IllegalTransition> {
        EDGES
            .iter()
            .find(|(from, on, to)| *from == self && *to == wanted && on.is_a_persons())
            .map(|(_, on, _)| *on)
            .ok_or(IllegalTransition {
                from: self,
                to: wanted,
            })
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 9] = [
        Event::Launch,
        Event::Start,
        Event::Finish,
        Event::Fail,
        Event::Withdraw,
        Event::Pause,
        Event::Hold,
        Event::Resume,
        Event::Cancel,
    ];

    /// Whether a request may cause it; the others belong to planner, result worker and brakes.
    pub fn is_a_persons(self) -> bool {
        matches!(
            self,
            Event::Launch | Event::Withdraw | Event::Pause | Event::Resume | Event::Cancel
        )
    }

    /// The one state this event leads to, wherever it starts.
    pub fn target(self) -> Status {
        match self {
            Event::Launch => Status::Queued,
            Event::Start | Event::Resume => Status::Launched,
            Event::Finish => Status::Sent,
            Event::Fail => Status::Error,
            Event::Withdraw => Status::Deleted,
            Event::Pause | Event::Hold => Status::Paused,
            Event::Cancel => Status::Canceled,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine drawn as a square: a row per state, a column per event of [`Event::ALL`].
    /// Written by hand, apart from [`EDGES`], so that a slip in either shows.
    const EXPECTED: [(Status, [&str; 9]); 8] = [
        //                  Launch    Start       Finish  Fail     Withdraw   Pause     Hold      Resume      Cancel
        (
            Status::Draft,
            ["QUEUED", "-", "-", "-", "DELETED", "-", "-", "-", "-"],
        ),
        (
            Status::Queued,
            ["-", "LAUNCHED", "-", "ERROR", "DELETED", "-", "-", "-", "-"],
        ),
        (
            Status::Launched,
            [
                "-", "-", "SENT", "ERROR", "-", "PAUSED", "PAUSED", "-", "CANCELED",
            ],
        ),
        (
            Status::Paused,
            ["-", "-", "-", "ERROR", "-", "-", "-", "LAUNCHED", "CANCELED"],
        ),
        (Status::Sent, ["-"; 9]),
        (Status::Error, ["-"; 9]),
        (Status::Deleted, ["-"; 9]),
        (Status::Canceled, ["-"; 9]),
    ];

    #[test]
    fn every_state_and_event_leads_where_the_table_says() {
        for (state, row) in EXPECTED {
            for (event, expected) in Event::ALL.into_iter().zip(row) {
                let found = state.after(event).map_or("-", Status::name);
                assert_eq!(found, expected, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn an_event_has_one_target() {
        for (_, event, to) in EDGES {
            assert_eq!(event.target(), *to);
        }
    }

    #[test]
    fn terminal_states_are_the_four_ends() {
        let terminal: Vec<_> = Status::ALL.into_iter().filter(|s| s.is_terminal()).collect();
        assert_eq!(
            terminal,
            [Status::Sent, Status::Error, Status::Deleted, Status::Canceled]
        );
    }

    #[test]
    fn a_person_reaches_only_what_persons_may_cause() {
        for from in Status::ALL {
            for to in Status::ALL {
                match from.person_event(to) {
                    Ok(event) => assert_eq!(from.after(event), Some(to)),
                    Err(refused) => {
                        assert_eq!((refused.from, refused.to), (from, to));
                        assert!(refused.to_string().contains(from.name()));
                        assert!(refused.to_string().contains(to.name()));
                    }
                }
            }
        }
        assert!(Status::Queued.person_event(Status::Launched).is_err());
        assert!(Status::Launched.person_event(Status::Sent).is_err());
        assert_eq!(Status::Paused.person_event(Status::Launched), Ok(Event::Resume));
        assert_eq!(Status::Launched.person_event(Status::Paused), Ok(Event::Pause));
    }

    #[test]
    fn numbers_are_the_contracts() {
        for status in Status::ALL {
            assert_eq!(Status::from_number(i64::from(status.number())), Some(status));
        }
        assert_eq!(Status::from_number(8), None);
        assert_eq!(Status::from_number(-1), None);
        assert_eq!(Status::Queued.number(), 5);
    }
}
