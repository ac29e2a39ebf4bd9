//! The loop that keeps some jobs running until told to stop.
//!
//! Free permits -> acquire that many jobs -> run each one's step under a deadline -> hand the
//! permit back. When there is nothing to do the loop sleeps, jittered so that replicas do not ask
//! in step, and wakes early when somebody rings its [`Notify`] or a running step ends.
//!
//! The driver knows no lease and no database: [`Jobs::acquire`] leases, and [`Jobs::step`] gives
//! the lease back or lets it run out. So a step that fails, overruns its deadline or is dropped at
//! a hard stop needs no clean-up here: the next owner of the lease carries on.

use std::{
    fmt::{Debug, Display},
    future::Future,
    sync::Arc,
    time::Duration,
};

use rand::rngs::StdRng;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::{
    backoff::{Backoff, jittered},
    lifecycle::Lifecycle,
};

/// A kind of work that can be leased and run.
pub trait Jobs: Send + Sync + 'static {
    /// One leased piece of work.
    type Job: Debug + Send + 'static;
    /// Why leasing or a step failed; it is logged, and the loop goes on.
    type Error: Display + Send + 'static;

    /// Leases up to `at_most` jobs. An empty answer means that there is nothing to do now.
    fn acquire(&self, at_most: usize) -> impl Future<Output = Result<Vec<Self::Job>, Self::Error>> + Send;

    /// Runs one job as far as it goes and gives its lease back.
    ///
    /// Dropped at the deadline and at the hard stop; should end early, in good order, at the soft
    /// stop when it would take long otherwise.
    fn step(&self, job: Self::Job) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// How a [`JobDriver`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverSettings {
    /// The name in the log lines.
    pub name: &'static str,
    /// Jobs running at the same time, at least 1.
    pub concurrency: usize,
    /// A step that takes longer is dropped. Should stay below the lease's time.
    pub step_deadline: Duration,
    /// About how long to wait after finding nothing to do, give or take a quarter.
    pub idle_wait: Duration,
    /// The wait after `acquire` failed.
    pub error_backoff: Backoff,
}

/// Keeps [`Jobs`] running until the soft stop.
#[derive(Debug)]
pub struct JobDriver<J> {
    jobs: Arc<J>,
    settings: DriverSettings,
    wake_up: Arc<Notify>,
    rng: StdRng,
}

impl<J: Jobs> JobDriver<J> {
    /// A driver at rest; `rng` only spreads the waits.
    pub fn new(jobs: Arc<J>, settings: DriverSettings, rng: StdRng) -> Self {
        Self {
            jobs,
            settings,
            wake_up: Arc::new(Notify::new()),
            rng,
        }
    }

    /// Ringing it (`notify_one`) ends the idle wait.
    pub fn wake_up(&self) -> Arc<Notify> {
        Arc::clone(&self.wake_up)
    }

    /// Runs until the soft stop, then until the last step in flight ends. At the hard stop the
    /// steps in flight are dropped.
    pub async fn run(mut self, lifecycle: &Lifecycle) {
        let permits = Arc::new(Semaphore::new(self.settings.concurrency.max(1)));
        let mut steps = JoinSet::new();
        let mut failures = 0;
        while !lifecycle.stopping().is_cancelled() {
            while steps.try_join_next().is_some() {}
            let free = permits.available_permits();
            let wait = if free == 0 {
                // Woken by the end of a step; the time is only an upper bound.
                self.settings.step_deadline
            } else {
                match self.acquire(free, lifecycle).await {
                    None => break,
                    Some(Ok(jobs)) => {
                        failures = 0;
                        let full = jobs.len() >= free;
                        let none = jobs.is_empty();
                        for job in jobs {
                            self.start(job, &permits, &mut steps, lifecycle);
                        }
                        // Some but fewer than asked for: there is no more for now.
                        match (full, none) {
                            (true, _) => continue,
                            _ => jittered(self.settings.idle_wait, &mut self.rng),
                        }
                    }
                    Some(Err(error)) => {
                        let wait = self.settings.error_backoff.delay(failures, &mut self.rng);
                        failures = failures.saturating_add(1);
                        tracing::warn!(driver = self.settings.name, %error, ?wait, "acquiring jobs failed");
                        wait
                    }
                }
            };
            let after_error = failures > 0;
            tokio::select! {
                // In this order, so that a simulated run can be repeated.
                biased;
                () = lifecycle.stopping().cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                // A failing database is left alone for the whole wait.
                () = self.wake_up.notified(), if !after_error => {}
                Some(_) = steps.join_next(), if !after_error && !steps.is_empty() => {}
            }
        }
        while steps.join_next().await.is_some() {}
    }

