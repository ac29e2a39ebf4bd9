//! What a registration tells must be able to be true.
//!
//! A token that no provider can have issued is found out here, and not with one refusal for every
//! campaign; a time zone, locale or version that is none would never match a condition. So they are
//! refused when they are told. Nothing here looks a thing up: that a token is alive, and that
//! `Europe/Zurich` is a place, is for the provider and for the owner of the clock to say. What was
//! stored before a rule came stays readable.
//!
//! Adding a rule: a variant of [`Implausible`] that says what would be right, and its place in
//! [`Registration::check`].

use super::{PushToken, Registration, SendPlatform, TokenChange};
use crate::audience::version_key;

/// Digits of an APNs token, which is bytes in hexadecimal. Apple gives 64 today, says that the length
/// varies, and tells no limits; these only keep out what is no token at all.
const APNS_DIGITS: std::ops::RangeInclusive<usize> = 8..=400;

/// A thing told that cannot be true, as what would be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    /// A token with blanks, control characters or letters outside ASCII.
    #[error("a push token is made of visible ASCII characters, without spaces")]
    Token,
    /// A token that APNs cannot have issued.
    #[error("a token of APNs is an even number of hexadecimal digits, {} to {}", APNS_DIGITS.start(), APNS_DIGITS.end())]
    ApnsToken,
    /// A new provider for a token that it cannot have issued.
    #[error("the device's push token cannot be one of this provider: tell the new token as well")]
    Provider,
    /// A locale that is no language tag.
    #[error("a locale is a BCP 47 language tag, like de-CH (with hyphens)")]
    Locale,
    /// A time zone that has no name of the IANA's.
    #[error("a time zone has a name of the IANA database, like Europe/Zurich or UTC")]
    TimeZone,
    /// A version that does not compare.
    #[error("a version is one to four numbers with dots, like 4.10.2 or 4.10.2-beta.1")]
    AppVersion,
}

impl Implausible {
    /// The field of a registration that told it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Token | Self::ApnsToken => "push_token",
            Self::Provider => "send_platform",
            Self::Locale => "locale",
            Self::TimeZone => "time_zone",
            Self::AppVersion => "app_version",
        }
    }
}

impl PushToken {
    /// Whether that provider can have issued the token.
    ///
    /// # Errors
    /// When it cannot, whoever the device is.
    pub fn suits(&self, platform: SendPlatform) -> Result<(), Implausible> {
        let token = self.as_str().as_bytes();
        // First what nearly every one is: hexadecimal digits are visible ASCII.
        if platform == SendPlatform::Apns {
            let is_one = APNS_DIGITS.contains(&token.len()) && token.len().is_multiple_of(2);
            if is_one && all(token, u8::is_ascii_hexdigit) {
                return Ok(());
            }
        }
        if !all(token, u8::is_ascii_graphic) {
            return Err(Implausible::Token);
        }
        match platform {
            SendPlatform::Apns => Err(Implausible::ApnsToken),
            _ => Ok(()),
        }
    }
}

/// As `Iterator::all`, without a way out in the middle, so that many octets are looked at at once: every send
/// to APNs asks this.
fn all(token: &[u8], is: impl Fn(&u8) -> bool) -> bool {
    token.iter().fold(true, |all, octet| all & is(octet))
}

impl Registration {
    /// Whether everything it tells can be true. A token told without its provider is looked at again
    /// by whoever knows the device's: see [`PushToken::suits`].
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), Implausible> {
        if let TokenChange::Set(token) = &self.push_token {
            token.suits(self.send_platform.unwrap_or_default())?;
        }
        let told = [
            (
                &self.locale,
                is_language_tag as fn(&str) -> bool,
                Implausible::Locale,
            ),
            (&self.time_zone, is_time_zone, Implausible::TimeZone),
            (&self.app_version, is_version, Implausible::AppVersion),
        ];
        for (text, is_one, fault) in told {
            if text.as_ref().is_some_and(|text| !is_one(text.as_str())) {
                return Err(fault);
            }
        }
        Ok(())
    }
}

fn is_version(text: &str) -> bool {
    version_key(text).is_some()
}

/// Where names of time zones begin. The database's newest area is of 1996.
#[rustfmt::skip]
const AREAS: [&str; 16] = [
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Brazil", "Canada",
    "Chile", "Etc", "Europe", "Indian", "Mexico", "Pacific", "US",
];

