//! What `jraze dev` tells once everything runs: a block for a person, a file for a script.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;

use super::private_file;
use crate::output::Output;

/// Addresses and keys. The fields are the promise of `--ready-file`: exactly these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ready {
    /// Address of the API.
    pub(crate) api: String,
    /// The interactive reference.
    pub(crate) docs: String,
    /// May do everything.
    pub(crate) admin_key: String,
    /// For a backend: devices and campaigns.
    pub(crate) server_key: String,
    /// For apps: registers its own device.
    pub(crate) client_key: String,
    /// For the roles among themselves (`X-Server-Key`).
    pub(crate) internal_key: String,
    /// Control API of the sandbox.
    pub(crate) sandbox: String,
    /// Connection string of the database.
    pub(crate) mongodb: String,
}

impl Ready {
    /// Prints the block.
    pub(crate) fn print(&self, output: Output, data: &Path, devices: Option<u64>) {
        let version = env!("CARGO_PKG_VERSION");
        output.line("");
        output.line(format!(
            "  jraze {version} · development · nothing leaves this machine"
        ));
        output.line("");
        for (label, value) in [
            ("API", &self.api),
            ("Reference", &self.docs),
            ("Sandbox", &self.sandbox),
            ("MongoDB", &self.mongodb),
        ] {
            output.line(format!("  {label:<12} {value}"));
        }
        output.line("");
        for (label, value) in [
            ("Admin key", &self.admin_key),
            ("Server key", &self.server_key),
            ("Client key", &self.client_key),
            ("Internal key", &self.internal_key),
        ] {
            output.line(format!("  {label:<12} {value}"));
        }
        output.line("");
        output.line(format!("  {:<12} {}", "Data", data.display()));
        if let Some(devices) = devices {
            output.line(format!(
                "  {:<12} {devices} sample devices (--no-seed for none)",
                "Devices"
            ));
        }
        output.line("");
        output.line("  Try, in another terminal:");
        output.line(format!(
            "    export JRAZE_API={} JRAZE_KEY={}",
            self.api, self.server_key
        ));
        output.line(
            "    jraze campaign create --title Hello --body 'It works' --watch \\\n      \
             --conditions '{\"key\": \"plan\", \"operator\": \"str_eq\", \"value\": \"pro\"}'",
        );
        output.line("");
        output.line("  Ctrl-C stops everything.");
        output.event(&serde_json::json!({"event": "ready", "ready": self}));
    }

    /// Whether the file can be written, before there is anything to write.
    pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
        let context = || format!("cannot write {}", path.display());
        anyhow::ensure!(
            !path.is_dir(),
            "cannot write {}: it is a directory",
            path.display()
        );
        let partial = private_file::partial(path);
        File::create(&partial).with_context(context)?;
        fs::remove_file(&partial).with_context(context)
    }

    /// Writes the file: readable by the owner only, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        private_file::write_json(path, self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::Ready;

    #[test]
    fn the_ready_file_has_exactly_the_promised_keys_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let text = || "x".to_owned();
        let ready = Ready {
            api: text(),
            docs: text(),
            admin_key: text(),
            server_key: text(),
            client_key: text(),
            internal_key: text(),
            sandbox: text(),
            mongodb: text(),
        };
        ready.write(&path).unwrap();
        let written: serde_json::Map<_, _> =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut keys: Vec<_> = written.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "admin_key",
                "api",
                "client_key",
                "docs",
                "internal_key",
                "mongodb",
                "sandbox",
                "server_key"
            ]
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
