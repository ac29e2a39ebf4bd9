use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jraze_domain::ids::AppId;
use jraze_runtime::clock::MockClock;

use super::*;

fn tokens(key: &str, key_id: &str) -> (Result<ProviderTokens, CredentialProblem>, MockClock) {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), key).expect("written");
    let start: DateTime<Utc> = "2026-11-21T09:00:00Z".parse().expect("a time");
    let clock = MockClock::at(start);
    let environment = Environment::new(Arc::new(clock.clone()), 1);
    let settings = ApnsSettings::new(AppId(1), file.path(), key_id, "TEAMTEAM00", "com.example");
    (ProviderTokens::new(&settings, &environment), clock)
}

fn good() -> (ProviderTokens, MockClock) {
    // rcgen's default is the P-256 key that Apple uses.
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let (tokens, clock) = tokens(&key, "ABCDEFGHIJ");
    (tokens.expect("a good key"), clock)
}

#[test]
fn one_token_is_kept_for_fifty_minutes() {
    let (tokens, clock) = good();
    let first = tokens.current();
    clock.advance(TimeDelta::minutes(49));
    assert!(Arc::ptr_eq(&first, &tokens.current()));
    clock.advance(TimeDelta::minutes(2));
    let second = tokens.current();
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &tokens.current()));
}

#[test]
fn no_token_is_minted_within_twenty_minutes_of_the_last() {
    let (tokens, clock) = good();
    let first = tokens.current();
    clock.advance(TimeDelta::minutes(19));
    let wait = tokens.after_refusal(&first).err().expect("too early");
    assert_eq!(wait.as_secs(), 60);
    clock.advance(TimeDelta::minutes(1));
    let second = tokens.after_refusal(&first).expect("allowed");
    assert!(!Arc::ptr_eq(&first, &second));
}

#[test]
fn whoever_was_refused_with_an_old_token_gets_the_new_one_without_another_mint() {
    let (tokens, clock) = good();
    let first = tokens.current();
    clock.advance(TimeDelta::minutes(30));
    let second = tokens.after_refusal(&first).expect("allowed");
    let again = tokens.after_refusal(&first).expect("there is one");
    assert!(Arc::ptr_eq(&second, &again));
}

#[test]
fn after_too_many_updates_nothing_is_minted_for_twenty_minutes_and_the_old_token_stays() {
    let (tokens, clock) = good();
    let first = tokens.current();
    clock.advance(TimeDelta::minutes(45));
    tokens.stop_minting();
    clock.advance(TimeDelta::minutes(10));
    assert!(
        Arc::ptr_eq(&first, &tokens.current()),
        "older than fifty minutes, and still the one"
    );
    assert!(tokens.after_refusal(&first).is_err());
    clock.advance(TimeDelta::minutes(10));
    assert!(!Arc::ptr_eq(&first, &tokens.current()));
}

#[test]
fn a_clock_that_jumps_back_mints_nothing() {
    let (tokens, clock) = good();
    let first = tokens.current();
    clock.advance(TimeDelta::hours(-5));
    assert!(Arc::ptr_eq(&first, &tokens.current()));
    assert!(tokens.after_refusal(&first).is_err());
}

#[test]
fn keys_that_cannot_sign_and_ids_that_cannot_be_are_refused_at_the_start() {
    let (unreadable, _) = tokens(
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "ABCDEFGHIJ",
    );
    assert!(matches!(
        unreadable,
        Err(CredentialProblem::Key { key: "key_file", .. })
    ));
    let (text, _) = tokens("not a key", "ABCDEFGHIJ");
    assert!(matches!(text, Err(CredentialProblem::Key { .. })));
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let (id, _) = tokens(&key, "short");
    assert!(matches!(
        id,
        Err(CredentialProblem::Setting { key: "key_id", .. })
    ));
}

#[test]
fn debug_shows_neither_key_nor_token() {
    let (tokens, _) = good();
    let shown = format!("{tokens:?} {:?}", tokens.current().authorization);
    assert!(!shown.contains("bearer") && !shown.contains("eyJ"), "{shown}");
}
