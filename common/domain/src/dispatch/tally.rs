//! Sums of outcomes: what a window adds to a notification's counts.

use std::ops::AddAssign;

use crate::device::{DevicePlatform, SendPlatform};

use super::Delivery;

/// Accepted sends by the platform of the device: the contract's `sent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Android devices.
    pub android: u64,
    /// iOS devices.
    pub ios: u64,
    /// Browsers.
    pub web: u64,
}

impl Sent {
    /// All platforms together.
    pub fn total(self) -> u64 {
        self.android + self.ios + self.web
    }
}

/// Final outcomes of some deliveries. Transient results are not in it: their retry will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Accepted by the provider.
    pub sent: Sent,
    /// The app is gone from the device.
    pub unregistered: u64,
    /// Refused, for whatever other reason, or given up after the last attempt.
    pub failed: u64,
    /// Possibly sent: see [`Delivery::Unknown`].
    pub unknown: u64,
    /// Without a device or a token when their turn came.
    pub skipped: u64,
    /// Too late.
    pub expired: u64,
    /// Canceled in time.
    pub canceled: u64,
}

impl Tally {
    /// Adds one delivery.
    pub fn add(&mut self, device: DevicePlatform, by: SendPlatform, delivery: Delivery) {
        match delivery {
            Delivery::Accepted => *self.sent_slot(device, by) += 1,
            Delivery::Unregistered => self.unregistered += 1,
            Delivery::TokenRefused
            | Delivery::PayloadRefused
            | Delivery::AccessRefused
            | Delivery::Refused => {
                self.failed += 1;
            }
            Delivery::Unknown => self.unknown += 1,
            Delivery::Skipped => self.skipped += 1,
            Delivery::Expired => self.expired += 1,
            Delivery::Canceled => self.canceled += 1,
            Delivery::InFlight
            | Delivery::Deferred
            | Delivery::Unanswered
            | Delivery::Requeued
            | Delivery::Held => {}
        }
    }

    /// Deliveries with a final outcome.
    pub fn settled(&self) -> u64 {
        self.sent.total()
            + self.unregistered
            + self.failed
            + self.unknown
            + self.skipped
            + self.expired
            + self.canceled
    }

    /// Quirk: a device that never said its platform is counted under the usual one of its provider.
    fn sent_slot(&mut self, device: DevicePlatform, by: SendPlatform) -> &mut u64 {
        match (device, by) {
            (DevicePlatform::Android, _) => &mut self.sent.android,
            (DevicePlatform::Ios, _) => &mut self.sent.ios,
            (DevicePlatform::Web, _) => &mut self.sent.web,
            (DevicePlatform::Unknown, SendPlatform::Apns) => &mut self.sent.ios,
            (DevicePlatform::Unknown, SendPlatform::WebPush) => &mut self.sent.web,
            (DevicePlatform::Unknown, SendPlatform::Fcm | SendPlatform::Unknown) => &mut self.sent.android,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent.android += other.sent.android;
        self.sent.ios += other.sent.ios;
        self.sent.web += other.sent.web;
        self.unregistered += other.unregistered;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.skipped += other.skipped;
        self.expired += other.expired;
        self.canceled += other.canceled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_counted_once_and_a_transient_one_not_at_all() {
        for result in (0..=u8::MAX).filter_map(Delivery::from_byte) {
            let mut tally = Tally::default();
            tally.add(DevicePlatform::Android, SendPlatform::Fcm, result);
            let open = result.is_transient() || result == Delivery::InFlight;
            assert_eq!(tally.settled(), u64::from(!open), "{result:?}");
        }
    }

    #[test]
    fn a_device_without_a_platform_counts_under_its_providers() {
        let mut tally = Tally::default();
        tally.add(DevicePlatform::Unknown, SendPlatform::Apns, Delivery::Accepted);
        tally.add(DevicePlatform::Unknown, SendPlatform::Fcm, Delivery::Accepted);
        tally.add(DevicePlatform::Ios, SendPlatform::Fcm, Delivery::Accepted);
        assert_eq!(
            tally.sent,
            Sent {
                android: 1,
                ios: 2,
                web: 0
            }
        );
    }
}
