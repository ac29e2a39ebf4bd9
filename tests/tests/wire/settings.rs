//! Credentials that cannot be used are refused at the start, with the reason.

use std::{path::PathBuf, sync::Arc};

use jraze_domain::{device::SendPlatform, ids::AppId};
use jraze_providers::{CredentialError, CredentialProblem, CredentialSettings, ProviderSet};

use super::rig::{self, APP, Rig};

/// The error for the sandbox's two credentials after a change.
async fn refused(change: impl FnOnce(&mut Vec<CredentialSettings>)) -> CredentialError {
    let rig = Rig::start().await;
    let mut credentials = rig::credentials(&rig.sandbox, &rig::quick());
    change(&mut credentials);
    ProviderSet::from_settings(credentials, Arc::new(rig.clock.clone()), 1).expect_err("it cannot be used")
}

fn fcm(credentials: &mut [CredentialSettings]) -> &mut jraze_providers::fcm::FcmSettings {
    match &mut credentials[0] {
        CredentialSettings::Fcm(settings) => settings,
        CredentialSettings::Apns(_) => panic!("the first is FCM's"),
    }
}

fn apns(credentials: &mut [CredentialSettings]) -> &mut jraze_providers::apns::ApnsSettings {
    match &mut credentials[1] {
        CredentialSettings::Apns(settings) => settings,
        CredentialSettings::Fcm(_) => panic!("the second is APNs'"),
    }
}

fn whole(error: &CredentialError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn a_set_says_what_is_configured() {
    let rig = Rig::start().await;
    let configured: Vec<_> = rig.providers.configured().collect();
    assert_eq!(configured, [(APP, SendPlatform::Fcm), (APP, SendPlatform::Apns)]);
    assert!(rig.providers.get(AppId(2), SendPlatform::Fcm).is_none());
    assert!(rig.providers.get(APP, SendPlatform::WebPush).is_none());
}

#[tokio::test]
async fn a_missing_key_file_is_named() {
    let error =
        refused(|credentials| fcm(credentials).service_account_file = "/nonexistent/a.json".into()).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Unreadable {
            key: "service_account_file",
            ..
        }
    ));
    let text = whole(&error);
    assert!(
        text.contains("credential 1 (FCM of app 1)") && text.contains("/nonexistent/a.json"),
        "{text}"
    );
    let error = refused(|credentials| apns(credentials).key_file = "/nonexistent/k.p8".into()).await;
    assert!(
        whole(&error).contains("credential 2 (APNS of app 1)"),
        "{}",
        whole(&error)
    );
}

#[tokio::test]
async fn keys_of_the_wrong_kind_are_refused_without_being_quoted() {
    let mut p8 = PathBuf::new();
    let error = refused(|credentials| {
        p8 = apns(credentials).key_file.clone();
        fcm(credentials).service_account_file = p8.clone();
    })
    .await;
    assert!(matches!(
        error.problem,
        CredentialProblem::File {
            key: "service_account_file",
            ..
        }
    ));
    assert!(!whole(&error).contains("PRIVATE KEY"), "{}", whole(&error));
    let error = refused(|credentials| {
        let account = fcm(credentials).service_account_file.clone();
        apns(credentials).key_file = account;
    })
    .await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Key { key: "key_file", .. }
    ));
    assert!(!whole(&error).contains("private_key"), "{}", whole(&error));
}

#[tokio::test]
async fn addresses_that_are_not_https_are_refused() {
    let error = refused(|credentials| fcm(credentials).base_url = "http://localhost:1".into()).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Endpoint { key: "base_url", .. }
    ));
    let error = refused(|credentials| fcm(credentials).token_url = "http://localhost:1/token".into()).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Setting { key: "token_url", .. }
    ));
    let error = refused(|credentials| apns(credentials).base_url = "https://localhost/path".into()).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Endpoint { key: "base_url", .. }
    ));
}

#[tokio::test]
async fn a_project_or_topic_that_breaks_the_address_is_refused() {
    let error = refused(|credentials| fcm(credentials).project_id = Some("a/../b".into())).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Setting {
            key: "project_id",
            ..
        }
    ));
    let error = refused(|credentials| apns(credentials).topic = "com.example\r\nx: y".into()).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Setting { key: "topic", .. }
    ));
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let error = refused(|credentials| fcm(credentials).transport.connections = 0).await;
    assert!(
        whole(&error).contains("transport.connections must be 1 to 256"),
        "{}",
        whole(&error)
    );
    let error = refused(|credentials| fcm(credentials).app = AppId(0)).await;
    assert!(matches!(
        error.problem,
        CredentialProblem::Setting { key: "app", .. }
    ));
}

#[tokio::test]
async fn a_second_credential_for_the_same_app_and_provider_is_refused() {
    let error = refused(|credentials| {
        let again = credentials[0].clone();
        credentials.push(again);
    })
    .await;
    assert_eq!(error.number, 3);
    assert!(matches!(error.problem, CredentialProblem::Duplicate));
}

#[tokio::test]
async fn where_the_key_says_to_fetch_tokens_is_not_believed() {
    let rig = Rig::start().await;
    let path = rig.sandbox.service_account_file();
    let mut account: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
    account["token_uri"] = "https://169.254.169.254/token".into();
    std::fs::write(path, account.to_string()).expect("written");
    let providers = rig::providers(rig::credentials(&rig.sandbox, &rig::quick()), &rig.clock);
    let provider = providers.get(APP, SendPlatform::Fcm).expect("configured");
    let outcome = rig::send(provider, rig::FCM_TOKEN).await;
    assert_eq!(outcome, jraze_domain::dispatch::Outcome::accepted());
}

#[tokio::test]
async fn debug_of_a_whole_set_shows_no_key_and_no_token() {
    let rig = Rig::start().await;
    rig.send_fcm(rig::FCM_TOKEN).await;
    rig.send_apns(rig::APNS_TOKEN).await;
    let shown = format!("{:?} {:?}", rig.providers, rig::prepare(rig.fcm()));
    for secret in [
        "PRIVATE",
        "ya29.",
        "eyJ",
        "earer",
        "Spring",
        rig::FCM_TOKEN,
        rig::APNS_TOKEN,
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
