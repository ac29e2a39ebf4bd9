//! Where senders put their requests, and the task of the connection finds them.
//!
//! The lock is held for a push, and by the task for a swap of two pointers. Whoever pushes first wakes the
//! task; all who push before it runs are taken together and written together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        error::{Ambiguous, AttemptError},
        request::Request,
        stream_error::StreamError,
    },
    streams::{Job, Reply},
    wire::MAX_31,
};

/// The senders' end. When it is dropped, the task closes the connection after the last answer.
pub(in super::super) struct Handle {
    inbox: Arc<Inbox>,
}

/// The task's end.
#[derive(Default)]
pub(super) struct Inbox {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    jobs: Vec<Job>,
    /// Requests whose sender went away.
    gone: Vec<u32>,
    /// Requests that were ever taken.
    taken: u32,
    /// Why no more are.
    closed: Option<StreamError>,
    abandoned: bool,
    waker: Option<Waker>,
}

/// What the task found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) jobs: Vec<Job>,
    pub(super) gone: Vec<u32>,
    /// No sender is left, so nothing will ever come.
    pub(super) abandoned: bool,
}

impl Handle {
    pub(super) fn new() -> (Self, Arc<Inbox>) {
        let inbox = Arc::<Inbox>::default();
        let handle = Self {
            inbox: Arc::clone(&inbox),
        };
        (handle, inbox)
    }

    /// Sends a request and waits for what becomes of it, until `deadline`. `reads` is how often something
    /// was read from the connection so far.
    ///
    /// Dropping the future withdraws the request, or tells the peer that nobody waits for its answer.
    pub(in super::super) async fn exchange(
        &self,
        request: Request,
        body: Bytes,
        deadline: Instant,
        reads: u64,
    ) -> Result<Reply, AttemptError> {
        let (slot, answer) = oneshot::channel();
        let id = self.inbox.push(|id| Job {
            id,
            request,
            body,
            deadline,
            reads,
            slot,
        })?;
        let mut withdrawal = Withdrawal {
            inbox: &self.inbox,
            id: Some(id),
        };
        let outcome = answer.await;
        withdrawal.id = None;
        // The task ended without a word: the process is going down.
        outcome.unwrap_or_else(|_| Err(AttemptError::ambiguous(Ambiguous::Lost(StreamError::Closed))))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.change(|content| content.abandoned = true);
    }
}

/// Tells the task when a sender goes away.
struct Withdrawal<'a> {
    inbox: &'a Inbox,
    id: Option<u32>,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.inbox.change(|content| content.gone.push(id));
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        let mut content = self.lock();
        let result = change(&mut content);
        let waker = content.waker.take();
        drop(content);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Gives a request its number: they are given in the order in which the requests are written.
    fn push(&self, job: impl FnOnce(u32) -> Job) -> Result<u32, AttemptError> {
        self.change(|content| {
            if let Some(error) = &content.closed {
                return Err(AttemptError::not_started(error.clone()));
            }
            // Ours are the odd ones (RFC 9113, 5.1.1).
            let id = content.taken.saturating_mul(2).saturating_add(1);
            if id > MAX_31 {
                return Err(AttemptError::not_started(StreamError::Exhausted));
            }
            content.taken += 1;
            content.jobs.push(job(id));
            Ok(id)
        })
    }

    /// Takes all that is there; when nothing is, the task of `cx` is woken by the next one. True when
    /// something was.
    pub(super) fn take(&self, found: &mut Found, cx: &mut Context<'_>) -> bool {
        let mut content = self.lock();
        std::mem::swap(&mut content.jobs, &mut found.jobs);
        std::mem::swap(&mut content.gone, &mut found.gone);
        found.abandoned = content.abandoned;
        let some = !found.jobs.is_empty() || !found.gone.is_empty();
        if !some {
            content.waker = Some(cx.waker().clone());
        }
        some
    }

    /// Takes no more, for this reason.
    pub(super) fn refuse(&self, error: &StreamError) {
        self.lock().closed.get_or_insert_with(|| error.clone());
    }

    /// The same, and gives back what is there.
    pub(super) fn close(&self, error: &StreamError) -> Vec<Job> {
        self.refuse(error);
        std::mem::take(&mut self.lock().jobs)
    }

    /// Starts so near the end of all numbers that only `left` are left.
    #[cfg(test)]
    pub(super) fn wear_out(&self, left: u32) {
        self.lock().taken = (MAX_31 / 2 + 1) - left;
    }
}
