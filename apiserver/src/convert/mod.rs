//! Where the wire meets the domain, and nowhere else.
//!
//! Into the domain: each function takes what a client sent and either gives the domain's type or
//! the failure with a pointer to the place. Out of it: functions that cannot fail.

pub(crate) mod condition;
pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod notification;
pub(crate) mod reach;

use jraze_openapi::{
    api::ListQuery,
    dto::{ApiError, Page, Paged},
};

/// How far a list may be skipped; beyond that a client narrows its question or exports.
const MAX_START: u64 = 1_000_000;

/// Checks `start` and `size`.
///
/// # Errors
///
/// 400 with a pointer to the one that is out of range.
pub(crate) fn page_bounds(start: Option<u64>, size: Option<u64>) -> Result<(u64, u64), ApiError> {
    let start = start.unwrap_or(0);
    let size = size.unwrap_or(ListQuery::DEFAULT_SIZE);
    if start > MAX_START {
        let message = format!("at most {MAX_START} can be left out");
        return Err(ApiError::invalid("invalid_parameter", "/start", message));
    }
    if !(1..=ListQuery::MAX_SIZE).contains(&size) {
        let message = format!("a page has 1 to {} entries", ListQuery::MAX_SIZE);
        return Err(ApiError::invalid("invalid_parameter", "/size", message));
    }
    Ok((start, size))
}

/// One page of things, shown.
pub(crate) fn paged<T, S>(
    items: Vec<T>,
    total: u64,
    start: u64,
    size: u64,
    show: impl FnMut(T) -> S,
) -> Paged<S> {
    let items: Vec<S> = items.into_iter().map(show).collect();
    Paged {
        page: Page::new(total, start, size, items.len()),
        items,
    }
}

/// Every entry of `order_bys`, read by `parse`.
///
/// # Errors
///
/// 400 naming the first entry that is none of `fields`.
pub(crate) fn order<T>(
    order_bys: &[String],
    fields: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    let read = |text: &String| {
        parse(text).ok_or_else(|| {
            let fields = fields.join(", ");
            let message = format!("can order by {fields}, with - in front for descending");
            ApiError::invalid("invalid_parameter", "/order_bys", message)
        })
    };
    order_bys.iter().map(read).collect()
}

/// One reference token of a JSON pointer.
pub(crate) fn pointer_token(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(page_bounds(None, None).unwrap(), (0, 20));
        assert_eq!(page_bounds(Some(40), Some(1000)).unwrap(), (40, 1000));
        for (start, size) in [(Some(1_000_001), None), (None, Some(0)), (None, Some(1001))] {
            assert_eq!(page_bounds(start, size).unwrap_err().code, "invalid_parameter");
        }
    }

    #[test]
    fn an_order_by_an_unknown_field_is_refused_with_the_known_ones() {
        let known = |text: &str| (text == "id").then_some(());
        let error = order(&["$where".to_owned()], &["id"], known).unwrap_err();
        assert_eq!(error.fields[0].pointer, "/order_bys");
        assert!(error.reason.contains("id"), "{}", error.reason);
    }
}
