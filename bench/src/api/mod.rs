//! The API under load: imports, registrations, properties, reads, searches, beside the raw cost in MongoDB.
//!
//! Every round imports fresh devices through the API, and inserts the very same documents with the plain
//! driver into a collection with the same indexes: the share that is reached of that floor is what the API
//! and its rules cost. Then every operation runs closed (as fast as the callers can), the same by the driver
//! with a call for each request, and open at half the rate that was reached.
//!
//! | file | is |
//! | --- | --- |
//! | [`alone`] | an API server that does not gather |
//! | [`http`] | a cheap connection |
//! | [`load`] | closed and open load, latencies |
//! | [`raw`] | the driver's side |
//! | [`report`] | the table |

mod alone;
mod http;
mod load;
mod raw;
mod report;

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jraze_tests::campaign::{SENT, launch, until};
use jraze_tests::population::Person;
use jraze_tests::stack::Roles;
use serde_json::{Value, json};

use crate::Common;
use crate::campaign::sale;
use crate::processor::Spent;
use alone::Alone;
use http::{Connection, Target};
use load::{Caller, Load, closed, open};
use raw::Raw;
use report::{Import, Operation, Report, Round};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Devices that each round imports.
    #[arg(long, default_value_t = 300_000)]
    devices: u64,
    /// Requests in which a round's devices are imported, at the same time.
    #[arg(long, default_value_t = 2)]
    uploads: usize,
    /// Connections that ask for one thing at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds that each kind of load lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Campaigns to everybody before the histories are read.
    #[arg(long, default_value_t = 3)]
    campaigns: u64,
}

/// Devices that requests are about; made beforehand.
const POOL: u64 = 20_000;
/// The operations whose requests are gathered.
const REGISTERS: &str = "register again";
const SETS: &str = "set four properties";
const JSON: &str = "application/json";

/// `command` is how it was asked for.
pub(crate) async fn run(options: Options, command: &str) -> Result<()> {
    let Common { rounds, out, commit } = options.common.clone();
    let stack = Roles::start_shaped("bench_api", "fcm_quota_per_minute = 0\n", "load_only = true\n").await?;
    let raw = Raw::open(stack.database()).await?;
    let alone = Alone::start(&stack).await?;
    let bench = Bench {
        alone: &alone,
        target: Target {
            address: stack.api_url.trim_start_matches("http://").to_owned(),
            key: stack.keys["server"].as_str().context("a server key")?.to_owned(),
        },
        options: &options,
        stack: &stack,
        raw: &raw,
    };
    let mut measured = Vec::new();
    let mut last = 0;
    for nth in 0..rounds as u64 {
        let first = nth * options.devices + 1;
        let (import, newest) = bench.import(first, last).await?;
        last = newest;
        println!("round {}: {import:?}", nth + 1);
        if nth == 0 {
            bench.campaigns().await?;
        }
        let operations = bench.operations(first).await?;
        measured.push(Round { import, operations });
    }
    let report = Report {
        devices_a_round: options.devices,
        uploads: options.uploads,
        connections: options.connections,
        campaigns: options.campaigns,
        rounds: measured,
        apiserver_peak: stack.apiserver.peak_memory().unwrap_or(0),
        commit,
        command: command.to_owned(),
    };
    report.write(&out)?;
    stack.stop().await?;
    raw.close().await
}

struct Bench<'a> {
    alone: &'a Alone,
    target: Target,
    options: &'a Options,
    stack: &'a Roles,
    raw: &'a Raw,
}

