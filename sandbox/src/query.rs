//! Query parameters of the control API: each is taken once, and what is left over is an error.

use std::{str::FromStr, time::Duration};

use crate::ledger::Provider;

/// Longest wait of a long poll.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// A query parameter that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("query parameter {name:?}: {problem}")]
pub(crate) struct QueryError {
    name: String,
    problem: String,
}

/// The parameters that were not taken yet.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            url::form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Takes a parameter as it is.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(index).1)
    }

    /// Takes a whole number from 0 to `most`.
    pub(crate) fn number<T>(&mut self, name: &str, most: T) -> Result<Option<T>, QueryError>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse::<T>() {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(error(name, format!("a whole number up to {most} is needed"))),
        }
    }

    /// Takes one of some words.
    pub(crate) fn one_of(
        &mut self,
        name: &str,
        words: &'static [&'static str],
    ) -> Result<Option<&'static str>, QueryError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => Err(error(name, format!("one of {} is needed", words.join(", ")))),
        }
    }

    /// Takes `provider`.
    pub(crate) fn provider(&mut self) -> Result<Option<Provider>, QueryError> {
        Ok(match self.one_of("provider", &["fcm", "apns"])? {
            Some("fcm") => Some(Provider::Fcm),
            Some(_) => Some(Provider::Apns),
            None => None,
        })
    }

    /// Takes a duration such as `5s`, `500ms` or `2m`.
    pub(crate) fn duration(&mut self, name: &str) -> Result<Option<Duration>, QueryError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let scale = match unit {
            "ms" => Some(1),
            "s" | "" => Some(1000),
            "m" => Some(60_000),
            _ => None,
        };
        let duration = number
            .parse::<u64>()
            .ok()
            .zip(scale)
            .and_then(|(number, scale)| number.checked_mul(scale))
            .map(Duration::from_millis)
            .filter(|duration| *duration <= MAX_WAIT);
        match duration {
            Some(duration) => Ok(Some(duration)),
            None => Err(error(
                name,
                "a duration such as 5s or 500ms, up to 300s, is needed".to_owned(),
            )),
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), QueryError> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(error(&name, "there is no such parameter".to_owned())),
            None => Ok(()),
        }
    }
}

fn error(name: &str, problem: String) -> QueryError {
    QueryError {
        name: name.to_owned(),
        problem,
    }
}

/// Resolves `%41` in a path segment; anything malformed stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = match (bytes[at], bytes.get(at + 1..at + 3)) {
            (b'%', Some(hex)) => std::str::from_utf8(hex)
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let wait = |text: &str| Query::parse(text).duration("wait").unwrap();
        assert_eq!(wait("wait=5s"), Some(Duration::from_secs(5)));
        assert_eq!(wait("wait=500ms"), Some(Duration::from_millis(500)));
        assert_eq!(wait("wait=2"), Some(Duration::from_secs(2)));
        assert_eq!(wait(""), None);
        for bad in ["wait=x", "wait=5h", "wait=301s", "wait=-1s"] {
            assert!(Query::parse(bad).duration("wait").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_that_nobody_takes_is_an_error() {
        let mut query = Query::parse("limit=3&limmit=4");
        assert_eq!(query.number("limit", 10).unwrap(), Some(3));
        let error = query.finish().unwrap_err();
        assert!(error.to_string().contains("limmit"));
    }
}
