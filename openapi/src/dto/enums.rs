//! The enums of the contract: integers on the wire, their names in the document.
//!
//! To add a value: one line here, one in the domain's enum, one in the API server's `convert`.

use super::macros::{described, integer_enum};

integer_enum! {
    /// What kind of device it is.
    DevicePlatform {
        /// not said
        Unknown = 0,
        /// an Android phone or tablet
        Android = 1,
        /// an iPhone or iPad
        Ios = 2,
        /// a browser
        Web = 3,
    }
}

integer_enum! {
    /// Which provider delivers to the device's push token.
    SendPlatform {
        /// not said; such a device is never sent to
        Unknown = 0,
        /// Firebase Cloud Messaging
        Fcm = 1,
        /// Apple Push Notification service
        Apns = 2,
        /// Web Push
        WebPush = 3,
    }
}

integer_enum! {
    /// Where a notification stands.
    NotificationStatus {
        /// can be edited
        Draft = 0,
        /// is being sent
        Launched = 1,
        /// every device has a final outcome and the counts are settled
        Sent = 2,
        /// stopped by the platform; `error` says why
        Error = 3,
        /// withdrawn by a person before it was sent
        Deleted = 4,
        /// launched by a person, waits for `scheduled_at` or for its dispatch plan
        Queued = 5,
        /// sending is held by a person and can be resumed
        Paused = 6,
        /// stopped by a person; what had not gone out stays unsent
        Canceled = 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let numbers = |all: &[NotificationStatus]| all.iter().map(|s| s.number()).collect::<Vec<_>>();
        assert_eq!(numbers(NotificationStatus::ALL), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(NotificationStatus::Queued.number(), 5);
        assert_eq!(SendPlatform::Apns.number(), 2);
        assert_eq!(DevicePlatform::Web.number(), 3);
    }

    #[test]
    fn a_text_or_an_unknown_number_is_refused_with_the_choices() {
        for wrong in ["\"1\"", "9", "1.0", "null", "-1"] {
            let error = serde_json::from_str::<SendPlatform>(wrong)
                .unwrap_err()
                .to_string();
            assert!(error.contains("expected one of [0, 1, 2, 3]"), "{wrong}: {error}");
        }
        assert_eq!(
            serde_json::from_str::<SendPlatform>("2").unwrap(),
            SendPlatform::Apns
        );
        assert_eq!(serde_json::to_string(&SendPlatform::Fcm).unwrap(), "1");
    }
}
