//! Collecting what many callers want at the same time into one command.
//!
//! A single write costs client and server 160 to 290 us of CPU, the same write as one of a thousand
//! in a command 25 to 35. So callers hand their wish to a queue; a task takes the first one, waits a
//! moment for others, and works on all of them together. A lone caller pays the moment; under load
//! everybody gains five times the throughput.
//!
//! The work runs in tasks of its own: a caller that gives up neither cancels it nor costs a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::StorageError;

/// How long the first wish of a batch waits for others.
const MOMENT: Duration = Duration::from_millis(1);
/// Most wishes in one batch.
const MAX_BATCH: usize = 1_000;
/// Batches worked on at the same time; more would only contend for the same documents.
const CONCURRENT_BATCHES: usize = 4;
/// Wishes that may wait; callers beyond that wait to be let in.
const QUEUE: usize = 4_096;

/// A wish and the way back to its caller.
pub(crate) struct Waiting<I, O> {
    pub(crate) wish: I,
    answer: oneshot::Sender<O>,
}

impl<I, O> Waiting<I, O> {
    /// Takes it apart, so that answers can go out as they come in.
    pub(crate) fn split(self) -> (I, oneshot::Sender<O>) {
        (self.wish, self.answer)
    }
}

/// The queue. Clones share it; its task ends with the last of them.
#[derive(Debug)]
pub(crate) struct Gather<I, O> {
    queue: mpsc::Sender<Waiting<I, O>>,
}

impl<I, O> Clone for Gather<I, O> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Gather<I, O> {
    /// Starts the task, on the current runtime.
    pub(crate) fn start<F, Done>(work: F) -> Self
    where
        F: Fn(Vec<Waiting<I, O>>) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let (queue, mut wishes) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let turns = Arc::new(Semaphore::new(CONCURRENT_BATCHES));
            while let Some(first) = wishes.recv().await {
                let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                    break;
                };
                tokio::time::sleep(MOMENT).await;
                let mut batch = vec![first];
                while batch.len() < MAX_BATCH
                    && let Ok(wish) = wishes.try_recv()
                {
                    batch.push(wish);
                }
                let done = work(batch);
                tokio::spawn(async move {
                    done.await;
                    drop(turn);
                });
            }
        });
        Self { queue }
    }

    /// Hands a wish in and waits for its answer.
    ///
    /// # Errors
    /// [`StorageError::Stopped`] when the task is gone, or dropped the wish.
    pub(crate) async fn ask(&self, wish: I) -> Result<O, StorageError> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .send(Waiting { wish, answer })
            .await
            .map_err(|_| StorageError::Stopped)?;
        answered.await.map_err(|_| StorageError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wishes_of_the_same_moment_become_one_batch_and_each_gets_its_own_answer() {
        let gather = Gather::start(|batch: Vec<Waiting<u32, (u32, usize)>>| async move {
            let size = batch.len();
            for waiting in batch {
                let (wish, answer) = waiting.split();
                answer.send((wish * 2, size)).ok();
            }
        });
        let asked = (0..50).map(|wish| {
            let gather = gather.clone();
            async move { gather.ask(wish).await }
        });
        let answers = futures_util::future::join_all(asked).await;
        for (wish, answer) in (0..).zip(answers) {
            assert_eq!(answer.unwrap(), (wish * 2, 50));
        }
    }

    #[tokio::test]
    async fn a_wish_whose_work_panics_is_answered_with_an_error() {
        let gather = Gather::start(|_: Vec<Waiting<(), ()>>| async move { panic!("on purpose") });
        assert!(matches!(gather.ask(()).await, Err(StorageError::Stopped)));
    }
}
