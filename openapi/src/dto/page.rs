//! Paging: `start` and `size` in, `page` beside the result out.

use poem_openapi::Object;
use serde::{Deserialize, Serialize};

/// Where a list stands in the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct Page {
    /// How many there are in all.
    pub total: u64,
    /// How many were left out before the first one of this page.
    pub start: u64,
    /// How many were asked for at most.
    pub size: u64,
    /// The `start` of the next page; null on the last one.
    pub next: Option<u64>,
}

impl Page {
    /// The page of `returned` items that begins at `start`.
    #[must_use]
    pub fn new(total: u64, start: u64, size: u64, returned: usize) -> Self {
        let end = start.saturating_add(returned as u64);
        Self {
            total,
            start,
            size,
            next: (returned > 0 && end < total).then_some(end),
        }
    }
}

/// A list and its place in the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Where they stand.
    pub page: Page,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_absent_exactly_on_the_last_page() {
        assert_eq!(Page::new(25, 0, 10, 10).next, Some(10));
        assert_eq!(Page::new(25, 20, 10, 5).next, None);
        assert_eq!(Page::new(20, 10, 10, 10).next, None);
        assert_eq!(Page::new(5, 100, 10, 0).next, None);
    }
}
