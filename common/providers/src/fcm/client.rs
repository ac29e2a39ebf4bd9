//! The path of one message to FCM.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header, uri::PathAndQuery};
use jraze_domain::{
    device::{DevicePlatform, PushToken},
    dispatch::{Delivery, Outcome},
    message::Push,
};
use jraze_runtime::clock::Clock;
use tokio::time::Instant;

use super::{
    auth::{AccessToken, AccessTokens},
    classify::{Circumstances, classify},
    message::Prepared,
    settings::FcmSettings,
};
use crate::{
    credential::CredentialProblem,
    provider::{Environment, PayloadError},
    transport::{Endpoint, EndpointSettings, Fixed, Pool, PoolStats, Request},
    verdict::{Verdict, chain, of_transport},
};

/// Sends through one Firebase project.
#[derive(Debug)]
pub struct Client {
    tokens: AccessTokens,
    pool: Pool,
    project: String,
    /// What all requests have in common.
    head: Arc<Fixed>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Reads the key and checks the settings; connects to nothing.
    ///
    /// # Errors
    /// See [`CredentialProblem`].
    pub fn new(settings: FcmSettings, environment: &Environment) -> Result<Self, CredentialProblem> {
        settings.transport.validate()?;
        let (tokens, project) = AccessTokens::new(&settings, environment)?;
        let project = settings
            .project_id
            .or(project)
            .ok_or_else(|| CredentialProblem::Setting {
                key: "project_id",
                problem: "is neither given nor in the service account's key".into(),
            })?;
        let in_paths =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':');
        if project.is_empty() || project.len() > 128 || !project.chars().all(in_paths) {
            let problem = format!("{project:?} is not a project's id");
            return Err(CredentialProblem::Setting {
                key: "project_id",
                problem,
            });
        }
        let endpoint = EndpointSettings {
            base_url: settings.base_url,
            ca_file: settings.ca_file,
        };
        let endpoint = Endpoint::new(&endpoint).map_err(|source| CredentialProblem::Endpoint {
            key: "base_url",
            source,
        })?;
        let authority = endpoint.authority().to_string();
        let path = PathAndQuery::try_from(format!("/v1/projects/{project}/messages:send")).map_err(|_| {
            CredentialProblem::Setting {
                key: "project_id",
                problem: format!("{project:?} makes no address"),
            }
        })?;
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Google's tokens have a kilobyte and last an hour; a 200 says all there is to know.
        let head = Fixed::new(Some(path), headers)
            .with_lasting_authorization()
            .without_success_body();
        let head = Arc::new(head);
        let timeout = settings.transport.request_timeout.get();
        let gate = environment.gate(&authority);
        let pool = Pool::new(
            endpoint,
            settings.transport,
            gate,
            Arc::clone(&environment.jitter),
        );
        Ok(Self {
            tokens,
            pool,
            project,
            head,
            timeout,
            clock: Arc::clone(&environment.clock),
        })
    }

    /// The id of the Firebase project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Maps a message for devices of `platform` and checks its size.
    ///
    /// # Errors
    /// When FCM would refuse it for every device.
    pub fn prepare(&self, push: &Push, platform: DevicePlatform) -> Result<Prepared, PayloadError> {
        Prepared::new(push, platform, self.clock.now())
    }

    /// Sends it to one token, if it is still `wanted` when its turn comes.
    pub async fn send(
        &self,
        prepared: &Prepared,
        token: &PushToken,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        let deadline = Instant::now() + 2 * self.timeout;
        let mut access = match self.tokens.current(deadline).await {
            Ok(access) => access,
            Err(error) => return error.outcome(),
        };
        let body = prepared.for_token(token.as_str());
        let mut resent = false;
        loop {
            let otherwise = match self.attempt(prepared, &access, &body, deadline, wanted).await {
                Verdict::Final(outcome) => return outcome,
                Verdict::Resend { otherwise, .. } => otherwise,
            };
            if resent {
                return otherwise;
            }
            match self.tokens.after_refusal(access.number, deadline).await {
                Some(renewed) => access = renewed,
                None => return otherwise,
            }
            resent = true;
        }
    }

    /// What its connections have done so far.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    async fn attempt(
        &self,
        prepared: &Prepared,
        access: &AccessToken,
        body: &Bytes,
        deadline: Instant,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Verdict {
        let sent_at = self.clock.now();
        let request = Request::new(&self.head).authorized(&access.authorization);
        let answer = match self.pool.send(deadline, &request, body, wanted).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(error = chain(&error), "no answer");
                return Verdict::Final(of_transport(&error));
            }
        };
        let at = || Circumstances {
            sent_at,
            now: self.clock.now(),
            proven: prepared.is_proven(),
        };
        let verdict = classify(answer.status, &answer.headers, &answer.body, at);
        if matches!(&verdict, Verdict::Final(outcome) if outcome.delivery == Delivery::Accepted) {
            prepared.prove();
        }
        verdict
    }
}
