//! The script at work: which rule takes a request.
//!
//! Rules are asked in the order of the script, and count what they take. Those for an exact token are
//! kept apart, in a table, because there may be 100,000 of them. A new script takes the old one's place as
//! a whole, and its counts begin anew.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Answer, Rule, Script, ScriptError};
use crate::{chance, ledger::Provider};

/// What the script decided for one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    /// The answer, or none for the usual one.
    pub(crate) answer: Option<Arc<Answer>>,
    /// Extra time in milliseconds, and how much more by chance.
    pub(crate) latency_ms: u64,
    pub(crate) latency_jitter_ms: u64,
}

/// A rule at work.
#[derive(Debug)]
struct Active {
    rule: Rule,
    answer: Option<Arc<Answer>>,
    provider: Option<Provider>,
    taken: AtomicU64,
    taken_by_token: Mutex<HashMap<String, u32>>,
}

impl Active {
    fn new(rule: Rule, index: usize) -> Result<Self, ScriptError> {
        let provider = rule.check().map_err(|problem| ScriptError { index, problem })?;
        Ok(Self {
            answer: rule.answer.clone().map(Arc::new),
            rule,
            provider,
            taken: AtomicU64::new(0),
            taken_by_token: Mutex::default(),
        })
    }

    /// Whether the rule takes this request; counts it when so.
    fn takes(&self, index: usize, request: &Asked<'_>) -> bool {
        if self.rule.oauth != request.oauth
            || self.provider.is_some_and(|provider| provider != request.provider)
            || self
                .rule
                .token
                .as_deref()
                .is_some_and(|token| token != request.token)
            || self
                .rule
                .token_prefix
                .as_deref()
                .is_some_and(|prefix| !request.token.starts_with(prefix))
        {
            return false;
        }
        if let Some(probability) = self.rule.probability {
            let draw = chance::hash(request.seed, request.token.as_bytes());
            let draw = chance::mix(draw ^ chance::mix(request.attempt ^ ((index as u64) << 48)));
            if !chance::happens(draw, probability) {
                return false;
            }
        }
        if let Some(limit) = self.rule.times_per_token {
            let mut counts = self.taken_by_token.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(request.token.to_owned()).or_default();
            if *count >= limit {
                return false;
            }
            *count += 1;
        }
        match self.rule.times {
            Some(limit) => self
                .taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                    (taken < limit).then_some(taken + 1)
                })
                .is_ok(),
            None => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                true
            }
        }
    }
}

/// A request as the script sees it.
pub(crate) struct Asked<'a> {
    pub(crate) provider: Provider,
    pub(crate) token: &'a str,
    /// It asks for an access token, and has no push token.
    pub(crate) oauth: bool,
    /// How often the token was sent to before.
    pub(crate) attempt: u64,
    pub(crate) seed: u64,
}

/// Rules at work, with the exact tokens in a table so that 100,000 of them cost one look-up.
#[derive(Debug, Default)]
struct Compiled {
    rules: Vec<Active>,
    by_token: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

impl Compiled {
    fn new(script: Script) -> Result<Self, ScriptError> {
        let mut compiled = Self::default();
        for (index, rule) in script.rules.into_iter().enumerate() {
            match &rule.token {
                Some(token) => compiled.by_token.entry(token.clone()).or_default().push(index),
                None => compiled.others.push(index),
            }
            compiled.rules.push(Active::new(rule, index)?);
        }
        Ok(compiled)
    }

    fn decide(&self, request: &Asked<'_>) -> Option<Decision> {
        let exact = self.by_token.get(request.token).map_or(&[][..], Vec::as_slice);
        let (mut exact, mut others) = (exact.iter().peekable(), self.others.iter().peekable());
        loop {
            // Both lists are in the order of the script; the smaller index is asked first.
            let index = match (exact.peek(), others.peek()) {
                (Some(a), Some(b)) if a < b => exact.next(),
                (_, Some(_)) => others.next(),
                (Some(_), None) => exact.next(),
                (None, None) => None,
            }?;
            let active = &self.rules[*index];
            if active.takes(*index, request) {
                return Some(Decision {
                    answer: active.answer.clone(),
                    latency_ms: active.rule.latency_ms,
                    latency_jitter_ms: active.rule.latency_jitter_ms,
                });
            }
        }
    }
}

/// The script in force.
#[derive(Debug, Default)]
pub(crate) struct Director {
    armed: AtomicBool,
    compiled: RwLock<Arc<Compiled>>,
}

impl Director {
    /// Puts `script` in the place of the one before, with fresh counts.
    pub(crate) fn replace(&self, script: Script) -> Result<(), ScriptError> {
        let compiled = Compiled::new(script)?;
        let armed = !compiled.rules.is_empty();
        *self.compiled.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(compiled);
        self.armed.store(armed, Ordering::Release);
        Ok(())
    }

