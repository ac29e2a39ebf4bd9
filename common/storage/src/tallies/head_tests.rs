//! Folding against a model, with folders that die, sleep and come late at every step.

use std::collections::BTreeMap;

use jraze_domain::dispatch::{Sent, Tally};
use jraze_domain::ids::NotificationUuid;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::Batch;
use super::*;
use crate::Store;
use crate::error::ignore_duplicate_keys;
use crate::test_util::TestDatabase;
use jraze_domain::dispatch::Reason;

const APP: AppId = AppId(1);
const ID: NotificationId = NotificationId(7);
const UUID: NotificationUuid = NotificationUuid(uuid::Uuid::from_u128(7));

/// A ledger that folds five rows.
fn ledger(store: &Store) -> Tallies {
    Tallies {
        fold_at: 5,
        ..Tallies::new(store)
    }
}

fn batch(number: u64) -> Batch {
    let sent = Sent {
        android: number,
        ios: 1,
        web: 0,
    };
    let failed = number % 3;
    Batch {
        id: format!("7:p:0:{number}"),
        tally: Tally {
            sent,
            failed,
            ..Tally::default()
        },
        reasons: match failed {
            0 => Vec::new(),
            failed => vec![(Reason::new(&format!("R{}", number % 4)), failed)],
        },
    }
}

/// Where a folder stands.
#[derive(Debug)]
enum Folder {
    Prepared(Fold),
    Committed(Fold),
    Marked(Fold),
}

struct World {
    tallies: Tallies,
    rng: StdRng,
    /// The batches that are in the ledger.
    model: BTreeMap<u64, Batch>,
    folders: Vec<Folder>,
    /// Folders that died; the step that they had sent may still arrive.
    late: Vec<Folder>,
    commits: u32,
}

impl World {
    async fn insert(&mut self) {
        // Numbers of before come again, in one call with new ones.
        let highest = self.model.last_key_value().map_or(0, |(number, _)| *number);
        let batches: Vec<Batch> = (0..self.rng.random_range(1..5))
            .map(|_| batch(self.rng.random_range(highest / 2 + 1..=highest + 4)))
            .collect();
        let rows = batches.iter().map(|batch| batch.row(APP, ID));
        let inserted = self.tallies.rows.insert_many(rows).ordered(false).await;
        ignore_duplicate_keys(inserted).expect("answers");
        for batch in batches {
            let number = batch.tally.sent.android;
            self.model.insert(number, batch);
        }
    }

    async fn step_of_a_folder(&mut self) {
        let index = self.rng.random_range(0..=self.folders.len());
        if index == self.folders.len() {
            let prepared = self.tallies.prepare(APP, ID).await.expect("answers");
            self.folders.extend(prepared.map(Folder::Prepared));
            return;
        }
        let folder = self.folders.swap_remove(index);
        if self.rng.random_bool(0.2) {
            self.late.push(folder);
            return;
        }
        let next = self.next_step_of(folder).await;
        self.folders.extend(next);
    }

    async fn next_step_of(&mut self, folder: Folder) -> Option<Folder> {
        match folder {
            Folder::Prepared(fold) => {
                let made = self.tallies.commit(&fold).await.expect("answers");
                self.commits += u32::from(made);
                return made.then_some(Folder::Committed(fold));
            }
            Folder::Committed(fold) => {
                self.tallies.mark(&fold.next.covers).await.expect("answers");
                return Some(Folder::Marked(fold));
            }
            Folder::Marked(fold) => self.tallies.release(&fold.next).await.expect("answers"),
        }
        None
    }

    async fn arrive_late(&mut self) {
        if let Some(folder) = self.late.pop() {
            self.next_step_of(folder).await;
        }
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..10) {
            0..3 => self.insert().await,
            3..9 => self.step_of_a_folder().await,
            _ => self.arrive_late().await,
        }
    }

    fn wanted(&self) -> (TallyDocument, HashMap<String, i64>) {
        let mut reasons = HashMap::new();
        let counts = self.model.values().map(|batch| {
            add_reasons(&mut reasons, batch.into());
            TallyDocument::from(&batch.tally)
        });
        let counts = counts.fold(TallyDocument::default(), |sum, counts| sum + counts);
        (counts, reasons)
    }

    async fn check(&self) {
        let (counts, reasons) = self.wanted();
        assert_eq!(self.tallies.sum(ID).await.expect("answers").0, counts);
        assert_eq!(self.tallies.reasons(ID).await.expect("answers"), reasons);
    }

    /// A sum with everything else happening between its reads.
    async fn sum_in_pieces(&mut self) -> bool {
        let head = self.tallies.head(ID).await.expect("answers");
        for _ in 0..self.rng.random_range(0..3) {
            self.step().await;
        }
        let sum = self.tallies.sum_of(behind(ID, &head)).await.expect("answers");
        let (wanted, _) = self.wanted();
        for _ in 0..self.rng.random_range(0..3) {
            self.step().await;
        }
        let quiet = self.tallies.edition(ID).await.expect("answers") == head.edition;
        if quiet {
            assert_eq!(head.counts + sum.counts, wanted);
        }
        quiet
    }
}

