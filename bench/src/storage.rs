//! What the database is asked, alone: sums of the ledger, a device's history, counts, audiences in parts.
//!
//! A mongod of its own with a million devices of ten properties. Everything that is compared runs in turn,
//! in several rounds; what is told of two things is their ratio in the same round. Processor time is that of
//! mongod and of this process, from `/proc`, in hundredths of a second.

mod audiences;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use jraze_domain::audience::{Condition, Limits};
use jraze_domain::dispatch::{BucketRange, Sent, Tally};
use jraze_domain::ids::{DeviceId, NotificationId, NotificationUuid};
use jraze_domain::property::PropertyKey;
use jraze_storage::audience_filter::{AudienceRange, audience};
use jraze_storage::audience_stream::Audiences;
use jraze_storage::indexed_properties::IndexedProperties;
use jraze_storage::send_log::{LogBatch, LogEvent, SendLog};
use jraze_storage::tallies::{Batch, Tallies};
use jraze_storage::{MongoSettings, Store};
use jraze_tests::stack::Dev;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use serde_json::{Value, json};

use self::audiences::audiences;
use crate::Common;
use crate::storage_report::{Figures, Report};
use crate::storage_world::{APP, DATABASE, Server, collection, device_ids_in_order, fill, notifications};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Devices in the database.
    #[arg(long, default_value_t = 1_000_000)]
    devices: u64,
    /// Campaigns in a device's history.
    #[arg(long, default_value_t = 600)]
    campaigns: u64,
    /// The small cache of the second part, in gigabytes.
    #[arg(long, default_value_t = 0.25)]
    small_cache: f64,
    /// Only this; the table then lacks the rest. May be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// What is measured, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Ledger,
    History,
    Counts,
    Audiences,
}

/// Buckets that history is written for; the others would be gigabytes that nobody reads.
const LOGGED_BUCKETS: u16 = 20;
const ROWS: [u64; 3] = [2_000, 20_000, 200_000];

pub(crate) async fn run(options: Options, asked: &str) -> Result<()> {
    let Common { rounds, out, commit } = options.common.clone();
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), 4.0).await?;
    let store = connect(&server).await?;
    jraze_storage::migrations::run(&store).await?;
    let raw = server.client().await?.database(DATABASE);
    let began = Instant::now();
    fill(&raw, options.devices).await?;
    println!("{} devices in {:.0?}", options.devices, began.elapsed());

    let mut figures = Figures::default();
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    if wanted(Part::Ledger) {
        ledger(&store, &raw, rounds, &mut figures).await?;
    }
    if wanted(Part::History) {
        let (devices, campaigns) = (options.devices, options.campaigns);
        history(&store, &server, devices, campaigns, rounds, &mut figures).await?;
    }
    if wanted(Part::Counts) {
        counts(&store, &raw, rounds, &mut figures).await?;
    }
    if wanted(Part::Audiences) {
        audiences(&store, &server, &raw, rounds, "", &mut figures).await?;
    }
    store.close().await;
    let server = server.restart(options.small_cache).await?;
    if wanted(Part::Audiences) {
        let (store, raw) = (connect(&server).await?, server.client().await?.database(DATABASE));
        let label = format!(", cache of {} GB", options.small_cache);
        audiences(&store, &server, &raw, rounds, &label, &mut figures).await?;
        store.close().await;
    }
    server.stop().await?;
    let report = Report {
        devices: options.devices,
        campaigns: options.campaigns,
        rounds,
        commit,
        asked: asked.to_owned(),
        figures,
    };
    report.write(&out)
}

async fn connect(server: &Server) -> Result<Store> {
    let settings = MongoSettings {
        uri: server.uri.as_str().into(),
        database: DATABASE.to_owned(),
        ..MongoSettings::default()
    };
    Ok(Store::connect(&settings).await?)
}

