//! The numbers of entries, taken in blocks.
//!
//! One counter document takes some thousand increments a second, which a hundred workers would use up; so
//! each process takes a block and hands out of it. Two processes then hand out of different blocks at the
//! same time, so a block is used for [`LIFE`] at most: numbers follow the time of logging, of several
//! processes up to that long. What is left of a block is lost; there are enough.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use crate::Store;
use crate::counters::Counters;
use crate::error::StorageError;

/// Numbers taken at once: those of eight windows.
const BLOCK: u64 = 16_384;

/// How long numbers of one block are handed out.
const LIFE: TimeDelta = TimeDelta::seconds(1);

/// The numbers of this process. Clones share their block.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    counters: Counters,
    block: Arc<Mutex<Block>>,
}

#[derive(Debug, Default)]
struct Block {
    next: u64,
    left: u64,
    taken_at: DateTime<Utc>,
}

impl Numbers {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            counters: Counters::new(store),
            block: Arc::default(),
        }
    }

    /// The first of `count` numbers in a row that no other entry has.
    pub(super) async fn next_many(&self, count: u64, now: DateTime<Utc>) -> Result<u64, StorageError> {
        // Held while a block is fetched on purpose: whoever else needs numbers waits for the same one.
        let mut block = self.block.lock().await;
        let age = now - block.taken_at;
        if block.left < count || age >= LIFE || age < TimeDelta::zero() {
            let size = count.max(BLOCK);
            let next = self.counters.next_many("event", size).await?;
            *block = Block {
                next,
                left: size,
                taken_at: now,
            };
        }
        let first = block.next;
        block.next += count;
        block.left -= count;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::TestDatabase;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_790_000_000_000 + millis).expect("in range")
    }

    #[tokio::test]
    async fn a_block_serves_many_batches_and_not_for_longer_than_a_second() {
        let database = TestDatabase::new().await;
        let (one, other) = (Numbers::new(&database), Numbers::new(&database));
        let counter = async || Counters::new(&database).current("event").await.expect("answers");
        let take = async |numbers: &Numbers, count, millis| {
            let first = numbers.next_many(count, at(millis)).await;
            first.expect("answers")
        };
        assert_eq!(take(&one, 1_000, 0).await, 1);
        assert_eq!(take(&one.clone(), 1_000, 500).await, 1_001);
        assert_eq!(counter().await, BLOCK, "one increment for both");
        assert_eq!(take(&other, 10, 500).await, BLOCK + 1);
        assert_eq!(
            take(&one, 10, 1_000).await,
            2 * BLOCK + 1,
            "the first block is old"
        );
        assert_eq!(
            take(&one, BLOCK, 1_001).await,
            3 * BLOCK + 1,
            "what is left is too little"
        );
        assert_eq!(take(&one, BLOCK + 5, 1_002).await, 4 * BLOCK + 1);
        assert_eq!(counter().await, 5 * BLOCK + 5);
    }

    #[tokio::test]
    async fn no_number_is_given_twice_however_many_ask_at_once() {
        let database = TestDatabase::new().await;
        let processes = [Numbers::new(&database), Numbers::new(&database)];
        let asked = (0..200_usize).map(|index| {
            let numbers = processes[index % 2].clone();
            tokio::spawn(async move {
                numbers
                    .next_many(700, at(index as i64 * 20))
                    .await
                    .expect("answers")
            })
        });
        let mut firsts = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            firsts.push(asked.await.expect("no panic"));
        }
        firsts.sort_unstable();
        assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] >= 700));
    }
}
