//! Sample devices: invented people with mixed properties, the same ones every time.
//!
//! Their tokens are the sandbox's magic ones: most are always delivered, one in forty belongs to an
//! app that was removed, so that a first campaign shows more than successes.

use serde_json::{Value, json};

/// Devices that `jraze dev` starts with.
pub(crate) const COUNT: u64 = 2_000;

const COUNTRIES: [(&str, &str, &str); 6] = [
    ("CH", "de-CH", "Europe/Zurich"),
    ("DE", "de-DE", "Europe/Berlin"),
    ("FR", "fr-FR", "Europe/Paris"),
    ("KR", "ko-KR", "Asia/Seoul"),
    ("US", "en-US", "America/New_York"),
    ("BR", "pt-BR", "America/Sao_Paulo"),
];
const NAMES: [&str; 8] = ["Ana", "Ben", "Chloe", "Dara", "Emil", "Farah", "Gil", "Hana"];
const INTERESTS: [&str; 6] = ["cycling", "jazz", "cooking", "football", "travel", "books"];
const VERSIONS: [&str; 4] = ["3.9.0", "4.0.1", "4.2.0", "4.10.2"];

/// The first `count` sample devices as lines of an import.
pub(crate) fn ndjson(count: u64) -> String {
    (0..count).fold(String::new(), |mut lines, index| {
        lines.push_str(&device(index).to_string());
        lines.push('\n');
        lines
    })
}

fn device(index: u64) -> Value {
    let mut draw = Draw(index);
    let is_android = draw.below(10) < 6;
    let is_gone = draw.below(40) == 0;
    let token = match (is_android, is_gone) {
        (true, false) => format!("sbx-ok-{index:06}-{:016x}", draw.next()),
        (true, true) => format!("sbx-unregistered-{index:06}-{:016x}", draw.next()),
        // 64 hexadecimal digits, as APNs tokens have.
        (false, false) => format!("5bfacade0200{index:020x}{:032x}", draw.next()),
        (false, true) => format!("5bfacade0410{index:020x}{:032x}", draw.next()),
    };
    let platform = if is_android { 1 } else { 2 };
    let (country, locale, time_zone) = draw.of(&COUNTRIES);
    let interests: Vec<_> = INTERESTS.iter().filter(|_| draw.below(3) == 0).collect();
    let mut properties = json!({
        "first_name": draw.of(&NAMES),
        "country": country,
        "plan": draw.of(&["free", "free", "free", "pro", "pro", "team"]),
        "age": 16 + draw.below(60),
        "sessions": draw.below(500),
        "score": draw.below(1_000) as f64 / 10.0,
        "newsletter": draw.below(2) == 0,
        "interests": interests,
        "signed_up": format!("202{}-{:02}-{:02}", 4 + draw.below(2), 1 + draw.below(12), 1 + draw.below(28)),
    });
    // Not everybody has bought something: a property that is often missing.
    if draw.below(3) == 0 {
        properties["last_purchase_chf"] = json!(draw.below(20_000) as f64 / 100.0);
    }
    json!({
        "external_id": format!("demo-{index:06}"),
        "push_token": token,
        "send_platform": platform,
        "device_platform": platform,
        "locale": locale,
        "time_zone": time_zone,
        "app_version": draw.of(&VERSIONS),
        "properties": properties,
    })
}

/// Numbers that look random and are not: SplitMix64, seeded by the device.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        // The remainder is below the length, which is a usize.
        &choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{COUNT, device, ndjson};

    #[test]
    fn the_devices_are_the_same_every_time_and_no_two_share_id_or_token() {
        assert_eq!(ndjson(COUNT), ndjson(COUNT));
        let devices: Vec<_> = (0..COUNT).map(device).collect();
        for field in ["external_id", "push_token"] {
            let distinct: HashSet<_> = devices.iter().map(|device| device[field].as_str()).collect();
            assert_eq!(distinct.len() as u64, COUNT, "{field}");
        }
    }

    #[test]
    fn tokens_have_the_form_of_their_provider_and_some_are_gone() {
        let devices: Vec<_> = (0..COUNT).map(device).collect();
        let tokens = |platform: u64| {
            let of_platform = devices
                .iter()
                .filter(move |device| device["send_platform"] == platform);
            of_platform
                .map(|device| device["push_token"].as_str().unwrap())
                .collect::<Vec<_>>()
        };
        let (fcm, apns) = (tokens(1), tokens(2));
        assert!(
            apns.iter()
                .all(|token| token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()))
        );
        assert!(fcm.iter().any(|token| token.starts_with("sbx-unregistered-")));
        assert!(apns.iter().any(|token| token.starts_with("5bfacade0410")));
        assert!(fcm.len() > apns.len() && apns.len() > 500);
    }
}
