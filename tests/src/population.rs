//! A made-up population: devices whose every property follows from their number.
//!
//! What a device should match is worked out here in plain Rust, from the number alone. It shares nothing
//! with jraze: not the tree, not the evaluator, not the compile.

use serde_json::{Value, json};

/// The number of a person and everything about their device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person(pub u64);

impl Person {
    /// Hash of the number and a name, the source of every property.
    fn draw(self, what: u64) -> u64 {
        let mut x = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what.wrapping_mul(0xD1B5_4A32_D192_ED03);
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 32;
        x
    }

    /// Odd characters on purpose: an external id may hold any.
    pub fn external_id(self) -> String {
        match self.0 % 50 {
            0 => format!("user/{}", self.0),
            1 => format!("user:{}", self.0),
            2 => format!("käufer {}?", self.0),
            _ => format!("user-{}", self.0),
        }
    }

    /// Four of ten are phones by Apple.
    pub fn is_ios(self) -> bool {
        self.draw(1) % 10 < 4
    }

    /// A token as the provider would give: hexadecimal for APNs, anything for FCM.
    pub fn token(self) -> String {
        if self.is_ios() {
            format!("{:016x}{:048x}", self.draw(2) | 1 << 63, self.0)
        } else {
            format!("fcm-{}-{:016x}:APA91b{:0100x}", self.0, self.draw(3), self.0)
        }
    }

    fn plan(self) -> &'static str {
        ["free", "free", "silver", "gold"][(self.draw(4) % 4) as usize]
    }

    fn age(self) -> Option<u64> {
        // One in ten never said.
        (!self.draw(5).is_multiple_of(10)).then_some(16 + self.draw(6) % 60)
    }

    fn visits(self) -> u64 {
        self.draw(7) % 200
    }

    fn score(self) -> f64 {
        (self.draw(8) % 1_000) as f64 / 1_000.0
    }

    fn tags(self) -> Vec<&'static str> {
        let all = ["news", "sport", "music", "deals"];
        all.iter()
            .enumerate()
            .filter(|(i, _)| self.draw(9) >> i & 1 == 1)
            .map(|(_, tag)| *tag)
            .collect()
    }

    fn city(self) -> &'static str {
        ["Seoul", "Berlin", "Lima", "Oslo", "Kyoto"][(self.draw(10) % 5) as usize]
    }

    fn is_vip(self) -> bool {
        self.draw(11).is_multiple_of(20)
    }

    /// The body of `PUT /devices`.
    pub fn registration(self) -> Value {
        let (send, device) = if self.is_ios() { (2, 2) } else { (1, 1) };
        json!({
            "external_id": self.external_id(),
            "push_token": self.token(),
            "send_platform": send,
            "device_platform": device,
        })
    }

    /// One line of an import: the registration and ten mixed properties.
    pub fn import_line(self) -> Value {
        let mut line = self.registration();
        let mut properties = json!({
            "plan": self.plan(),
            "visits": self.visits(),
            "score": self.score(),
            "tags": self.tags(),
            "city": self.city(),
            "vip": self.is_vip(),
            "levels": [self.draw(12) % 9, self.draw(13) % 9],
            "last_order": format!("2026-{:02}-{:02}", 1 + self.draw(14) % 12, 1 + self.draw(15) % 28),
            "number_or_text": if self.0.is_multiple_of(2) { json!(self.0) } else { json!(self.0.to_string()) },
        });
        if let Some(age) = self.age() {
            properties["age"] = json!(age);
        }
        line["properties"] = properties;
        line
    }

    /// Whether [`audience`] means this person.
    pub fn is_in_audience(self) -> bool {
        let gold = self.plan() == "gold";
        let older_news_reader = self.age().is_some_and(|age| age >= 40) && self.tags().contains(&"news");
        let seldom = self.visits() < 120;
        let fan = self.score() > 0.5 && self.city() != "Lima";
        (gold || older_news_reader) && (seldom || fan)
    }
}

/// A nested tree that selects about a third of the population, on both platforms.
pub fn audience() -> Value {
    json!({ "join_type": "AND", "conditions": [
        { "join_type": "OR", "conditions": [
            { "key": "plan", "operator": "str_eq", "value": "gold" },
            { "join_type": "AND", "conditions": [
                // Text that parses to a number, as the first clients sent it.
                { "key": "age", "operator": "int_gte", "value": "40" },
                { "key": "tags", "operator": "str_exists", "value": "news" },
            ]},
        ]},
        { "join_type": "OR", "conditions": [
            { "key": "visits", "operator": "int_lt", "value": 120 },
            { "join_type": "AND", "conditions": [
                { "key": "score", "operator": "float_gt", "value": 0.5 },
                { "key": "city", "operator": "str_ne", "value": "Lima" },
            ]},
        ]},
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_is_about_a_third_and_on_both_platforms() {
        let chosen: Vec<_> = (0..10_000)
            .map(Person)
            .filter(|person| person.is_in_audience())
            .collect();
        assert!((2_800..3_900).contains(&chosen.len()), "{}", chosen.len());
        let ios = chosen.iter().filter(|person| person.is_ios()).count();
        assert!(ios > 800 && chosen.len() - ios > 800);
    }

    #[test]
    fn tokens_and_external_ids_are_unique() {
        let unique = |of: fn(Person) -> String| {
            (0..20_000)
                .map(Person)
                .map(of)
                .collect::<std::collections::HashSet<_>>()
                .len()
        };
        assert_eq!(unique(Person::token), 20_000);
        assert_eq!(unique(Person::external_id), 20_000);
    }
}