/// One sum of a campaign's rows, all of them and with the head.
async fn ledger(store: &Store, raw: &mongodb::Database, rounds: usize, figures: &mut Figures) -> Result<()> {
    let tallies = Tallies::new(store);
    let rows = collection::<Document>(raw, "tallies");
    for (index, count) in (1..).zip(ROWS) {
        let id = NotificationId(1_000_000 + index);
        let uuid = NotificationUuid(uuid::Uuid::from_u128(index as u128));
        let began = Instant::now();
        for call in 0..count / 200 {
            let batches: Vec<Batch> = (call * 200..call * 200 + 200).map(|n| batch(id, n)).collect();
            tallies.apply(APP, id, uuid, &batches).await?;
        }
        let call = began.elapsed() / u32::try_from(count / 200)?;
        figures.add(
            &format!("a call with 200 windows, on the way to {count} rows, ms"),
            millis(call),
        );
        for _ in 0..rounds.max(5) {
            let began = Instant::now();
            let all = sum_of_all(&rows, id).await?;
            let before = millis(began.elapsed());
            let began = Instant::now();
            let total = tallies.settle(id, uuid).await?;
            let after = millis(began.elapsed());
            ensure!(
                all == count * 5 && total.sent.android == all,
                "{all} and {total:?}"
            );
            figures.add(&format!("sum of {count} rows, all of them, ms"), before);
            figures.add(
                &format!("sum of {count} rows, with the head and written, ms"),
                after,
            );
        }
    }
    Ok(())
}

fn batch(id: NotificationId, number: u64) -> Batch {
    let sent = Sent {
        android: 5,
        ..Sent::default()
    };
    Batch {
        id: format!("{id}:p:{}:{}", number / 20, number % 20),
        tally: Tally {
            sent,
            ..Tally::default()
        },
        reasons: Vec::new(),
    }
}

async fn sum_of_all(rows: &mongodb::Collection<Document>, id: NotificationId) -> Result<u64> {
    let mut group = doc! { "_id": Bson::Null };
    for field in [
        "android",
        "ios",
        "web",
        "unregistered",
        "failed",
        "unknown",
        "skipped",
        "expired",
        "canceled",
    ] {
        group.insert(field, doc! { "$sum": format!("$counts.{field}") });
    }
    let pipeline = vec![
        doc! { "$match": { "notification_id": id.0 } },
        doc! { "$group": group },
    ];
    let mut cursor = rows.aggregate(pipeline).await?;
    ensure!(cursor.advance().await?, "no rows");
    Ok(u64::try_from(cursor.deserialize_current()?.get_i64("android")?)?)
}

/// Campaigns to everybody, logged as workers log them; then one device's history, from storage and from
/// the API.
async fn history(
    store: &Store,
    server: &Server,
    devices: u64,
    campaigns: u64,
    rounds: usize,
    figures: &mut Figures,
) -> Result<()> {
    let ids = device_ids_in_order(devices, LOGGED_BUCKETS);
    let made = notifications(store, campaigns).await?;
    let log = SendLog::new(store);
    let now = now();
    for (index, notification) in made.iter().enumerate() {
        for (window, devices) in ids.chunks(1_000).enumerate() {
            let batch_id = format!("{notification}:p:0:{window}");
            let batch = LogBatch {
                app: APP,
                notification: *notification,
                batch_id: &batch_id,
                event: LogEvent::Sent,
                devices,
            };
            let at = now + chrono::TimeDelta::minutes(index as i64);
            log.add(&batch, at).await?;
        }
    }
    let some: Vec<DeviceId> = ids.iter().step_by(ids.len() / 100).copied().collect();
    let dev = Dev::start(&[
        "--no-seed",
        "--set",
        &format!("mongodb.uri={}", server.uri),
        "--set",
        &format!("mongodb.database={DATABASE}"),
    ])
    .await?;
    let api = dev.api();
    for round in 0..=rounds {
        let (mut storage, mut whole) = (Vec::new(), Vec::new());
        for device in &some {
            let began = Instant::now();
            let entries = log.history(APP, *device).await?;
            storage.push(millis(began.elapsed()));
            ensure!(
                entries.len() as u64 == campaigns,
                "{} of {campaigns}",
                entries.len()
            );
            let path = format!("/devices/d{device}/notifications?size=10");
            let began = Instant::now();
            let page = api.get(&path).await?;
            whole.push(millis(began.elapsed()));
            ensure!(page["total"] == campaigns, "{page}");
        }
        // The first round warms up.
        if round > 0 {
            for (what, times) in [
                ("storage call", &mut storage),
                ("through the API, a page of ten", &mut whole),
            ] {
                times.sort_by(f64::total_cmp);
                figures.add(
                    &format!("history of {campaigns} campaigns, {what}, median, ms"),
                    times[times.len() / 2],
                );
                figures.add(
                    &format!("history of {campaigns} campaigns, {what}, p99, ms"),
                    times[times.len() * 99 / 100],
                );
            }
        }
    }
    dev.process.interrupt().await?;
    Ok(())
}

