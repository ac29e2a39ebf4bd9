//! What FCM checks in the body of a send.
//!
//! The request is walked once, straight from its bytes, along the tables of [`super::schema`]: names,
//! types, limits, and the sizes of its parts. Nothing is built, so a good message costs about as much
//! as scanning its JSON. Problems that Google's JSON reader would find (unknown names, wrong types) are
//! kept apart from those that FCM itself finds, because their answers differ.

use std::borrow::Cow;

use super::{
    answers::Violation,
    schema::Target,
    walk::{Walk, walk},
};

/// Largest message, in bytes of names and texts.
const MAX_MESSAGE: usize = 4096;
/// Largest message to a topic.
const MAX_TOPIC_MESSAGE: usize = 2048;

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not JSON.
    Unparsable(String),
    /// Names or types are wrong.
    Unreadable(Vec<Violation>),
    /// FCM refuses what it says.
    Invalid(Violation),
}

/// What a good message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Token, topic, condition or installation id.
    pub(crate) address: Cow<'a, str>,
    pub(crate) target: Target,
    /// Whether it is only to be checked, not sent.
    pub(crate) validate_only: bool,
}

/// Target and violations of a body, whether good or not: the ledger wants the target in any case.
pub(crate) struct Checked<'a> {
    pub(crate) address: Option<Cow<'a, str>>,
    pub(crate) result: Result<Message<'a>, Refusal>,
}

/// Checks the body of a send.
pub(crate) fn check(body: &[u8]) -> Checked<'_> {
    let (walk, read) = walk(body);
    let address = walk.targets.first().map(|(_, address)| address.clone());
    let result = match read {
        Err(error) => Err(Refusal::Unparsable(error.to_string())),
        Ok(()) if !walk.unreadable.is_empty() => Err(Refusal::Unreadable(walk.unreadable)),
        Ok(()) => walk.judge(),
    };
    Checked { address, result }
}

impl<'a> Walk<'a> {
    /// What FCM says to a message that could be read.
    fn judge(mut self) -> Result<Message<'a>, Refusal> {
        let refuse = |field: &str, description: &str| {
            Err(Refusal::Invalid(Violation {
                field: field.to_owned(),
                description: description.to_owned(),
            }))
        };
        if !self.has_message {
            return refuse("message", "Message is not set.");
        }
        if self.targets.len() > 1 {
            return refuse(
                "message",
                "Exactly one of token, topic or condition must be set as the recipient of the message.",
            );
        }
        let Some((target, address)) = self.targets.pop().filter(|(_, text)| !text.is_empty()) else {
            return refuse("message", "Recipient of the message is not set.");
        };
        if let Some(violation) = self.invalid {
            return Err(Refusal::Invalid(violation));
        }
        if target == Target::Topic && !is_topic(&address) {
            return refuse("message.topic", "Invalid topic name.");
        }
        let limit = match target {
            Target::Topic | Target::Condition => MAX_TOPIC_MESSAGE,
            Target::Token | Target::Fid => MAX_MESSAGE,
        };
        if self.common + self.android > limit {
            return refuse("message", "Android message is too big");
        }
        if self.apns > MAX_MESSAGE {
            return refuse("message.apns.payload", "APNs payload is too big");
        }
        Ok(Message {
            address,
            target,
            validate_only: self.validate_only,
        })
    }
}

