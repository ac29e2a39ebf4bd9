//! All credentials of a worker.

use std::sync::Arc;

use jraze_domain::{device::SendPlatform, ids::AppId};
use jraze_runtime::clock::Clock;

use crate::{
    apns,
    credential::{CredentialError, CredentialProblem, CredentialSettings},
    fcm,
    provider::{Environment, Provider},
};

/// The provider for each app and send platform.
#[derive(Debug, Clone, Default)]
pub struct ProviderSet {
    // A handful of entries, looked up once per window: a list is enough.
    providers: Vec<(AppId, SendPlatform, Arc<Provider>)>,
}

impl ProviderSet {
    /// Reads every key file, checks that each key can sign and each setting makes sense. Connects to
    /// nothing: connections are opened when the first message is sent.
    ///
    /// Replicas need different `seed`s, so that they do not wait in step.
    ///
    /// # Errors
    /// The first credential that cannot be used, and why.
    pub fn from_settings(
        credentials: Vec<CredentialSettings>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, CredentialError> {
        let environment = Environment::new(clock, seed);
        let mut set = Self::default();
        for (index, credential) in credentials.into_iter().enumerate() {
            let (app, platform) = (credential.app(), credential.send_platform());
            let refused = |problem| CredentialError {
                number: index + 1,
                platform,
                app,
                problem,
            };
            if app == AppId(0) {
                let problem = CredentialProblem::Setting {
                    key: "app",
                    problem: "counts from 1".into(),
                };
                return Err(refused(problem));
            }
            if set.get(app, platform).is_some() {
                return Err(refused(CredentialProblem::Duplicate));
            }
            let provider = match credential {
                CredentialSettings::Fcm(settings) => {
                    fcm::Client::new(settings, &environment).map(Provider::Fcm)
                }
                CredentialSettings::Apns(settings) => {
                    apns::Client::new(settings, &environment).map(Provider::Apns)
                }
            };
            set.providers
                .push((app, platform, Arc::new(provider.map_err(refused)?)));
        }
        Ok(set)
    }

    /// The provider that reaches devices of `platform` for `app`, if there is a credential for it.
    pub fn get(&self, app: AppId, platform: SendPlatform) -> Option<&Arc<Provider>> {
        let fits = |(of, on, _): &&(AppId, SendPlatform, Arc<Provider>)| *of == app && *on == platform;
        self.providers.iter().find(fits).map(|(_, _, provider)| provider)
    }

    /// Every app and send platform with a credential, in the order of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = (AppId, SendPlatform)> + '_ {
        self.providers.iter().map(|(app, platform, _)| (*app, *platform))
    }

    /// True when nothing can be sent at all.
    pub fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }
}
