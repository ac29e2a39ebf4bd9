//! Lines of an import that say the same kind of thing about one device, made one change.
//!
//! A round writes a device once, so fifty lines about one device took fifty rounds of four commands, one
//! after the other. An export that was concatenated with itself, or an event log turned into an import,
//! has such lines. They become one change wherever that is the same as making them one after the other:
//!
//! - they tell the same token and the same provider, so that all of them would be taken or none;
//! - nobody else claims the token in between;
//! - all of them set properties, or none does: a device that is full refuses them all, or takes them all.
//!
//! Everything else is left to the rounds, which keep the order.

use std::collections::{HashMap, HashSet};

use jraze_domain::device::{ExternalId, PropertyChanges, PushToken, Registration, TokenChange};

use super::write::{Change, Guard};

/// One change, and the lines that it stands for, in order.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) change: Change,
    pub(super) lines: Vec<usize>,
}

/// Merges what can be; each change stands where its first line stood.
pub(super) fn merge(changes: Vec<Change>) -> Vec<Merged> {
    if all_of_different_devices(&changes) {
        let alone = |(line, change)| Merged {
            change,
            lines: vec![line],
        };
        return changes.into_iter().enumerate().map(alone).collect();
    }
    let mut merged: Vec<Merged> = Vec::with_capacity(changes.len());
    let mut last_of: HashMap<ExternalId, usize> = HashMap::with_capacity(changes.len());
    // Who was the last to claim a token.
    let mut claimed_by: HashMap<PushToken, usize> = HashMap::new();
    for (line, change) in changes.into_iter().enumerate() {
        let told = change.registration.as_ref();
        let token = told.and_then(|told| match &told.push_token {
            TokenChange::Set(token) => Some(token.clone()),
            TokenChange::Keep | TokenChange::Clear => None,
        });
        let earlier = last_of.get(&change.external_id).copied().filter(|index| {
            token
                .as_ref()
                .is_none_or(|token| claimed_by.get(token) == Some(index))
        });
        if let Some(earlier) = earlier.and_then(|index| merged.get_mut(index))
            && let Some(both) = as_one(&earlier.change, &change)
        {
            earlier.change = both;
            earlier.lines.push(line);
            continue;
        }
        // A change of provider claims a token that is not told.
        if told.is_some_and(|told| told.push_token == TokenChange::Keep && told.send_platform.is_some()) {
            claimed_by.clear();
        }
        if let Some(token) = token {
            claimed_by.insert(token, merged.len());
        }
        last_of.insert(change.external_id.clone(), merged.len());
        merged.push(Merged {
            change,
            lines: vec![line],
        });
    }
    merged
}

/// Whether there is nothing to merge, as nearly always.
fn all_of_different_devices(changes: &[Change]) -> bool {
    let mut devices = HashSet::with_capacity(changes.len());
    changes.iter().all(|change| devices.insert(&change.external_id))
}

/// The two changes of one device as one, when that comes to the same.
fn as_one(earlier: &Change, later: &Change) -> Option<Change> {
    let (before, after) = (earlier.registration.as_ref()?, later.registration.as_ref()?);
    let is_anyones = |change: &Change| change.guard == Guard::Anyone && change.secret_of_new.is_none();
    let sets = |change: &Change| change.properties.iter().any(|(_, value)| value.is_some());
    let alike = before.push_token == after.push_token
        && before.send_platform == after.send_platform
        && sets(earlier) == sets(later)
        && is_anyones(earlier)
        && is_anyones(later);
    if !alike {
        return None;
    }
    let values = earlier.properties.iter().chain(later.properties.iter());
    // More keys than one change may name: two changes.
    let properties = PropertyChanges::new(values.map(|(key, value)| (key.clone(), value.cloned()))).ok()?;
    Some(Change {
        registration: Some(Registration {
            device_platform: after.device_platform.or(before.device_platform),
            locale: after.locale.clone().or_else(|| before.locale.clone()),
            time_zone: after.time_zone.clone().or_else(|| before.time_zone.clone()),
            app_version: after.app_version.clone().or_else(|| before.app_version.clone()),
            ..after.clone()
        }),
        properties,
        ..later.clone()
    })
}

#[cfg(test)]
mod tests {
    use jraze_domain::device::{PropertyKey, PropertyValue, SendPlatform};
    use serde_json::{Value, json};

    use super::*;

    fn change(name: &str, token: Option<&str>, property: Option<(&str, Value)>) -> Change {
        let name = ExternalId::new(name).expect("a name");
        let registration = Registration {
            push_token: token.map_or(TokenChange::Keep, |token| {
                TokenChange::Set(PushToken::new(token).expect("a token"))
            }),
            ..Registration::of(name)
        };
        let property = property.map(|(key, value)| {
            (
                PropertyKey::new(key).expect("a key"),
                PropertyValue::from_json(&value).expect("a value"),
            )
        });
        Change {
            properties: PropertyChanges::new(property).expect("one"),
            ..Change::register(registration)
        }
    }

    fn lines(changes: Vec<Change>) -> Vec<Vec<usize>> {
        merge(changes).into_iter().map(|merged| merged.lines).collect()
    }

    #[test]
    fn lines_of_one_device_become_one_change_in_which_the_last_value_wins() {
        let changes = (0..50).map(|index| change("a", Some("t"), Some(("n", json!(index)))));
        let merged = merge(changes.collect());
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].lines, (0..50).collect::<Vec<_>>());
        let (_, value) = merged[0].change.properties.iter().next().expect("a property");
        assert_eq!(value.map(PropertyValue::to_json), Some(json!(49)));
    }

    #[test]
    fn other_devices_do_not_part_them_unless_they_claim_the_token_in_between() {
        let a = || change("a", Some("t"), None);
        assert_eq!(
            lines(vec![a(), change("b", Some("u"), None), a()]),
            [vec![0, 2], vec![1]]
        );
        assert_eq!(
            lines(vec![a(), change("b", Some("t"), None), a()]),
            [vec![0], vec![1], vec![2]]
        );
        let mut moves = change("b", None, None);
        let told = moves.registration.as_mut().expect("a registration");
        told.send_platform = Some(SendPlatform::Fcm);
        assert_eq!(lines(vec![a(), moves, a()]), [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn lines_that_may_end_differently_stay_apart() {
        let plain = || change("a", None, None);
        for other in [
            change("a", Some("t"), None),
            change("a", None, Some(("n", json!(1)))),
            Change {
                guard: Guard::Secret(None),
                ..plain()
            },
            Change::properties(ExternalId::new("a").expect("a name"), PropertyChanges::default()),
        ] {
            assert_eq!(lines(vec![plain(), other]), [vec![0], vec![1]]);
        }
        let many = (0..150).map(|index| change("a", None, Some((&format!("k{index}"), json!(1)))));
        assert_eq!(merge(many.collect()).len(), 2, "a hundred keys in each");
    }
}