/// Trees, with about which part of the devices they select.
fn trees() -> Result<Vec<(&'static str, Condition)>> {
    let test =
        |key: &str, operator: &str, value: Value| json!({ "key": key, "operator": operator, "value": value });
    let group = |join: &str, nodes: Vec<Value>| json!({ "join_type": join, "conditions": nodes });
    let trees = vec![
        (
            "0.1 %, text and range",
            group(
                "AND",
                vec![
                    test("city", "str_eq", json!("c07")),
                    test("level", "int_lt", json!(1)),
                ],
            ),
        ),
        ("1 %, text", test("city", "str_eq", json!("c07"))),
        (
            "1 %, text and range",
            group(
                "AND",
                vec![
                    test("plan", "str_eq", json!("p3")),
                    test("level", "int_lt", json!(1)),
                ],
            ),
        ),
        ("1 %, list", test("numbers", "list_any", json!([7]))),
        (
            "10 %, OR",
            group(
                "OR",
                vec![
                    test("plan", "str_eq", json!("p3")),
                    test("score", "int_lt", json!(1)),
                ],
            ),
        ),
        (
            "12 %, OR of lists",
            group(
                "OR",
                vec![
                    test("tags", "str_exists", json!("t07")),
                    test("tags", "str_exists", json!("t08")),
                ],
            ),
        ),
        (
            "56 %, OR of three",
            group(
                "OR",
                vec![
                    test("age", "int_lt", json!(30)),
                    test("plan", "str_eq", json!("p3")),
                    test("level", "int_gte", json!(7)),
                ],
            ),
        ),
    ];
    let parse = |(name, tree): (&'static str, Value)| {
        let condition = Condition::parse(&tree, Limits::default()).ok();
        Ok((name, condition.with_context(|| format!("{name} cannot be read"))?))
    };
    let mut trees: Vec<_> = trees.into_iter().map(parse).collect::<Result<_>>()?;
    trees.push(("everybody", Condition::everybody()));
    Ok(trees)
}

/// By jraze, and in one query of each kind that the server has.
async fn counts(store: &Store, raw: &mongodb::Database, rounds: usize, figures: &mut Figures) -> Result<()> {
    let devices = collection::<Document>(raw, "devices");
    let audiences = Audiences::new(store);
    for round in 0..=rounds {
        for (name, condition) in trees()? {
            let began = Instant::now();
            let count = audiences
                .count(APP, &condition, now(), Duration::from_secs(60))
                .await?;
            let took = millis(began.elapsed());
            let filter = audience(&whole(BucketRange::ALL), &condition, now());
            let began = Instant::now();
            let aggregated = devices
                .count_documents(filter.clone())
                .hint(Hint::Keys(doc! { "_id": 1 }))
                .await?;
            let aggregate = millis(began.elapsed());
            let began = Instant::now();
            let command = doc! { "count": "devices", "query": filter, "hint": { "_id": 1 } };
            let counted = raw.run_command(command).await?;
            let command = millis(began.elapsed());
            let counted = counted.get_i32("n").unwrap_or_default();
            ensure!(
                aggregated == count && i64::from(counted) == count as i64,
                "{name}"
            );
            if round == 0 {
                println!("{name}: {count}");
            } else {
                figures.add(&format!("**count, {name}, ms**"), took);
                figures.add(&format!("count, {name}, one aggregation, ms"), aggregate);
                figures.add(&format!("count, {name}, one count command, ms"), command);
            }
        }
    }
    let indexed = IndexedProperties::new(store);
    let city = PropertyKey::new("city")?;
    let began = Instant::now();
    ensure!(indexed.add(APP, &city).await?, "too many");
    figures.add("building the index of a property, ms", millis(began.elapsed()));
    for round in 0..=rounds {
        for (name, condition) in trees()? {
            let began = Instant::now();
            audiences
                .count(APP, &condition, now(), Duration::from_secs(60))
                .await?;
            // Of the others, one asks for another property, and the rest for several.
            if round > 0 && ["0.1 %, text and range", "1 %, text"].contains(&name) {
                let name = format!("**count, {name}, the text is indexed, ms**");
                figures.add(&name, millis(began.elapsed()));
            }
        }
    }
    // The audiences that follow are those of an app without.
    ensure!(indexed.remove(APP, &city).await?, "it was there");
    Ok(())
}

fn whole(buckets: BucketRange) -> AudienceRange {
    AudienceRange {
        app: APP,
        buckets,
        upper_id: DeviceId(u64::MAX),
        after: None,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Any time; nothing here is about dates.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default()
}
