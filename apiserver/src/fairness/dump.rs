//! What an operator sees who asks who is served and who waits: upstream's tables under
//! `/debug/api_priority_and_fairness/`.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{
    dispatcher::{Fairness, State},
    level::Entry,
    queues::{QueueSet, Request},
    work::Work,
};
use crate::{
    authn::user::User,
    http::{info, query::Query},
};

/// Where they are.
pub(crate) const PREFIX: &str = "/debug/api_priority_and_fairness/";
/// How wide a column is at least.
const WIDTH_MIN: usize = 8;
/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

type Row = Vec<String>;

/// One of the tables, if there is one of that name. `details` are those of requests.
pub(super) fn table(fairness: &Fairness, name: &str, details: bool) -> Option<String> {
    let levels = fairness.levels();
    let rows = match name {
        "dump_priority_levels" => priority_levels(&levels),
        "dump_queues" => queues(&levels),
        "dump_requests" => requests(fairness, &levels, details),
        _ => return None,
    };
    Some(aligned(&rows))
}

fn row(cells: &[&str]) -> Row {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

fn priority_levels(levels: &[State]) -> Vec<Row> {
    let mut rows = vec![row(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    for state in levels {
        let set = state.level.look();
        let tally = set.tally();
        rows.push(vec![
            state.level.name.clone(),
            set.queues().iter().filter(|queue| queue.waiting().len() > 0).count().to_string(),
            set.is_idle().to_string(),
            state.quiescing.to_string(),
            set.waiting().to_string(),
            set.executing().to_string(),
            tally.dispatched.to_string(),
            tally.rejected.to_string(),
            // Upstream counts those who ran out of time among the cancelled.
            "0".to_owned(),
            tally.cancelled.to_string(),
        ]);
    }
    rows
}

fn queues(levels: &[State]) -> Vec<Row> {
    let mut rows = vec![row(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])];
    for state in levels {
        for (index, queue) in state.level.look().queues().iter().enumerate() {
            rows.push(vec![
                state.level.name.clone(),
                index.to_string(),
                queue.waiting().len().to_string(),
                queue.executing.to_string(),
                queue.seats_in_use.to_string(),
                seat_seconds(queue.next_dispatch),
                queue.initial_seats_waiting.to_string(),
                queue.seats_waiting.to_string(),
                seat_seconds(queue.work_waiting),
            ]);
        }
    }
    rows
}

fn requests(fairness: &Fairness, levels: &[State], details: bool) -> Vec<Row> {
    let mut head = row(&[
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if details {
        head.extend(row(&[
            "UserName",
            "Verb",
            "APIPath",
            "Namespace",
            "Name",
            "APIVersion",
            "Resource",
            "SubResource",
        ]));
    }
    let mut rows = vec![head];
    for state in levels {
        let set = state.level.look();
        for (index, queue) in set.queues().iter().enumerate() {
            for (place, ticket) in queue.waiting().enumerate() {
                if let Some(request) = set.get(ticket) {
                    rows.push(one(fairness, &set, request, &index.to_string(), &place.to_string(), details));
                }
            }
        }
        for (_, request) in set.requests().filter(|(_, request)| request.started.is_some()) {
            let queue = request.queue.map_or_else(|| "-1".to_owned(), |index| index.to_string());
            rows.push(one(fairness, &set, request, &queue, "-1", details));
        }
    }
    rows
}

fn one(
    fairness: &Fairness,
    set: &QueueSet<Entry>,
    request: &Request<Entry>,
    queue: &str,
    place: &str,
    details: bool,
) -> Row {
    let Entry { schema, user, method, uri, .. } = &request.payload;
    let query = Query::parse(uri.query().unwrap_or_default());
    // It was read when the request came; whoever cannot be read does not come here.
    let info = info::resolve(method, uri.path(), &query).unwrap_or_default();
    let by = User { name: user.to_string(), ..User::default() };
    let distinguished = if set.queues().len() > 1 { schema.matcher.distinguish(&info, &by) } else { "" };
    let time = |at: Timestamp| at.to_string();
    let mut row = vec![
        schema.level.name.clone(),
        schema.name.clone(),
        queue.to_owned(),
        place.to_owned(),
        distinguished.to_owned(),
        time(fairness.at(request.arrived)),
        request.estimate.initial_seats.to_string(),
        request.estimate.final_seats.to_string(),
        duration(request.estimate.additional_latency),
        request.started.map_or_else(|| NEVER.to_owned(), |at| time(fairness.at(at))),
    ];
    if details {
        let version = if info.group.is_empty() {
            info.version.clone()
        } else {
            format!("{}/{}", info.group, info.version)
        };
        row.extend([
            user.to_string(),
            info.verb,
            info.path,
            info.namespace,
            info.name,
            version,
            info.resource,
            info.subresource,
        ]);
    }
    row
}

/// Columns as wide as their widest cell.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + 2).max().unwrap_or_default().max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if index + 1 == row.len() {
                text.push_str(cell);
            } else {
                let _infallible = write!(text, "{:<width$}", format!("{cell},"));
            }
        }
        text.push('\n');
    }
    text
}

/// Seat-seconds, with eight digits.
fn seat_seconds(work: Work) -> String {
    let work = work.max(0) / 10;
    format!("{}.{:08}ss", work / 100_000_000, work % 100_000_000)
}

/// A duration of some milliseconds, as Go writes it.
fn duration(duration: Duration) -> String {
    let microseconds = duration.as_micros();
    if microseconds == 0 {
        return "0s".to_owned();
    }
    let (unit, name, digits) = match microseconds {
        1_000_000.. => (1_000_000, "s", 6),
        1_000.. => (1_000, "ms", 3),
        _ => (1, "µs", 0),
    };
    let fraction = format!("{:0digits$}", microseconds % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{}{name}", microseconds / unit),
        fraction => format!("{}.{fraction}{name}", microseconds / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_end_with_a_comma_but_for_the_last() {
        let rows = [row(&["Name", "ALongColumn", "Last"]), row(&["workload-high", "1", "2"])];
        let expected = "Name,          ALongColumn, Last\nworkload-high, 1,           2\n";
        assert_eq!(aligned(&rows), expected);
    }

    #[test]
    fn work_and_durations_are_written_as_upstream_does() {
        assert_eq!(seat_seconds(3_000_000), "0.00300000ss");
        assert_eq!(seat_seconds(12_345_678_912), "12.34567891ss");
        let cases = [(0, "0s"), (5_000, "5ms"), (2_500, "2.5ms"), (700, "700µs"), (1_050_000, "1.05s")];
        for (microseconds, expected) in cases {
            assert_eq!(duration(Duration::from_micros(microseconds)), expected);
        }
    }
}
