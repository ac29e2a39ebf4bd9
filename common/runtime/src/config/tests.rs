use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use toml::Table;

use super::{ConfigError, HumanDuration, Secret, load};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    mongodb: Mongo,
    worker: Worker,
    credentials: Vec<Credential>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Mongo {
    uri: Secret,
    database: String,
}

impl Default for Mongo {
    fn default() -> Self {
        Self {
            uri: Secret::new("mongodb://localhost"),
            database: "jraze".into(),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Worker {
    concurrency: u16,
    lease: HumanDuration,
    eager: bool,
    regions: Vec<String>,
    ratio: Option<f64>,
    mode: Option<Mode>,
}

impl Default for Worker {
    fn default() -> Self {
        let lease = HumanDuration::from_secs(30);
        Self {
            concurrency: 4,
            lease,
            eager: false,
            regions: vec![],
            ratio: None,
            mode: None,
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fast,
    Safe,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "lowercase", deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are only read by serde and the schema")]
enum Credential {
    Fcm {
        app: u16,
        service_account_file: PathBuf,
    },
    Apns {
        app: u16,
        key_file: PathBuf,
        password: Option<Secret>,
    },
}

struct Case {
    dir: TempDir,
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
    flags: Table,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            file: None,
            env: vec![],
            flags: Table::new(),
        }
    }

    fn file(mut self, text: &str) -> Self {
        let path = self.dir.path().join("jraze.toml");
        fs::write(&path, text).unwrap();
        self.file = Some(path);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn flags(mut self, text: &str) -> Self {
        self.flags = text.parse().unwrap();
        self
    }

    fn secret(&self, text: &str) -> String {
        let path = self.dir.path().join("secret");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        load(
            self.file.as_deref(),
            self.env.clone().into_iter(),
            self.flags.clone(),
        )
    }

    fn refused(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let settings = Case::new()
        .file("[worker]\nconcurrency = 5\nlease = '10s'\n[mongodb]\ndatabase = 'file'")
        .env("JRAZE_WORKER__LEASE", "20s")
        .env("JRAZE_MONGODB__DATABASE", "env")
        .flags("mongodb.database = 'flag'")
        .load()
        .unwrap();
    assert_eq!(settings.mongodb.database, "flag");
    assert_eq!(settings.worker.lease.get(), Duration::from_secs(20));
    assert_eq!(settings.worker.concurrency, 5);
    assert!(!settings.worker.eager, "the default");
    assert_eq!(settings.mongodb.uri.expose(), "mongodb://localhost");
}

#[test]
fn environment_texts_become_the_type_of_their_key() {
    let settings = Case::new()
        .env("JRAZE_WORKER__CONCURRENCY", " 12 ")
        .env("JRAZE_WORKER__EAGER", "true")
        .env("JRAZE_WORKER__REGIONS", "eu, us")
        .env("JRAZE_WORKER__RATIO", "0.5")
        .env("JRAZE_WORKER__MODE", "safe")
        .env("JRAZE_MONGODB__DATABASE", "123")
        .env("JRAZE_LABELS__TEAM", "growth")
        .env(
            "JRAZE_CREDENTIALS",
            "[{provider = 'fcm', app = 1, service_account_file = 'a.json'}]",
        )
        .env("HOME", "/home/somebody")
        .load()
        .unwrap();
    assert_eq!(settings.worker.concurrency, 12);
    assert!(settings.worker.eager);
    assert_eq!(settings.worker.regions, ["eu", "us"]);
    assert_eq!(settings.worker.ratio, Some(0.5));
    assert_eq!(settings.worker.mode, Some(Mode::Safe));
    assert_eq!(settings.mongodb.database, "123");
    assert_eq!(settings.labels["team"], "growth");
    assert!(matches!(
        &settings.credentials[..],
        [Credential::Fcm { app: 1, .. }]
    ));
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_file_key_and_suggestion() {
    let case = Case::new().file("[worker]\nconcurency = 5");
    let message = case.refused();
    assert!(message.contains("jraze.toml"), "{message}");
    assert!(message.contains("`worker.concurency`"), "{message}");
    assert!(
        message.contains("did you mean `worker.concurrency`?"),
        "{message}"
    );

    let message = Case::new().file("[mongo]\nuri = 'x'").refused();
    assert!(message.contains("did you mean `mongodb.uri`?"), "{message}");
}

#[test]
fn an_unknown_environment_variable_is_refused_in_its_own_spelling() {
    let message = Case::new().env("JRAZE_MONGODB_URI", "x").refused();
    assert_eq!(
        message,
        "environment: unknown key JRAZE_MONGODB_URI, did you mean JRAZE_MONGODB__URI?"
    );
    let message = Case::new().env("JRAZE_MONGO__URI", "x").refused();
    assert!(message.contains("did you mean JRAZE_MONGODB__URI?"), "{message}");
}

#[test]
fn an_unknown_key_that_looks_like_nothing_lists_what_exists_beside_it() {
    let message = Case::new()
        .file("[mongodb]\nsomething_else_entirely = 5")
        .refused();
    assert!(
        message.contains("expected one of `mongodb.database`, `mongodb.uri`"),
        "{message}"
    );
}

#[test]
fn an_unknown_key_in_a_list_of_tables_is_refused() {
    let text = "[[credentials]]\nprovider = 'fcm'\napp = 1\nservice_acount_file = 'x'";
    assert!(
        Case::new()
            .file(text)
            .refused()
            .contains("`credentials[0].service_acount_file`")
    );
}

#[test]
fn a_value_that_does_not_fit_names_file_key_and_what_was_expected() {
    let message = Case::new().file("[worker]\nconcurrency = 'many'").refused();
    for part in [
        "jraze.toml",
        "`worker.concurrency`",
        "\"many\"",
        "whole number from 0 to 65535",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    let message = Case::new().file("[worker]\nlease = 'soon'").refused();
    assert!(
        message.contains("`worker.lease`") && message.contains("30s"),
        "{message}"
    );
    let message = Case::new().env("JRAZE_WORKER__EAGER", "perhaps").refused();
    assert!(
        message.contains("JRAZE_WORKER__EAGER") && message.contains("true or false"),
        "{message}"
    );
    let message = Case::new().env("JRAZE_WORKER__MODE", "slow").refused();
    assert!(
        message.contains("JRAZE_WORKER__MODE") && message.contains("\"fast\" or \"safe\""),
        "{message}"
    );
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_named() {
    let mut case = Case::new().file("[worker\n");
    let message = case.refused();
    assert!(
        message.contains("jraze.toml") && message.contains("line 1"),
        "{message}"
    );
    case.file = Some("/nowhere/jraze.toml".into());
    assert!(case.refused().contains("/nowhere/jraze.toml"));
}

#[test]
fn a_secret_may_be_given_as_a_file_in_every_source_and_place() {
    let case = Case::new();
    let path = case.secret("s3cret\n");
    let case = case.env("JRAZE_MONGODB__URI_FILE", &path).file(&format!(
        "[[credentials]]\nprovider = 'apns'\napp = 2\nkey_file = 'k.p8'\npassword_file = '{path}'"
    ));
    let settings = case.load().unwrap();
    assert_eq!(settings.mongodb.uri.expose(), "s3cret");
    let [
        Credential::Apns {
            key_file,
            password: Some(password),
            ..
        },
    ] = &settings.credentials[..]
    else {
        panic!("one APNs credential");
    };
    assert_eq!(key_file.to_str(), Some("k.p8"), "not a secret: stays a file name");
    assert_eq!(password.expose(), "s3cret");
}

#[test]
fn a_secrets_file_wins_over_the_secret_of_an_earlier_source() {
    let case = Case::new().file("mongodb.uri = 'from file'");
    let path = case.secret("from env");
    let settings = case.env("JRAZE_MONGODB__URI_FILE", &path).load().unwrap();
    assert_eq!(settings.mongodb.uri.expose(), "from env");
}

#[test]
fn a_secret_given_twice_or_unreadable_is_refused() {
    let twice = Case::new()
        .env("JRAZE_MONGODB__URI", "x")
        .env("JRAZE_MONGODB__URI_FILE", "y");
    let message = twice.refused();
    assert!(
        message.contains("JRAZE_MONGODB__URI and JRAZE_MONGODB__URI_FILE"),
        "{message}"
    );
    let missing = Case::new()
        .env("JRAZE_MONGODB__URI_FILE", "/nowhere/uri")
        .refused();
    assert!(missing.contains("JRAZE_MONGODB__URI_FILE") && missing.contains("/nowhere/uri"));
}

#[test]
fn debug_never_shows_a_secret() {
    let settings = Case::new()
        .env("JRAZE_MONGODB__URI", "mongodb://u:hunter2@h")
        .load()
        .unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
