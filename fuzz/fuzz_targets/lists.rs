//! Lists: paging and orders take what is on the allow-lists, and refuse the rest with a pointer.
//!
//! Input: `order_bys`, `start` and `size` as in a query, one a line; an empty line is one that is absent.
#![no_main]

use jraze_apiserver::fuzzing::list;
use jraze_openapi::{api::ListQuery, dto::Timestamp};
use jraze_storage::{
    devices::{DeviceOrder, Direction, OrderField},
    notifications::NotificationOrder,
    send_log::LogEvent,
};
use libfuzzer_sys::fuzz_target;

const HISTORY: [&str; 2] = ["id", "created_at"];

fn is_allowed(key: &str, fields: &[&str]) -> bool {
    fields.contains(&key.strip_prefix('-').unwrap_or(key))
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text
        .split('\n')
        .map(|line| Some(line).filter(|line| !line.is_empty()));
    let mut next = || lines.next().flatten();
    let order_bys = next().map(str::to_owned);
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let (start, size): (Option<u64>, Option<u64>) = (number(next()), number(next()));
    let time = next();

    let query = ListQuery::new(order_bys.clone(), size, start);
    for key in &query.order_bys {
        assert!(
            !key.is_empty() && !key.contains(',') && key.trim() == key,
            "{key:?}"
        );
        assert!(order_bys.as_ref().is_some_and(|text| text.contains(key.as_str())));
        if let Some(order) = DeviceOrder::parse(key) {
            let sign = if order.direction == Direction::Descending {
                "-"
            } else {
                ""
            };
            assert_eq!(format!("{sign}{}", order.field.name()), *key);
        }
        assert_eq!(
            LogEvent::parse(key).is_some_and(|event| event.name() != key),
            false
        );
    }
    let in_bounds = query.start <= 1_000_000 && (1..=1_000).contains(&query.size);
    match list(&query) {
        Ok((start, size, orders)) => {
            assert!(in_bounds);
            assert_eq!((start, size), (query.start, query.size));
            let fields = [
                &OrderField::ALL.map(OrderField::name)[..],
                &NotificationOrder::FIELDS,
                &HISTORY,
            ];
            for (order, fields) in orders.into_iter().zip(fields) {
                let allowed = query.order_bys.iter().all(|key| is_allowed(key, fields));
                match order {
                    Ok(keys) => assert!(allowed && keys == query.order_bys.len()),
                    Err(refusal) => {
                        assert!(!allowed);
                        assert_eq!(refusal.fields[0].pointer, "/order_bys");
                        assert!(refusal.reason.len() < 256, "what a client sent is not sent back");
                    }
                }
            }
        }
        Err(refusal) => {
            assert!(!in_bounds);
            assert!(matches!(refusal.fields[0].pointer.as_str(), "/start" | "/size"));
        }
    }

    // A time that is read is written in the one form of the wire, and reads back as itself to the
    // millisecond.
    if let Some(time) = time
        && let Ok(read) = serde_json::from_value::<Timestamp>(time.into())
    {
        let written = serde_json::to_value(read).expect("a time is written");
        let again: Timestamp = serde_json::from_value(written.clone()).expect("what was written is read");
        assert_eq!(serde_json::to_value(again).expect("a time is written"), written);
    }
});
