//! For `fuzz/` only (feature `fuzzing`): what stands between a request and a service, without a server.

use jraze_openapi::{
    api::ListQuery,
    dto::{ApiError, ImportProblem},
};
use jraze_storage::{
    devices::{Change, DeviceOrder, OrderField},
    notifications::NotificationOrder,
};

use crate::{
    convert,
    ports::devices::change_of_line,
    services::{devices::HistoryOrder, import::Lines},
};

/// The lines of an import that arrives in pieces of `piece` bytes (at least 1), each with its number, and
/// what is made of it: nothing when it is too long.
pub fn import_lines(
    body: &[u8],
    piece: usize,
    limit: usize,
) -> Vec<(u64, Option<Result<Change, ImportProblem>>)> {
    let mut lines = Lines::new(limit);
    let mut found = Vec::new();
    let mut take = |lines: &mut Lines| {
        while let Some((number, line)) = lines.next() {
            let read = line.map(|line| {
                change_of_line(&line).map_err(|problem| ImportProblem {
                    line: number,
                    code: problem.code,
                    reason: problem.reason,
                    pointer: problem.pointer,
                })
            });
            found.push((number, read));
        }
    };
    for piece in body.chunks(piece) {
        lines.push(piece);
        take(&mut lines);
    }
    lines.end();
    take(&mut lines);
    found
}

/// A list's paging and order, for devices, notifications and a device's history: the bounds, and how many
/// keys each order has.
pub fn list(query: &ListQuery) -> Result<(u64, u64, [Result<usize, ApiError>; 3]), ApiError> {
    let (start, size) = convert::page_bounds(Some(query.start), Some(query.size))?;
    let keys = &query.order_bys;
    let devices = convert::order(keys, &OrderField::ALL.map(OrderField::name), DeviceOrder::parse);
    let notifications = convert::order(keys, &NotificationOrder::FIELDS, NotificationOrder::parse);
    let history = convert::order(keys, &HistoryOrder::FIELDS, HistoryOrder::parse);
    let orders = [
        devices.map(|keys| keys.len()),
        notifications.map(|keys| keys.len()),
        history.map(|keys| keys.len()),
    ];
    Ok((start, size, orders))
}