#[tokio::test]
async fn sums_are_exact_whoever_folds_dies_or_comes_late_at_any_step() {
    let (mut commits, mut quiet, mut rows) = (0, 0, 0);
    for seed in 0..12 {
        let database = TestDatabase::new().await;
        let mut world = World {
            tallies: ledger(&database),
            rng: StdRng::seed_from_u64(seed),
            model: BTreeMap::new(),
            folders: Vec::new(),
            late: Vec::new(),
            commits: 0,
        };
        for _ in 0..60 {
            world.step().await;
            world.check().await;
            quiet += u32::from(world.sum_in_pieces().await);
        }
        commits += world.commits;
        rows += world.model.len();
    }
    assert!(
        commits > 50 && quiet > 200 && rows > 400,
        "{commits} folds, {quiet} quiet sums, {rows} rows: the steps say nothing"
    );
}

#[tokio::test]
async fn reporters_at_once_fold_and_repeat_each_other_and_the_total_is_exact() {
    let database = TestDatabase::new().await;
    let notifications = database.collection::<Document>(crate::notifications::COLLECTION);
    let row = doc! { "_id": UUID.to_string(), "id": ID.0 };
    notifications.insert_one(row).await.expect("inserted");
    let reporters = (0..4_u64).map(|reporter| {
        let tallies = ledger(&database);
        tokio::spawn(async move {
            // Each batch is reported by two of them.
            for call in 0..30 {
                let first = (reporter / 2) * 300 + call * 10 + 1;
                let batches: Vec<Batch> = (first..first + 10).map(batch).collect();
                tallies.apply(APP, ID, UUID, &batches).await.expect("answers");
            }
        })
    });
    for reporter in reporters.collect::<Vec<_>>() {
        reporter.await.expect("no panic");
    }
    let tallies = ledger(&database);
    let total = tallies.settle(ID, UUID).await.expect("answers");
    assert_eq!((total.sent.android, total.sent.ios), (600 * 601 / 2, 600));
    let head = tallies.head(ID).await.expect("answers");
    assert!(head.edition > 10 && head.counts.ios > 500, "{head:?}");
    let all = tallies.sum_of(doc! { "notification_id": ID.0 }).await;
    assert_eq!(Tally::from(all.expect("answers").counts), total);
}

#[tokio::test]
async fn a_sum_reads_the_rows_behind_the_head_and_no_others() {
    let database = TestDatabase::new().await;
    let tallies = Tallies::new(&database);
    let rows = (1..=3_000).map(|number| batch(number).row(APP, ID));
    tallies.rows.insert_many(rows).await.expect("inserted");
    tallies.fold(APP, ID).await.expect("folded");
    let newest = (3_001..=3_020).map(|number| batch(number).row(APP, ID));
    tallies.rows.insert_many(newest).await.expect("inserted");

    let (total, behind_it) = tallies.sum(ID).await.expect("answers");
    assert_eq!((total.ios, behind_it), (3_020, 20));
    let head = tallies.head(ID).await.expect("answers");
    let find = doc! { "find": super::super::COLLECTION, "filter": behind(ID, &head), "hint": "open" };
    let explain = doc! { "explain": find, "verbosity": "executionStats" };
    let plan = database.database().run_command(explain).await.expect("explained");
    let stats = plan.get_document("executionStats").expect("run");
    assert_eq!(stats.get_i32("totalDocsExamined").expect("a number"), 20);
}

#[test]
fn a_head_keeps_the_most_frequent_of_more_reasons_than_it_holds() {
    let reasons = (0..1_200).map(|number| (format!("R{number}"), number)).collect();
    let kept = most_frequent(reasons);
    assert_eq!(kept.len(), MAX_REASONS);
    assert_eq!((kept[0].count, kept[MAX_REASONS - 1].count), (1_199, 200));
}
