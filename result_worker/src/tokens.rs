//! Taking dead tokens out of audiences, once their campaign is over.
//!
//! Not before: only the whole campaign shows whether so many dead tokens are believable. When one provider
//! called more of them dead than that (`brake::is_mass_invalidation`) and no person confirmed it, all of
//! that provider's stay: they are sent to again by the next campaign, which costs some requests, where
//! believing a provider that was wrong would cost the app its audience.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use jraze_domain::campaign::Notification;
use jraze_domain::device::SendPlatform;
use jraze_domain::dispatch::Brake;
use jraze_domain::dispatch::brake::is_mass_invalidation;
use jraze_storage::StorageError;
use jraze_storage::devices::Devices;
use jraze_storage::dispatch::{Answered, Windows};

/// Windows whose dead tokens are buried with one statement.
const AT_ONCE: i64 = 20;

/// Buries tokens.
#[derive(Debug)]
pub(crate) struct Undertaker<'a> {
    pub(crate) windows: &'a Windows,
    pub(crate) devices: &'a Devices,
    pub(crate) now: DateTime<Utc>,
}

impl Undertaker<'_> {
    /// Buries what is believed to be dead of a campaign of which nothing is open any more. A token that was
    /// registered again since its provider called it dead is left alone. May be repeated.
    pub(crate) async fn bury(&self, of: &Notification) -> Result<(), StorageError> {
        let answered = self.windows.answered(of.id).await?;
        let confirmed = of.confirmed.contains(&Brake::MassInvalidation);
        let believed = believed(&answered, confirmed);
        for provider in answered
            .iter()
            .filter(|provider| !believed.contains(&provider.by))
        {
            if provider.dead > 0 {
                let Answered { by, answers, dead } = provider;
                tracing::warn!(notification.id = %of.id, provider = by.name(), answers, dead, "so many dead tokens are not believed: none is dropped");
            }
        }
        if believed.is_empty() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let dead = self.windows.dead(of.id, after.as_ref(), AT_ONCE).await?;
            let Some(last) = dead.last() else {
                return Ok(());
            };
            after = Some(last.window.clone());
            let gone: Vec<_> = dead
                .into_iter()
                .flat_map(|window| window.tokens)
                .filter(|(by, _)| believed.contains(by))
                .map(|(_, gone)| gone)
                .collect();
            if !gone.is_empty() {
                self.devices
                    .bury_tokens(of.app, &gone, "unregistered", self.now)
                    .await?;
                fail::fail_point!("device.after_bury");
            }
        }
    }
}

/// The providers that called tokens dead and are believed.
fn believed(answered: &[Answered], confirmed: bool) -> BTreeSet<SendPlatform> {
    let believed = |provider: &&Answered| {
        provider.dead > 0 && (confirmed || !is_mass_invalidation(provider.dead, provider.answers))
    };
    answered
        .iter()
        .filter(believed)
        .map(|provider| provider.by)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_calls_too_many_dead_is_believed_only_once_a_person_confirmed_it() {
        let provider = |by, answers, dead| Answered { by, answers, dead };
        let answered = [
            provider(SendPlatform::Fcm, 10_000, 400),
            provider(SendPlatform::Apns, 2_000, 1_500),
        ];
        assert_eq!(believed(&answered, false), BTreeSet::from([SendPlatform::Fcm]));
        let both = BTreeSet::from([SendPlatform::Fcm, SendPlatform::Apns]);
        assert_eq!(believed(&answered, true), both);
        assert_eq!(
            believed(&[provider(SendPlatform::Fcm, 90, 0)], true),
            BTreeSet::new()
        );
    }
}
