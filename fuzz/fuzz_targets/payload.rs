//! Messages: whatever passes the check can be sent to every platform, and no message is larger than the
//! bound that the check works with.
//!
//! Input: fields with a unit separator (0x1F) between them: options, title, body, link, image, icon, then
//! keys and values in turn. An empty link, image or icon is none. Options: `e` for an expiry, `x` for one far off.
#![no_main]

use chrono::{DateTime, TimeDelta};
use jraze_domain::{
    ids::NotificationUuid,
    message::{CollapseId, Content, MAX_PAYLOAD_BYTES, Push},
};
use jraze_providers::{PayloadError, fuzzing::payload_sizes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut fields = text.split('\u{1f}').map(str::to_owned);
    let mut next = || fields.next().unwrap_or_default();
    let options = next();
    let (title, body) = (next(), next());
    let mut address = || Some(next()).filter(|text| !text.is_empty());
    let (deep_link, image_url, icon_url) = (address(), address(), address());
    let mut content = Content {
        title,
        body,
        deep_link,
        image_url,
        icon_url,
        ..Content::default()
    };
    while let Some(key) = fields.next() {
        content.data.insert(key, fields.next().unwrap_or_default());
    }

    let now = DateTime::from_timestamp(1_795_251_600, 0).expect("a time");
    let expires_at = match options.as_str() {
        "e" => Some(now + TimeDelta::days(365)),
        "x" => Some(DateTime::from_timestamp(253_402_300_799, 0).expect("the end of the year 9999")),
        _ => None,
    };
    let notification = NotificationUuid(uuid::Uuid::max());
    let bound = content.payload_bytes();
    let checked = content.validate();
    let push = Push {
        notification,
        content,
        collapse: CollapseId::of(notification),
        expires_at,
    };
    for size in payload_sizes(&push, now) {
        match (&checked, size) {
            (Ok(()), Ok(size)) => assert!(size <= bound && bound <= MAX_PAYLOAD_BYTES, "{size} > {bound}"),
            (Ok(()), Err(error)) => panic!("passed the check and cannot be sent: {error}"),
            // Only too large as a whole: then the bound still is one.
            (Err(faults), Err(PayloadError::TooLarge { bytes, .. }))
                if faults.iter().all(|fault| !fault.field.starts_with("data")) =>
            {
                assert!(bytes <= bound, "{bytes} > {bound}");
            }
            _ => {}
        }
    }
});
