//! The binary as a person or a script meets it: exit codes, refusals, and the first run.
#![expect(clippy::unwrap_used, reason = "a test: an unwrap that fails is its result")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const JRAZE: &str = env!("CARGO_BIN_EXE_jraze");

/// The command with an environment of its own: nothing of the person who runs the tests.
fn jraze(arguments: &[&str]) -> Command {
    let mut command = Command::new(JRAZE);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JRAZE_")) {
        if name != "JRAZE_MONGOD" {
            command.env_remove(name);
        }
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON objects on standard output.
fn events(output: &Output) -> Vec<Value> {
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn wrong_usage_exits_with_2() {
    for wrong in [
        &["fly"][..],
        &["import"],
        &["campaign", "create", "--title", "t", "--body", "b"],
    ] {
        assert_eq!(jraze(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn an_audience_is_asked_for_by_both_of_its_flags() {
    let output = jraze(&["campaign", "create", "--title", "t", "--body", "b"])
        .output()
        .unwrap();
    let text = text(&output.stderr);
    assert!(text.contains("--conditions") && text.contains("--all"), "{text}");
}

#[test]
fn a_database_that_is_not_there_is_said_so_in_one_line_and_without_the_password() {
    for command in [&["apps", "list"][..], &["migrate"], &["doctor"]] {
        let output = jraze(command)
            .env(
                "JRAZE_MONGODB__URI",
                "mongodb://me:hunter2@127.0.0.1:9/?replicaSet=rs0",
            )
            .env("JRAZE_MONGODB__SERVER_SELECTION_TIMEOUT", "300ms")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(
            all.contains("no MongoDB at 127.0.0.1:9: set mongodb.uri or JRAZE_MONGODB__URI"),
            "{all}"
        );
        assert!(!all.contains("hunter2") && !all.contains("Topology"), "{all}");
    }
}

#[test]
fn dev_refuses_what_cannot_work_before_it_starts_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let dev = |arguments: &[&str]| {
        let mut command = jraze(&["dev", "--mongod", "/nonexistent", "--data"]);
        command.arg(dir.path()).args(arguments).output().unwrap()
    };
    assert_eq!(dev(&["--listen", "nowhere"]).status.code(), Some(2));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, message) in [
        (["--listen", &address], "cannot listen on"),
        (
            ["--ready-file", "/nonexistent/ready"],
            "cannot write /nonexistent/ready",
        ),
    ] {
        let output = dev(&arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(message), "{output:?}");
    }
}

#[test]
fn keys_that_could_never_work_are_refused() {
    let output = jraze(&["keys", "create", "server", "--expires-in", "0s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = jraze(&["keys", "create", "internal", "--app", "2"])
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("is for all apps"), "{output:?}");
}

#[test]
fn an_import_that_cannot_begin_says_why_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devices.csv.gz");
    fs::write(&file, [0x1f, 0x8b, 8, 0]).unwrap();
    let output = jraze(&["import", "--key", "k", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "", "no summary of nothing");
    assert!(text(&output.stderr).contains("gunzip "), "{output:?}");
}

#[test]
fn a_mistyped_variable_is_refused_with_a_suggestion() {
    let output = jraze(&["config", "check"])
        .env("JRAZE_MONGODB_URI", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("did you mean JRAZE_MONGODB__URI?"),
        "{output:?}"
    );
}

#[test]
fn a_mistyped_set_is_refused_with_a_suggestion() {
    let output = jraze(&["config", "check", "--set", "worker.lese=30s"])
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains("did you mean `worker.lease`?"),
        "{output:?}"
    );
}

#[test]
fn no_server_and_no_key_are_said_so() {
    let output = jraze(&["campaign", "list"]).output().unwrap();
    assert!(text(&output.stderr).contains("JRAZE_KEY"), "{output:?}");
    let nobody = ["campaign", "list", "--api", "http://127.0.0.1:9", "--key", "k"];
    let output = jraze(&nobody).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is the server running"),
        "{output:?}"
    );
}

/// A running `jraze dev`; killed when a test fails in between.
struct Dev {
    child: Child,
    ready: Value,
}

impl Dev {
    fn start(data: &Path) -> Self {
        let ready_file = data.join("ready.json");
        let mut child = jraze(&["dev", "--no-seed", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !ready_file.exists() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "jraze dev ended before it was ready"
            );
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "jraze dev is not ready"
            );
            pause();
        }
        let ready = serde_json::from_slice(&fs::read(&ready_file).unwrap()).unwrap();
        Self { child, ready }
    }

    fn field(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = jraze(arguments);
        command
            .env("JRAZE_API", self.field("api"))
            .env("JRAZE_KEY", self.field("server_key"));
        command.output().unwrap()
    }

    /// Ctrl-C; the exit code.
    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                asked.elapsed() < Duration::from_secs(60),
                "jraze dev does not stop"
            );
            pause();
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of processes, without a runtime")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Whether something listens at the first address of a URL.
fn answers(url: &str) -> bool {
    let address = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    TcpStream::connect(address).is_ok()
}

#[test]
fn the_first_run_from_import_to_counts_then_a_clean_stop_and_a_second_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start(&data);

    // One row names a platform that does not exist; the others are imported.
    let file = dir.path().join("devices.csv");
    let rows = (0..30).map(|index| {
        let platform = if index % 3 == 0 { "ios" } else { "android" };
        let token = if index % 3 == 0 {
            format!("5bfacade0200{index:052x}")
        } else {
            format!("sbx-ok-{index}")
        };
        format!("u{index},{token},{platform},{}\n", 20 + index)
    });
    let csv = format!(
        "external_id,push_token,device_platform,age\nbad,sbx-ok-bad,palm,1\n{}",
        rows.collect::<String>()
    );
    fs::write(&file, csv).unwrap();
    let import = dev.run(&["--json", "import", file.to_str().unwrap()]);
    assert_eq!(import.status.code(), Some(3), "partly failed: {import:?}");
    let columns = &events(&import)[0]["columns"];
    assert_eq!(
        *columns,
        serde_json::json!([{"column": "age", "property": "age", "type": "int"}])
    );
    let done = events(&import).pop().unwrap();
    assert_eq!(
        (&done["event"], &done["created"], &done["rejected"]),
        (&"done".into(), &30.into(), &1.into())
    );
    let rejected = fs::read_to_string(dir.path().join("devices.csv.rejected.ndjson")).unwrap();
    let rejected: Value = serde_json::from_str(rejected.trim()).unwrap();
    assert_eq!(
        (&rejected["line"], &rejected["pointer"]),
        (&2.into(), &"/device_platform".into())
    );

    let conditions = r#"{"key": "age", "operator": "int_gte", "value": 35}"#;
    let create = [
        "--json",
        "campaign",
        "create",
        "--title",
        "T",
        "--body",
        "B",
        "--watch",
        "--conditions",
        conditions,
    ];
    let campaign = dev.run(&create);
    assert_eq!(campaign.status.code(), Some(0), "{campaign:?}");
    let done = events(&campaign).pop().unwrap();
    assert_eq!(done["status"], "SENT");
    assert_eq!(
        done["sent"],
        serde_json::json!({"android": 10, "ios": 5, "web": 0})
    );

    let wrong = dev.run(&[
        "campaign",
        "create",
        "--title",
        "T",
        "--body",
        "B",
        "--conditions",
        r#"{"key": "a b", "operator": "int_eq", "value": 1}"#,
    ]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("at /conditions/key"), "{wrong:?}");

    let export = dev.run(&["export"]);
    assert_eq!(text(&export.stdout).lines().count(), 30);
    // What the export writes, the import reads; nothing is new then.
    let exported = dir.path().join("all.ndjson");
    fs::write(&exported, &export.stdout).unwrap();
    let again = events(&dev.run(&["--json", "import", exported.to_str().unwrap()]))
        .pop()
        .unwrap();
    assert_eq!((&again["created"], &again["updated"]), (&0.into(), &30.into()));

    let before = dev.ready.clone();
    assert_eq!(dev.stop(), Some(0));
    for part in ["api", "sandbox", "mongodb"] {
        assert!(!answers(before[part].as_str().unwrap()), "{part} still runs");
    }

    assert!(
        !data.join("ready.json").exists(),
        "the ready file goes with what it describes"
    );

    let dev = Dev::start(&data);
    for key in ["admin_key", "server_key", "client_key", "internal_key"] {
        assert_eq!(dev.ready[key], before[key]);
    }
    assert_eq!(
        text(&dev.run(&["export"]).stdout).lines().count(),
        30,
        "the devices are still there"
    );
    assert_eq!(dev.stop(), Some(0));
}
