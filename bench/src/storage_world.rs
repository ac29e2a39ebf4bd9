//! The mongod of the storage scenario, and what is in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use jraze_domain::campaign::{Ambiguity, Audience, Draft};
use jraze_domain::device::{bucket, storage_id};
use jraze_domain::ids::{AppId, DeviceId, NotificationId, NotificationUuid};
use jraze_domain::message::Content;
use jraze_storage::Store;
use jraze_storage::notifications::Notifications;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use tokio::process::{Child, Command};

use crate::processor::ticks;

pub(crate) const APP: AppId = AppId(1);
pub(crate) const DATABASE: &str = "jraze_bench_storage";

/// A mongod that is a replica set of one.
pub(crate) struct Server {
    child: Child,
    program: PathBuf,
    folder: PathBuf,
    pub(crate) uri: String,
}

impl Server {
    /// Over an empty folder.
    pub(crate) async fn start(folder: &Path, cache: f64) -> Result<Self> {
        let fetched = Command::new("scripts/mongod").arg("fetch").output().await?;
        ensure!(fetched.status.success(), "scripts/mongod fetch failed");
        let program = PathBuf::from(String::from_utf8(fetched.stdout)?.trim());
        let port = jraze_tests::ports::free_port()?;
        std::fs::create_dir(folder.join("data"))?;
        let uri = format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0");
        let server = Self {
            child: launch(&program, folder, port, cache)?,
            program,
            folder: folder.to_owned(),
            uri,
        };
        let direct = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let admin = mongodb::Client::with_uri_str(direct).await?.database("admin");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
        admin
            .run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } })
            .await?;
        server.wait().await?;
        Ok(server)
    }

    /// The same data with another cache.
    pub(crate) async fn restart(mut self, cache: f64) -> Result<Self> {
        self.end().await?;
        let port = self.port()?;
        self.child = launch(&self.program, &self.folder, port, cache)?;
        self.wait().await?;
        Ok(self)
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.end().await
    }

    pub(crate) async fn client(&self) -> Result<mongodb::Client> {
        Ok(mongodb::Client::with_uri_str(&self.uri).await?)
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        let id = self.child.id().context("mongod has ended")?;
        ticks(Path::new(&format!("/proc/{id}"))).context("no /proc")
    }

    async fn wait(&self) -> Result<()> {
        let admin = self.client().await?.database("admin");
        for _ in 0..100 {
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("mongod does not become primary")
    }

    fn port(&self) -> Result<u16> {
        let port = self.uri.split([':', '/']).nth(4).context("a port")?;
        Ok(port.parse()?)
    }

    async fn end(&mut self) -> Result<()> {
        let id = self.child.id().context("mongod has ended")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await??;
        Ok(())
    }
}

fn launch(program: &Path, folder: &Path, port: u16, cache: f64) -> Result<Child> {
    Command::new(program)
        .args([
            "--replSet",
            "rs0",
            "--bind_ip",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ])
        .args([
            "--oplogSize",
            "1024",
            "--wiredTigerCacheSizeGB",
            &cache.to_string(),
        ])
        .arg("--dbpath")
        .arg(folder.join("data"))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("mongod does not start")
}

/// A collection by name.
#[expect(
    clippy::disallowed_methods,
    reason = "what jraze is held against goes past jraze-storage"
)]
pub(crate) fn collection<T: Send + Sync>(database: &mongodb::Database, name: &str) -> mongodb::Collection<T> {
    database.collection(name)
}

/// Hash of a number and a name.
fn draw(id: u64, what: u64) -> u64 {
    let mut x = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what.wrapping_mul(0xD1B5_4A32_D192_ED03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    x
}

/// A device as jraze stores it: a token of 150 characters, and five integers, three texts, a list of three
/// texts and one of two integers.
fn device(id: u64) -> Document {
    let number = |what: u64, below: u64| (draw(id, what) % below) as i64;
    let text = |letter: &str, what: u64, below: u64| format!("{letter}{:02}", draw(id, what) % below);
    let mut hash = vec![0; 24];
    hash.extend_from_slice(&id.to_be_bytes());
    let at = DateTime::from_millis(1_790_000_000_000);
    let platform = if draw(id, 20) % 10 < 7 { 1 } else { 2 };
    doc! {
        "_id": ObjectId::from_bytes(storage_id(APP, DeviceId(id))),
        "app_id": i32::from(APP.0),
        "id": id as i64,
        "external_id": format!("d{id}"),
        "push_token": format!("{:0150x}", u128::from(draw(id, 21)) << 64 | u128::from(id)),
        "token_hash": Binary { subtype: BinarySubtype::Generic, bytes: hash },
        "token_registered_at": at,
        "token_state": "active",
        "send_platform": platform,
        "device_platform": platform,
        "random_bucket": i32::from(bucket(DeviceId(id))),
        "device_properties": {
            "age": number(1, 100),
            "city": text("c", 2, 100),
            "level": number(3, 10),
            "name": text("n", 4, 1_000),
            "numbers": [number(5, 200), number(6, 200)],
            "plan": format!("p{}", draw(id, 7) % 10),
            "score": number(8, 1_000),
            "tags": [text("t", 9, 50), text("t", 10, 50), text("t", 11, 50)],
            "visits": number(12, 1_000_000),
            "weight": number(13, 200),
        },
        "last_seen_at": at,
        "created_at": at,
        "modified_at": at,
    }
}

pub(crate) async fn fill(database: &mongodb::Database, devices: u64) -> Result<()> {
    let all = collection::<Document>(database, "devices");
    let ids: Vec<u64> = (1..=devices).collect();
    for many in ids.chunks(2_000) {
        let documents = many.iter().map(|id| device(*id));
        all.insert_many(documents).ordered(false).await?;
    }
    let counter = doc! { "$set": { "value": devices as i64 } };
    let counters = collection::<Document>(database, "counters");
    counters
        .update_one(doc! { "_id": format!("device:{APP}") }, counter)
        .upsert(true)
        .await?;
    Ok(())
}

/// The devices of the first buckets, in the order in which an audience gives them.
pub(crate) fn device_ids_in_order(devices: u64, buckets: u16) -> Vec<DeviceId> {
    let mut ids: Vec<DeviceId> = (1..=devices)
        .map(DeviceId)
        .filter(|id| bucket(*id) <= buckets)
        .collect();
    ids.sort_unstable_by_key(|id| (bucket(*id), *id));
    ids
}

pub(crate) async fn notifications(store: &Store, count: u64) -> Result<Vec<NotificationId>> {
    let repository = Notifications::new(store);
    let mut made = Vec::new();
    for number in 0..count {
        let draft = Draft {
            content: Content {
                title: format!("Campaign {number}"),
                body: "Everything must go".into(),
                ..Content::default()
            },
            audience: Audience::All,
            scheduled_at: None,
            expires_at: None,
            on_ambiguous: Ambiguity::Resend,
        };
        let uuid = NotificationUuid(uuid::Uuid::from_u128((1 << 64) + u128::from(number)));
        let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).context("in range")?;
        made.push(repository.add(APP, uuid, &draft, at).await?.id);
    }
    Ok(made)
}