    async fn acquire(&self, at_most: usize, lifecycle: &Lifecycle) -> Option<Result<Vec<J::Job>, J::Error>> {
        // Not dropped at the soft stop: jobs leased in that moment would be lost until their
        // lease runs out, and a database connection would be thrown away.
        let acquired = lifecycle
            .aborting()
            .run_until_cancelled(self.jobs.acquire(at_most))
            .await?;
        if let Ok(jobs) = &acquired
            && jobs.len() > at_most
        {
            tracing::error!(driver = self.settings.name, "more jobs acquired than asked for");
        }
        Some(acquired)
    }

    fn start(&self, job: J::Job, permits: &Arc<Semaphore>, steps: &mut JoinSet<()>, lifecycle: &Lifecycle) {
        let (jobs, permits) = (Arc::clone(&self.jobs), Arc::clone(permits));
        let hard = lifecycle.aborting().clone();
        let DriverSettings {
            name, step_deadline, ..
        } = self.settings;
        // Taken before the task runs, or the loop would count the permit as free. A job beyond the
        // number asked for runs without one rather than being lost.
        let permit = permits.try_acquire_owned().ok();
        steps.spawn(async move {
            let label = format!("{job:?}");
            let step = timeout(step_deadline, jobs.step(job));
            match hard.run_until_cancelled(step).await {
                None => tracing::warn!(driver = name, job = label, "step dropped at the hard stop"),
                Some(Err(_)) => {
                    tracing::warn!(
                        driver = name,
                        job = label,
                        ?step_deadline,
                        "step overran its deadline"
                    );
                }
                Some(Ok(Err(error))) => {
                    tracing::warn!(driver = name, job = label, %error, "step failed")
                }
                Some(Ok(Ok(()))) => tracing::debug!(driver = name, job = label, "step done"),
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use rand::{SeedableRng, rngs::StdRng};

    use super::{DriverSettings, JobDriver, Jobs};
    use crate::{backoff::Backoff, lifecycle::Lifecycle};

    /// What one job of the [`Script`] does.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Take(Duration),
        Fail,
        Panic,
    }

    #[derive(Debug, Default)]
    struct Script {
        waiting: Mutex<VecDeque<Act>>,
        acquire_failures: AtomicUsize,
        acquires: AtomicUsize,
        running: AtomicUsize,
        most_running: AtomicUsize,
        finished: AtomicUsize,
    }

    impl Script {
        fn of(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
            Arc::new(Self {
                waiting: Mutex::new(acts.into_iter().collect()),
                ..Self::default()
            })
        }

        fn finished(&self) -> usize {
            self.finished.load(Ordering::SeqCst)
        }
    }

    impl Jobs for Script {
        type Job = Act;
        type Error = String;

        async fn acquire(&self, at_most: usize) -> Result<Vec<Act>, String> {
            self.acquires.fetch_add(1, Ordering::SeqCst);
            if self.acquire_failures.load(Ordering::SeqCst) > 0 {
                self.acquire_failures.fetch_sub(1, Ordering::SeqCst);
                return Err("no primary".into());
            }
            let mut waiting = self.waiting.lock().unwrap();
            let count = at_most.min(waiting.len());
            Ok(waiting.drain(..count).collect())
        }

        async fn step(&self, job: Act) -> Result<(), String> {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            let result = match job {
                Act::Take(time) => {
                    tokio::time::sleep(time).await;
                    Ok(())
                }
                Act::Fail => Err("scripted".into()),
                Act::Panic => panic!("scripted"),
            };
            self.running.fetch_sub(1, Ordering::SeqCst);
            self.finished.fetch_add(1, Ordering::SeqCst);
            result
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn driver(jobs: &Arc<Script>, concurrency: usize) -> JobDriver<Script> {
        let settings = DriverSettings {
            name: "test",
            concurrency,
            step_deadline: 30 * SECOND,
            idle_wait: 60 * SECOND,
            error_backoff: Backoff::new(SECOND, 8 * SECOND),
        };
        JobDriver::new(Arc::clone(jobs), settings, StdRng::seed_from_u64(1))
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_jobs_run_than_the_concurrency_allows_and_all_of_them_run() {
        let jobs = Script::of([Act::Take(SECOND); 20]);
        let lifecycle = Lifecycle::new();
        let running = tokio::spawn({
            let (driver, lifecycle) = (driver(&jobs, 3), lifecycle.clone());
            async move { driver.run(&lifecycle).await }
        });
        tokio::time::sleep(8 * SECOND).await;
        assert_eq!(
            jobs.finished(),
            20,
            "a permit is used again as soon as it is free"
        );
        assert_eq!(jobs.most_running.load(Ordering::SeqCst), 3);
        lifecycle.stop();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn failing_and_panicking_steps_give_their_permit_back() {
        let jobs = Script::of([Act::Fail, Act::Panic, Act::Take(SECOND)]);
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(10 * SECOND).await;
            stop.stop();
        });
        driver(&jobs, 1).run(&lifecycle).await;
        assert_eq!(jobs.finished(), 2, "the failed one and the one after the panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_past_its_deadline_is_dropped() {
        let jobs = Script::of([Act::Take(3600 * SECOND), Act::Take(SECOND)]);
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(40 * SECOND).await;
            stop.stop();
        });
        driver(&jobs, 1).run(&lifecycle).await;
        assert_eq!(jobs.finished(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_soft_stop_takes_nothing_new_and_finishes_what_runs() {
        let jobs = Script::of([Act::Take(5 * SECOND), Act::Take(5 * SECOND)]);
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SECOND).await;
            stop.stop();
        });
        driver(&jobs, 1).run(&lifecycle).await;
        assert_eq!(jobs.finished(), 1);
        assert_eq!(jobs.waiting.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hard_stop_drops_what_runs() {
        let jobs = Script::of([Act::Take(20 * SECOND)]);
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.clone();
        let started = tokio::time::Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(SECOND).await;
            stop.abort();
        });
        driver(&jobs, 1).run(&lifecycle).await;
        assert_eq!(jobs.finished(), 0);
        assert_eq!(started.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_ends_the_idle_wait() {
        let jobs = Script::of([]);
        let lifecycle = Lifecycle::new();
        let driver = driver(&jobs, 1);
        let wake_up = driver.wake_up();
        let running = tokio::spawn({
            let lifecycle = lifecycle.clone();
            async move { driver.run(&lifecycle).await }
        });
        tokio::time::sleep(SECOND).await;
        jobs.waiting.lock().unwrap().push_back(Act::Take(Duration::ZERO));
        wake_up.notify_one();
        tokio::time::sleep(SECOND).await;
        assert_eq!(jobs.finished(), 1);
        lifecycle.stop();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_acquire_is_asked_again_later_and_later() {
        let jobs = Script::of([Act::Take(Duration::ZERO)]);
        jobs.acquire_failures.store(5, Ordering::SeqCst);
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(31 * SECOND).await;
            stop.stop();
        });
        driver(&jobs, 1).run(&lifecycle).await;
        assert_eq!(
            jobs.finished(),
            1,
            "five waits of at most 1, 2, 4, 8 and 8 seconds"
        );
        assert!(jobs.acquires.load(Ordering::SeqCst) < 12, "not a busy loop");
    }
}
