use super::*;
use crate::device::{ExternalId, ShortText};

fn suits(token: &str, platform: SendPlatform) -> Result<(), Implausible> {
    PushToken::new(token).unwrap().suits(platform)
}

#[test]
fn a_token_of_no_provider_has_blanks_controls_or_letters_outside_ascii() {
    for platform in SendPlatform::ALL {
        for text in [
            " ",
            "\t",
            "\u{a0}",
            "two words",
            "a\nb",
            "a\u{0}",
            "\u{7f}",
            "tök",
            "a\u{200b}",
            "\u{feff}a",
        ] {
            assert_eq!(
                suits(text, *platform),
                Err(Implausible::Token),
                "{text:?} {platform:?}"
            );
        }
    }
}

#[test]
fn a_token_of_apns_is_hexadecimal_and_whole_bytes() {
    for text in [
        "5bfacade",
        "ABCDEF0123456789",
        &"5b".repeat(32),
        &"5b".repeat(200),
    ] {
        assert_eq!(suits(text, SendPlatform::Apns), Ok(()), "{text}");
    }
    for text in [
        "5bfaca",
        "5bfacade0",
        &"5b".repeat(201),
        "not-hexadecimal-",
        "5bfacadg",
        "fcm:APA91b",
    ] {
        assert_eq!(
            suits(text, SendPlatform::Apns),
            Err(Implausible::ApnsToken),
            "{text}"
        );
    }
}

#[test]
fn a_token_of_the_others_is_any_visible_ascii() {
    for platform in [SendPlatform::Unknown, SendPlatform::Fcm, SendPlatform::WebPush] {
        for text in [
            "t",
            "{{PUSH_TOKEN}}",
            "dQw4w9WgXcQ:APA91bExample-_",
            "https://push.example.com/1?a=b#c",
        ] {
            assert_eq!(suits(text, platform), Ok(()), "{text} {platform:?}");
        }
    }
}

fn told(field: &str, text: &str) -> Result<(), Implausible> {
    let text = Some(ShortText::new(text).unwrap());
    let mut registration = Registration::of(ExternalId::new("a").unwrap());
    match field {
        "locale" => registration.locale = text,
        "time_zone" => registration.time_zone = text,
        _ => registration.app_version = text,
    }
    registration.check()
}

#[test]
fn a_locale_is_a_well_formed_language_tag() {
    // From RFC 5646, appendix A, and what phones say.
    for tag in [
        "de",
        "mas",
        "zh-Hant",
        "zh-cmn-Hans-CN",
        "yue-HK",
        "sr-Latn-RS",
        "sl-rozaj-biske-1994",
        "de-CH-1901",
        "sl-IT-nedis",
        "hy-Latn-IT-arevela",
        "es-419",
        "de-CH-x-phonebk",
        "x-whatever",
        "qaa-Qaaa-QM-x-southern",
        "en-US-u-islamcal",
        "zh-CN-a-myext-x-private",
        "en-a-myext-b-another",
        "de-ch",
        "DE-CH",
        "und",
        "en-US-u-va-posix",
        "ar-aao-EG",
        "i-klingon",
        "en-GB-oed",
        "zh-min-nan",
        "art-lojban",
    ] {
        assert_eq!(told("locale", tag), Ok(()), "{tag}");
    }
    for text in [
        "d",
        "de_CH",
        "de-",
        "-de",
        "de--CH",
        "de-CH-",
        "de CH",
        "de-419-DE",
        "a-DE",
        "x",
        "x-",
        "de-u",
        "de-u-x",
        "de-x",
        "ar-a-aaa-b-",
        "deutschland",
        "1de",
        "de-CH-germanversion",
        "dé",
        "german1",
        "C.UTF-8",
        "de-a-b-c",
        "i-nothing",
    ] {
        assert_eq!(told("locale", text), Err(Implausible::Locale), "{text}");
    }
}

#[test]
fn a_time_zone_has_a_name_of_the_iana() {
    for name in [
        "Europe/Zurich",
        "America/Argentina/ComodRivadavia",
        "America/North_Dakota/New_Salem",
        "America/Port-au-Prince",
        "Etc/GMT+12",
        "Etc/GMT-14",
        "UTC",
        "EST5EDT",
        "GB-Eire",
        "W-SU",
        "Antarctica/DumontDUrville",
        "Zulu",
    ] {
        assert_eq!(told("time_zone", name), Ok(()), "{name}");
    }
    for text in [
        "Zurich",
        "CEST",
        "PDT",
        "GMT+2",
        "+02:00",
        "UTC+1",
        "Mars/Olympus",
        "Europe/",
        "/Zurich",
        "Europe/zurich",
        "europe/zurich",
        "Europe/Zürich",
        "Europe//Zurich",
        "Europe/Zurich/",
        "Europe/a b",
        "America/A/B/C",
        "Europe/../etc",
        "Europe/AVeryLongNameOfAPlace",
        "Factory",
    ] {
        assert_eq!(told("time_zone", text), Err(Implausible::TimeZone), "{text}");
    }
}

#[test]
fn a_version_of_an_app_compares() {
    for text in ["4.10.2", "v4", "4.10.2-beta.1+77", "1.2.3.4"] {
        assert_eq!(told("app_version", text), Ok(()), "{text}");
    }
    for text in ["latest", "1.2.3.4.5", "4.x", "4.10.2 (812)", " 4"] {
        assert_eq!(told("app_version", text), Err(Implausible::AppVersion), "{text}");
    }
}

#[test]
fn a_registration_that_tells_nothing_more_is_always_right() {
    assert_eq!(
        Registration::of(ExternalId::new("a b\u{0}").unwrap()).check(),
        Ok(())
    );
}
