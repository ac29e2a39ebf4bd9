//! `jraze campaign watch`: a campaign, live, to its end.
//!
//! A bar on a terminal, a plain line for each change elsewhere, one JSON object for each change with
//! `--json`. It ends with the campaign: exit code 0 when it is SENT; otherwise 1, and standard error
//! says why.
//!
//! SENT means that the counts are final. A campaign that was canceled or failed has its status at
//! once, while the sends in flight still come back and are counted; so its last line waits until
//! the counts stand still.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jraze_openapi::dto::{Notification, NotificationStatus, OutcomeCounts};
use tokio::time::Instant;

use super::{
    Done,
    campaign::{event, name, total},
};
use crate::{
    client::Client,
    output::{Output, grouped},
};

/// How often to ask.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Counts that did not change for this long after the end are taken for final.
const STILL_FOR: Duration = Duration::from_secs(3);
/// The longest wait for counts to stand still.
const SETTLE_FOR: Duration = Duration::from_secs(60);

/// Follows the campaign to its end.
pub(super) async fn watch(client: &Client, id: &str, output: Output) -> anyhow::Result<Done> {
    let bar = output.draws_bars().then(|| {
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{spinner} {bar:30} {msg}");
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        bar
    });
    let mut last = None;
    let mut unreachable = 0;
    let mut settling = None;
    let campaign = loop {
        let answer = client
            .get(&["notifications", id])
            .timeout(Duration::from_secs(10))
            .send()
            .await;
        let campaign: Notification = match answer {
            Ok(campaign) => campaign,
            // The server may be restarting; the campaign does not mind, and nor should its watcher.
            Err(error) if error.is_transient() && unreachable < 100 => {
                unreachable += 1;
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        unreachable = 0;
        if let Some(bar) = &bar {
            bar.set_length(campaign.progress.partitions_total.max(1));
            bar.set_position(campaign.progress.partitions_done);
            bar.set_message(summary(&campaign));
        } else if last.as_ref() != Some(&summary(&campaign)) {
            output.line(summary(&campaign));
            output.event(&event("progress", &campaign));
            last = Some(summary(&campaign));
        }
        if has_ended(campaign.status) {
            let now = Instant::now();
            if settling
                .get_or_insert_with(|| Settling::new(now))
                .is_over(&campaign, now)
            {
                break campaign;
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    for line in report(&campaign) {
        output.line(line);
    }
    output.event(&event("done", &campaign));
    Ok(match failure(&campaign) {
        None => Done::Fully,
        Some(text) => {
            output.complain(&text);
            Done::Failed
        }
    })
}

fn has_ended(status: NotificationStatus) -> bool {
    use NotificationStatus as Status;
    matches!(
        status,
        Status::Sent | Status::Error | Status::Deleted | Status::Canceled
    )
}

/// The wait, after the end, for counts that still change.
struct Settling {
    ended: Instant,
    changed: Instant,
    counts: OutcomeCounts,
}

impl Settling {
    fn new(now: Instant) -> Self {
        Self {
            ended: now,
            changed: now,
            counts: OutcomeCounts::default(),
        }
    }

    /// Whether the counts are final, or final enough.
    fn is_over(&mut self, campaign: &Notification, now: Instant) -> bool {
        // Of a campaign that never started, nothing can be in flight.
        if campaign.status == NotificationStatus::Sent || campaign.launched_at.is_none() {
            return true;
        }
        if self.counts != campaign.counts {
            self.counts = campaign.counts;
            self.changed = now;
        }
        now - self.changed >= STILL_FOR || now - self.ended >= SETTLE_FOR
    }
}

/// Why the exit code is not 0.
fn failure(campaign: &Notification) -> Option<String> {
    let why = match campaign.status {
        NotificationStatus::Sent => return None,
        NotificationStatus::Canceled => "was canceled before everybody was reached".to_owned(),
        NotificationStatus::Deleted => "was withdrawn: nothing was sent".to_owned(),
        NotificationStatus::Error => {
            let reason = campaign.error.as_deref();
            format!("failed: {}", reason.unwrap_or("the server gives no reason"))
        }
        other => format!("ended as {}", name(other)),
    };
    Some(format!("campaign {} {why}", campaign.id))
}

/// One line about where the campaign stands.
fn summary(campaign: &Notification) -> String {
    let mut text = format!("{} · {} sent", name(campaign.status), grouped(total(campaign)));
    for (label, count) in failures(campaign) {
        text.push_str(&format!(" · {} {label}", grouped(count)));
    }
    text
}

/// Everything about the end of the campaign.
fn report(campaign: &Notification) -> Vec<String> {
    let mut lines = vec![format!(
        "{} · {} sent (android {}, ios {}, web {})",
        name(campaign.status),
        grouped(total(campaign)),
        grouped(campaign.sent.android),
        grouped(campaign.sent.ios),
        grouped(campaign.sent.web),
    )];
    lines.extend(failures(campaign).map(|(label, count)| format!("  {} {label}", grouped(count))));
    for failure in campaign.failures.iter().flatten() {
        lines.push(format!("    {} × {}", grouped(failure.count), failure.reason));
    }
    if let Some(error) = &campaign.error {
        lines.push(format!("  {error}"));
    }
    if campaign.status == NotificationStatus::Sent && campaign.counts.targeted == 0 {
        lines.push(if campaign.all {
            "  there is no device to send to".to_owned()
        } else {
            "  nobody matches the conditions".to_owned()
        });
    }
    // A campaign may be launched long before its time; the wait is not its speed.
    let from = campaign
        .launched_at
        .max(campaign.scheduled_at.filter(|_| campaign.launched_at.is_some()));
    if let (Some(from), Some(to), 1..) = (from, campaign.finished_at, total(campaign)) {
        let seconds = (to.0 - from.0).as_seconds_f64().max(0.0);
        let rate = (campaign.counts.targeted as f64 / seconds.max(0.001)) as u64;
        lines.push(format!(
            "  {seconds:.1} s from start to finish, {} devices a second",
            grouped(rate)
        ));
    }
    lines
}

/// The outcomes other than sent that did happen.
fn failures(campaign: &Notification) -> impl Iterator<Item = (&'static str, u64)> {
    let counts = campaign.counts;
    let all = [
        ("unregistered", counts.unregistered),
        ("failed", counts.failed),
        ("unknown", counts.unknown),
        ("skipped", counts.skipped),
        ("expired", counts.expired),
        ("canceled", counts.canceled),
    ];
    all.into_iter().filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jraze_openapi::dto::{Notification, NotificationStatus};
    use tokio::time::Instant;
    use wire::example;

    use super::{Settling, event, failure, report, summary};

    mod wire {
        use jraze_openapi::dto::Notification;
        use serde_json::json;

        pub(super) fn example() -> Notification {
            serde_json::from_value(json!({
                "id": 12, "uuid": "0b0f0c7e-5a2e-4c8e-9d3c-2f6c1a3b7d10", "title": "t", "body": "b",
                "sent": {"android": 1200, "ios": 34, "web": 0}, "deep_link": null, "image_url": null,
                "icon_url": null, "conditions": null, "status": 2, "scheduled_at": null,
                "created_at": "2026-11-21T09:00:00.000Z", "modified_at": "2026-11-21T09:00:00.000Z",
                "all": true, "data": {}, "expires_at": null,
                "launched_at": "2026-11-21T09:00:00.000Z", "finished_at": "2026-11-21T09:00:02.000Z",
                "error": null, "progress": {"partitions_total": 2, "partitions_done": 2},
                "counts": {"targeted": 1240, "sent": 1234, "failed": 0, "unregistered": 6,
                           "unknown": 0, "skipped": 0, "expired": 0, "canceled": 0},
                "failures": [{"reason": "UNREGISTERED", "count": 5}, {"reason": "Unregistered", "count": 1}]
            }))
            .unwrap()
        }
    }

    #[test]
    fn the_report_says_counts_by_platform_failures_with_their_reasons_and_speed() {
        let campaign: Notification = example();
        assert_eq!(campaign.status, NotificationStatus::Sent);
        assert_eq!(summary(&campaign), "SENT · 1,234 sent · 6 unregistered");
        assert_eq!(
            report(&campaign),
            [
                "SENT · 1,234 sent (android 1,200, ios 34, web 0)",
                "  6 unregistered",
                "    5 × UNREGISTERED",
                "    1 × Unregistered",
                "  2.0 s from start to finish, 620 devices a second",
            ]
        );
    }

    #[test]
    fn events_carry_the_status_by_name() {
        assert_eq!(event("done", &example())["status"], "SENT");
    }

    fn with(change: impl FnOnce(&mut Notification)) -> Notification {
        let mut campaign = example();
        change(&mut campaign);
        campaign
    }

    #[test]
    fn the_speed_is_measured_from_the_time_of_a_scheduled_campaign_and_nothing_sent_has_none() {
        let scheduled = with(|campaign| {
            campaign.scheduled_at = campaign.launched_at;
            let early = campaign.created_at.0 - chrono::TimeDelta::hours(1);
            campaign.launched_at = Some(jraze_openapi::dto::Timestamp(early));
        });
        assert!(report(&scheduled).last().unwrap().contains("2.0 s from start"));
        let nobody = with(|campaign| {
            campaign.sent = Default::default();
            campaign.counts = Default::default();
            campaign.failures = None;
            campaign.all = false;
        });
        assert_eq!(report(&nobody)[1..], ["  nobody matches the conditions"]);
    }

    #[test]
    fn the_counts_of_a_canceled_campaign_are_final_when_they_stood_still_for_three_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let canceled = |sent| {
            with(|campaign| {
                campaign.status = NotificationStatus::Canceled;
                campaign.counts.sent = sent;
            })
        };
        let mut settling = Settling::new(start);
        assert!(!settling.is_over(&canceled(1), at(0)));
        assert!(!settling.is_over(&canceled(2), at(2)));
        assert!(!settling.is_over(&canceled(2), at(4)));
        assert!(settling.is_over(&canceled(2), at(5)));

        let mut restless = Settling::new(start);
        assert!((0..60).all(|second| !restless.is_over(&canceled(second), at(second))));
        assert!(restless.is_over(&canceled(60), at(60)), "the wait has an end");
        assert!(Settling::new(start).is_over(&example(), at(0)), "SENT is final");
    }

    #[test]
    fn a_campaign_that_did_not_end_well_says_why() {
        assert_eq!(failure(&example()), None);
        let failed = with(|campaign| {
            campaign.status = NotificationStatus::Error;
            campaign.error = Some("no credentials".into());
        });
        assert_eq!(failure(&failed).unwrap(), "campaign 12 failed: no credentials");
        let canceled = with(|campaign| campaign.status = NotificationStatus::Canceled);
        assert!(failure(&canceled).unwrap().contains("was canceled"));
    }
}