    /// The script in force and how many requests each rule took.
    pub(crate) fn report(&self) -> (Script, Vec<u64>) {
        let compiled = self.current();
        let rules = compiled.rules.iter().map(|active| active.rule.clone());
        let taken = compiled
            .rules
            .iter()
            .map(|active| active.taken.load(Ordering::Relaxed));
        (
            Script {
                rules: rules.collect(),
            },
            taken.collect(),
        )
    }

    /// What the script wants for a request; none when no rule takes it. `asked` is called only when
    /// there are rules, because it may cost a look-up.
    pub(crate) fn decide<'a>(&self, asked: impl FnOnce() -> Asked<'a>) -> Option<Decision> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        self.current().decide(&asked())
    }

    fn current(&self) -> Arc<Compiled> {
        Arc::clone(&self.compiled.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn director(json: &str) -> Director {
        let director = Director::default();
        director.replace(serde_json::from_str(json).unwrap()).unwrap();
        director
    }

    fn ask(director: &Director, provider: Provider, token: &str, attempt: u64) -> Option<Answer> {
        director
            .decide(|| Asked {
                provider,
                token,
                oauth: false,
                attempt,
                seed: 1,
            })
            .and_then(|decision| decision.answer)
            .map(|answer| (*answer).clone())
    }

    #[test]
    fn the_first_rule_that_applies_wins_exact_or_not() {
        let director = director(
            r#"{"rules":[{"token_prefix":"a","answer":"stall"},{"token":"ab","answer":"close"},
                {"token":"b","answer":"close"},{"answer":"half_body"}]}"#,
        );
        assert_eq!(ask(&director, Provider::Fcm, "ab", 0), Some(Answer::Stall));
        assert_eq!(ask(&director, Provider::Fcm, "b", 0), Some(Answer::Close));
        assert_eq!(ask(&director, Provider::Fcm, "c", 0), Some(Answer::HalfBody));
    }

    #[test]
    fn a_rule_with_times_is_spent_after_them() {
        let director =
            director(r#"{"rules":[{"times":2,"answer":"close"},{"times_per_token":1,"answer":"stall"}]}"#);
        let answers: Vec<_> = (0..4).map(|n| ask(&director, Provider::Fcm, "t", n)).collect();
        assert_eq!(
            answers,
            [
                Some(Answer::Close),
                Some(Answer::Close),
                Some(Answer::Stall),
                None
            ]
        );
        assert_eq!(ask(&director, Provider::Fcm, "u", 0), Some(Answer::Stall));
    }

    #[test]
    fn an_error_code_binds_the_rule_to_its_provider() {
        let director = director(r#"{"rules":[{"answer":{"error":{"code":"BadDeviceToken"}}}]}"#);
        assert!(ask(&director, Provider::Fcm, "t", 0).is_none());
        assert!(ask(&director, Provider::Apns, "t", 0).is_some());
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_its_position() {
        for (json, word) in [
            (r#"{"rules":[{},{"token":"a","token_prefix":"b"}]}"#, "exclude"),
            (r#"{"rules":[{},{"probability":1.5}]}"#, "probability"),
            (
                r#"{"rules":[{},{"answer":{"error":{"code":"Nonsense"}}}]}"#,
                "Nonsense",
            ),
            (r#"{"rules":[{},{"answer":{"http":{"status":99}}}]}"#, "status"),
        ] {
            let error = Director::default()
                .replace(serde_json::from_str(json).unwrap())
                .unwrap_err();
            assert_eq!(error.index, 1);
            assert!(error.problem.contains(word), "{error}");
        }
    }

    #[test]
    fn a_probability_draws_the_same_in_every_run() {
        let json = r#"{"rules":[{"probability":0.3,"answer":"stall"}]}"#;
        let run = || -> Vec<bool> {
            let director = director(json);
            (0..1000)
                .map(|n| ask(&director, Provider::Fcm, &format!("t{n}"), 0).is_some())
                .collect()
        };
        let first = run();
        assert_eq!(first, run());
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((240..360).contains(&hits), "{hits}");
    }
}