/// `[a-zA-Z0-9-_.~%]+`, also after `/topics/`.
fn is_topic(name: &str) -> bool {
    let name = name.strip_prefix("/topics/").unwrap_or(name);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Refusal {
        check(body.as_bytes()).result.unwrap_err()
    }

    fn unreadable(body: &str) -> Violation {
        match refused(body) {
            Refusal::Unreadable(mut violations) => violations.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn invalid(body: &str) -> Violation {
        match refused(body) {
            Refusal::Invalid(violation) => violation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_message_passes_in_both_spellings() {
        let body = r##"{"validateOnly":true,"message":{"token":"t","notification":{"title":"a","body":"b","image":"c"},
            "data":{"k":"v"},"android":{"collapseKey":"c","collapse_key":"c","priority":"HIGH","ttl":"3.5s",
            "notification":{"tag":"t","channel_id":"c","vibrate_timings":["0.5s"],"notification_count":3,
            "light_settings":{"color":{"red":0.5},"light_on_duration":"1s"}}},
            "apns":{"headers":{"apns-priority":"10"},"payload":{"aps":{"alert":{"title":"x"}}},"fcm_options":{"image":"i"}},
            "webpush":{"headers":{"TTL":"1"},"notification":{"title":"x","actions":[]},"fcm_options":{"link":"l"}}}}"##;
        let message = check(body.as_bytes()).result.unwrap();
        assert_eq!(message.address, "t");
        assert!(message.validate_only);
        assert_eq!(message.target, Target::Token);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let violation = unreadable(r#"{"message":{"token":"t","android":{"ttll":"1s"}}}"#);
        assert_eq!(violation.field, "message.android");
        assert!(
            violation
                .description
                .contains("Unknown name \"ttll\" at 'message.android'")
        );
    }

    #[test]
    fn data_values_are_text() {
        for value in ["1", "true", "null", "{}", "[]"] {
            let body = format!(r#"{{"message":{{"token":"t","data":{{"a":"b","k":{value}}}}}}}"#);
            assert_eq!(unreadable(&body).field, "message.data[1].value", "{value}");
        }
    }

    #[test]
    fn a_message_has_exactly_one_target() {
        assert_eq!(invalid(r#"{"message":{}}"#).field, "message");
        assert_eq!(invalid(r#"{"message":{"token":""}}"#).field, "message");
        let both = invalid(r#"{"message":{"token":"t","topic":"u"}}"#);
        assert!(both.description.contains("Exactly one"));
        assert_eq!(invalid("{}").description, "Message is not set.");
    }

    #[test]
    fn a_ttl_is_a_duration_from_0_to_28_days() {
        let with = |ttl: &str| format!(r#"{{"message":{{"token":"t","android":{{"ttl":"{ttl}"}}}}}}"#);
        assert!(check(with("2419200s").as_bytes()).result.is_ok());
        assert!(check(with("0s").as_bytes()).result.is_ok());
        assert_eq!(invalid(&with("2419201s")).field, "message.android.ttl");
        assert_eq!(invalid(&with("-1s")).field, "message.android.ttl");
        assert_eq!(unreadable(&with("60")).field, "message.android.ttl");
    }

    #[test]
    fn reserved_data_keys_are_refused() {
        for key in ["from", "message_type", "google.x", "gcm.notification"] {
            let body = format!(r#"{{"message":{{"token":"t","data":{{"{key}":"v"}}}}}}"#);
            assert!(invalid(&body).description.contains(key));
        }
    }

    #[test]
    fn names_and_texts_count_to_4096_bytes_and_to_2048_for_a_topic() {
        let body = |target: &str, size: usize| {
            let text = "x".repeat(size - 3);
            format!(
                r#"{{"message":{{"{target}":"t","notification":{{"title":"ab"}},"data":{{"k":"{text}"}}}}}}"#
            )
        };
        assert!(check(body("token", 4096).as_bytes()).result.is_ok());
        assert!(invalid(&body("token", 4097)).description.contains("too big"));
        assert!(check(body("topic", 2048).as_bytes()).result.is_ok());
        assert!(invalid(&body("topic", 2049)).description.contains("too big"));
    }

    #[test]
    fn what_is_no_json_is_unparsable() {
        assert!(matches!(refused(r#"{"message":"#), Refusal::Unparsable(_)));
        assert!(matches!(refused(r#"{} x"#), Refusal::Unparsable(_)));
        assert!(matches!(refused("[]"), Refusal::Unreadable(_)));
    }
}
