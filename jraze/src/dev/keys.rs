//! The keys of `jraze dev`, the same at every start on the same data.
//!
//! Keys are shown once and stored as hashes, so a second start could not print them. They are kept in
//! the data directory, readable by the owner only; a key that the database does not know any more
//! (another database, or it was revoked) is replaced by a new one.

use std::{fs, path::Path};

use anyhow::Context as _;
use jraze_domain::keys::{KeyKind, KeyText};
use jraze_runtime::clock::Clock;
use jraze_storage::{
    Store,
    apps::{Apps, FIRST_APP},
    keys::{KeyCheck, Keys, NewKey},
};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::private_file;
use crate::random::key_entropy;

/// One key of each kind, for the first app.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DevKeys {
    pub(crate) admin: String,
    pub(crate) server: String,
    pub(crate) client: String,
    pub(crate) internal: String,
}

impl DevKeys {
    /// Reads the keys of an earlier start, makes those that are missing, and writes all of them.
    pub(crate) async fn ready(
        dir: &Path,
        store: &Store,
        rng: &mut StdRng,
        clock: &dyn Clock,
    ) -> anyhow::Result<Self> {
        let path = dir.join("keys.json");
        let mut keys: Self = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; remove it for new keys", path.display()))?,
            Err(_) => Self::default(),
        };
        let first = Apps::new(store)
            .ensure_first(|| key_entropy(rng), clock.now())
            .await?;
        for created in first.into_iter().flat_map(|first| first.keys) {
            *keys.of(created.key.kind) = created.text.reveal();
        }
        let repository = Keys::new(store);
        for kind in KeyKind::ALL {
            if is_good(&repository, keys.of(kind), clock).await? {
                continue;
            }
            let new = NewKey {
                app: (kind != KeyKind::Internal).then_some(FIRST_APP),
                kind,
                scopes: kind.scopes(),
                name: "jraze dev".to_owned(),
                expires_at: None,
            };
            let created = repository.create(new, &key_entropy(rng), clock.now()).await?;
            *keys.of(kind) = created.text.reveal();
        }
        private_file::write_json(&path, &keys)?;
        Ok(keys)
    }

    fn of(&mut self, kind: KeyKind) -> &mut String {
        match kind {
            KeyKind::Admin => &mut self.admin,
            KeyKind::Server => &mut self.server,
            KeyKind::Client => &mut self.client,
            KeyKind::Internal => &mut self.internal,
        }
    }
}

async fn is_good(keys: &Keys, text: &str, clock: &dyn Clock) -> anyhow::Result<bool> {
    match KeyText::parse(text) {
        Ok(text) => Ok(matches!(
            keys.check(&text, clock.now()).await?,
            KeyCheck::Valid(_)
        )),
        Err(_) => Ok(false),
    }
}