/// Names without an area. The IANA keeps them for old programs and adds none.
#[rustfmt::skip]
const WITHOUT_AREA: [&str; 44] = [
    "CET", "CST6CDT", "Cuba", "EET", "EST", "EST5EDT", "Egypt", "Eire", "GB", "GB-Eire", "GMT", "GMT+0",
    "GMT-0", "GMT0", "Greenwich", "HST", "Hongkong", "Iceland", "Iran", "Israel", "Jamaica", "Japan",
    "Kwajalein", "Libya", "MET", "MST", "MST7MDT", "NZ", "NZ-CHAT", "Navajo", "PRC", "PST8PDT", "Poland",
    "Portugal", "ROC", "ROK", "Singapore", "Turkey", "UCT", "UTC", "Universal", "W-SU", "WET", "Zulu",
];

/// The grammar of the IANA's `theory.html`: one of its areas, then one or two names of at most 14
/// letters, digits, `_`, `-` and `+`. Which places an area has changes some times a year with the
/// database, which is not part of jraze, so a place that does not exist passes.
fn is_time_zone(text: &str) -> bool {
    let Some((area, places)) = text.split_once('/') else {
        return WITHOUT_AREA.contains(&text);
    };
    let is_place = |place: &str| {
        place.len() <= 14
            && place.starts_with(|first: char| first.is_ascii_uppercase())
            && place
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    AREAS.contains(&area) && places.split('/').count() <= 2 && places.split('/').all(is_place)
}

/// Tags that are in no grammar, registered before there was one (RFC 5646, `irregular`).
#[rustfmt::skip]
const IRREGULAR_TAGS: [&str; 17] = [
    "en-gb-oed", "i-ami", "i-bnn", "i-default", "i-enochian", "i-hak", "i-klingon", "i-lux", "i-mingo",
    "i-navajo", "i-pwn", "i-tao", "i-tay", "i-tsu", "sgn-be-fr", "sgn-be-nl", "sgn-ch-de",
];

/// Whether the text is well-formed after RFC 5646, section 2.1. Which of its subtags are registered is
/// not looked up.
fn is_language_tag(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    if IRREGULAR_TAGS.contains(&text.as_str()) {
        return true;
    }
    let mut subtags: &[&str] = &text.split('-').collect::<Vec<_>>();
    let is_alphanumeric = |subtag: &str| subtag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !subtags
        .iter()
        .all(|subtag| (1..=8).contains(&subtag.len()) && is_alphanumeric(subtag))
    {
        return false;
    }
    let is_letters = |subtag: &str| subtag.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_digits = |subtag: &str| subtag.bytes().all(|byte| byte.is_ascii_digit());
    // Takes the first subtag off, when it is of the kind.
    let take = |subtags: &mut &[&str], kind: &dyn Fn(&str) -> bool| match subtags.split_first() {
        Some((first, rest)) if kind(first) => {
            *subtags = rest;
            true
        }
        _ => false,
    };
    let is_private = |subtags: &[&str]| subtags.first() == Some(&"x") && subtags.len() > 1;
    if is_private(subtags) {
        return true;
    }
    let language = subtags[0].len();
    if !take(&mut subtags, &|subtag| subtag.len() >= 2 && is_letters(subtag)) {
        return false;
    }
    if language <= 3 {
        for _ in 0..3 {
            take(&mut subtags, &|extended| {
                extended.len() == 3 && is_letters(extended)
            });
        }
    }
    take(&mut subtags, &|script| script.len() == 4 && is_letters(script));
    take(&mut subtags, &|region| {
        region.len() == 2 && is_letters(region) || region.len() == 3 && is_digits(region)
    });
    let is_variant = |variant: &str| {
        variant.len() >= 5 || variant.len() == 4 && variant.starts_with(|first: char| first.is_ascii_digit())
    };
    while take(&mut subtags, &is_variant) {}
    // Extensions: a singleton and what belongs to it.
    while take(&mut subtags, &|singleton| {
        singleton.len() == 1 && singleton != "x"
    }) {
        let belongs = |subtag: &str| subtag.len() >= 2;
        if !take(&mut subtags, &belongs) {
            return false;
        }
        while take(&mut subtags, &belongs) {}
    }
    subtags.is_empty() || is_private(subtags)
}

#[cfg(test)]
#[path = "plausible_tests.rs"]
mod tests;