impl Bench<'_> {
    /// Imports fresh devices, the same again, and the documents of the first by the driver.
    async fn import(&self, first: u64, last: i64) -> Result<(Import, i64)> {
        let devices = self.options.devices;
        let bodies = self.bodies(first)?;
        let before = Spent::by(self.stack);
        let new = self.upload(&bodies, "created").await?;
        let new_spent = before.until(Spent::by(self.stack), devices);
        let (documents, newest) = self.raw.documents(last).await?;
        ensure!(documents.len() as u64 == devices, "{} devices", documents.len());
        let bytes = documents
            .iter()
            .map(|document| document.as_bytes().len())
            .sum::<usize>();
        let before = Spent::by(self.stack);
        let inserted = self.raw.insert(documents).await?;
        let raw_spent = before.until(Spent::by(self.stack), devices);
        let before = Spent::by(self.stack);
        let again = self.upload(&bodies, "updated").await?;
        let again_spent = before.until(Spent::by(self.stack), devices);
        let import = Import {
            new,
            again,
            raw: inserted,
            new_apiserver_us: new_spent.apiserver_us,
            new_mongod_us: new_spent.mongod_us,
            again_apiserver_us: again_spent.apiserver_us,
            again_mongod_us: again_spent.mongod_us,
            raw_mongod_us: raw_spent.mongod_us,
            document_bytes: bytes as f64 / devices as f64,
        };
        Ok((import, newest))
    }

    fn bodies(&self, first: u64) -> Result<Vec<Vec<u8>>> {
        let (devices, uploads) = (self.options.devices, self.options.uploads.max(1) as u64);
        (0..uploads)
            .map(|part| {
                let mut body = Vec::new();
                for number in (devices * part / uploads)..(devices * (part + 1) / uploads) {
                    writeln!(body, "{}", Person(first + number).import_line())?;
                }
                let path = "/devices/-/:import";
                Ok(self.target.request("POST", path, "application/x-ndjson", &body))
            })
            .collect()
    }

    /// Sends all of them at once; gives devices in a second.
    async fn upload(&self, requests: &[Vec<u8>], kind: &str) -> Result<f64> {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for request in requests {
            let (target, request) = (self.target.clone(), request.clone());
            tasks.spawn(async move {
                let mut connection = target.connect().await?;
                let answer: Value = serde_json::from_slice(connection.call(&request).await?)?;
                Ok::<_, anyhow::Error>(answer)
            });
        }
        let mut done = 0;
        while let Some(answer) = tasks.join_next().await {
            let answer = answer??;
            done += answer["result"][kind].as_u64().context("a report")?;
        }
        ensure!(done == self.options.devices, "{kind} {done} devices");
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }

    /// Sends some campaigns to everybody, so that there are histories.
    async fn campaigns(&self) -> Result<()> {
        let api = self.stack.api("server");
        for _ in 0..self.options.campaigns {
            let path = launch(&api, sale()).await?;
            until(&api, &path, SENT, 300).await;
        }
        Ok(())
    }

    async fn operations(&self, first: u64) -> Result<Vec<Operation>> {
        let pool: Vec<Person> = (0..POOL.min(self.options.devices))
            // Spread over the round's devices, in no order.
            .map(|nth| Person(first + nth.wrapping_mul(7_919_777) % self.options.devices))
            .collect();
        let names: Vec<String> = pool.iter().map(|person| person.external_id()).collect();
        let callers = self.options.connections;
        let mut operations = Vec::new();

        let again = pool.iter().map(|person| {
            let body = person.registration().to_string();
            self.target.request("PUT", "/devices", JSON, body.as_bytes())
        });
        let again: Vec<_> = again.collect();
        let calls = self.raw.registrations(&names, callers).await?;
        operations.push(
            self.measure(REGISTERS, again.clone(), callers, Some(calls))
                .await?,
        );

        let (name, many) = (format!("{REGISTERS}, more at once"), 4 * callers);
        let calls = self.raw.registrations(&names, many).await?;
        operations.push(self.measure(&name, again, many, Some(calls)).await?);

        let properties = pool.iter().map(|person| {
            let body = json!({ "properties": [
                { "key": "visits", "value": person.0 % 1_000 },
                { "key": "score", "value": (person.0 % 100) as f64 / 100.0 },
                { "key": "plan", "value": "gold" },
                { "key": "tags", "value": ["news", "deals"] },
            ] });
            let path = format!("/devices/{}/properties/:add", escaped(&person.external_id()));
            self.target
                .request("POST", &path, JSON, body.to_string().as_bytes())
        });
        let calls = self.raw.properties(&names, callers).await?;
        operations.push(
            self.measure(SETS, properties.collect(), callers, Some(calls))
                .await?,
        );

        let get = |suffix: &str| -> Vec<Vec<u8>> {
            names
                .iter()
                .map(|name| format!("/devices/{}{suffix}", escaped(name)))
                .map(|path| self.target.request("GET", &path, JSON, b""))
                .collect()
        };
        let finds = self.raw.gets(&names, callers);
        operations.push(
            self.measure("read a device", get(""), callers, Some(finds))
                .await?,
        );
        let nothing = None::<Vec<raw::OneFind>>;
        let histories = get("/notifications");
        operations.push(self.measure("history", histories, callers, nothing).await?);

        let page = names.chunks(20).map(|names| {
            let body = json!({ "external_ids": names, "size": 20 });
            self.search(&body)
        });
        let nothing = None::<Vec<raw::OneFind>>;
        operations.push(
            self.measure("search, 20 names", page.collect(), callers, nothing)
                .await?,
        );

        // Reads every device: how many a tree reaches, and the first page of them.
        let tree = json!({ "join_type": "AND", "conditions": [
            { "key": "plan", "operator": "str_eq", "value": "gold" },
            { "key": "visits", "operator": "int_lt", "value": 2 },
        ] });
        let reach = self.search(&json!({ "conditions": tree, "size": 1 }));
        let counts = self.raw.counts(2);
        operations.push(
            self.measure("reach of a tree", vec![reach], 2, Some(counts))
                .await?,
        );
        Ok(operations)
    }

    fn search(&self, body: &Value) -> Vec<u8> {
        let path = "/devices/-/:search";
        self.target
            .request("POST", path, JSON, body.to_string().as_bytes())
    }

    /// Closed, beside the driver if it can do the same, and open at half the rate.
    async fn measure<C: Caller>(
        &self,
        name: &str,
        requests: Vec<Vec<u8>>,
        callers: usize,
        raw: Option<Vec<C>>,
    ) -> Result<Operation> {
        let requests = Arc::new(requests);
        let time = Duration::from_secs(self.options.seconds);
        let before = Spent::by(self.stack);
        let reached = closed(asking(&self.target, &requests, callers).await?, time).await?;
        let count = (reached.rate * time.as_secs_f64()) as u64;
        let spent = before.until(Spent::by(self.stack), count);
        let raw: Option<Load> = match raw {
            Some(callers) => Some(closed(callers, time).await?),
            None => None,
        };
        let ungathered = if name.starts_with(REGISTERS) || name.starts_with(SETS) {
            let target = Target {
                address: self.alone.address.clone(),
                key: self.target.key.clone(),
            };
            Some(closed(asking(&target, &requests, callers).await?, time).await?)
        } else {
            None
        };
        let steady = open(
            asking(&self.target, &requests, callers).await?,
            reached.rate / 2.0,
            time,
        )
        .await?;
        let operation = Operation {
            name: name.to_owned(),
            callers,
            closed: reached,
            open: steady,
            raw,
            apiserver_us: spent.apiserver_us,
            mongod_us: spent.mongod_us,
            ungathered,
        };
        println!("  {operation:?}");
        Ok(operation)
    }
}

async fn asking(target: &Target, requests: &Arc<Vec<Vec<u8>>>, callers: usize) -> Result<Vec<Asking>> {
    let mut asking = Vec::new();
    for _ in 0..callers {
        asking.push(Asking {
            connection: target.connect().await?,
            requests: Arc::clone(requests),
        });
    }
    Ok(asking)
}

/// Asks the API for one thing after the other.
struct Asking {
    connection: Connection,
    requests: Arc<Vec<Vec<u8>>>,
}

impl Caller for Asking {
    async fn call(&mut self, nth: u64) -> Result<()> {
        let request = &self.requests[nth as usize % self.requests.len()];
        self.connection.call(request).await.map(drop)
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
