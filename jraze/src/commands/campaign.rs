//! `jraze campaign ...`: what a person does with a campaign, from a shell.
//!
//! A campaign is a notification of the API, and these commands are its requests. `watch` shows it
//! live: a bar on a terminal, a plain line for each change elsewhere, one JSON object for each
//! change with `--json`. It ends with the campaign: exit code 0 when it is SENT, 1 when it ended
//! otherwise.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jraze_openapi::dto::{Notification, NotificationStatus};
use jraze_runtime::{
    clock::{Clock, SystemClock},
    config::HumanDuration,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::Done;
use crate::{
    client::{Answer, Client, ClientArgs},
    output::{Output, grouped},
};

/// How often `watch` asks.
const ASK_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, Subcommand)]
pub(crate) enum CampaignCommand {
    /// Create a draft; prints its id
    Create(CreateArgs),
    /// Launch a draft: it is sent at its time, or at once
    Launch(LaunchArgs),
    /// Follow a campaign until it ends
    Watch(IdArgs),
    /// Stop a campaign: withdraws what was not sent yet, cancels what is being sent
    Stop(IdArgs),
    /// Hold a campaign that is being sent
    Pause(IdArgs),
    /// Go on with a campaign that was paused
    Resume(IdArgs),
    /// The newest campaigns
    List(ListArgs),
    /// One campaign in full, as JSON
    Show(IdArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Title of the notification
    #[arg(long)]
    title: String,
    /// Text of the notification
    #[arg(long)]
    body: String,
    /// What a tap opens
    #[arg(long, value_name = "URL")]
    deep_link: Option<String>,
    /// Picture in the notification
    #[arg(long, value_name = "URL")]
    image_url: Option<String>,
    /// Icon of the notification (web)
    #[arg(long, value_name = "URL")]
    icon_url: Option<String>,
    /// Who gets it: a condition tree as JSON, or @FILE
    #[arg(
        long,
        value_name = "JSON|@FILE",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    conditions: Option<String>,
    /// Everybody gets it
    #[arg(long)]
    all: bool,
    /// Extra data for the app, may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    data: Vec<(String, String)>,
    /// When: a time (2026-11-21T09:00:00Z) or a wait (+30m); at once when absent
    #[arg(long, value_name = "TIME|+WAIT")]
    at: Option<When>,
    /// Launch it right away
    #[arg(long)]
    launch: bool,
    /// Launch it and follow it until it ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// Follow it until it ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    campaign: IdArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The campaign: its uuid or its number
    id: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    size: u16,
    #[command(flatten)]
    client: ClientArgs,
}

/// A time given outright, or as a wait from now.
#[derive(Debug, Clone, Copy)]
enum When {
    At(DateTime<Utc>),
    In(HumanDuration),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a time like 2026-11-21T09:00:00Z or a wait like +30m".to_owned();
        match text.strip_prefix('+') {
            Some(wait) => wait.parse().map(Self::In).map_err(|_| expected()),
            None => DateTime::parse_from_rfc3339(text)
                .map(|time| Self::At(time.to_utc()))
                .map_err(|_| expected()),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) async fn run(command: CampaignCommand, output: Output) -> anyhow::Result<Done> {
    match command {
        CampaignCommand::Create(args) => create(args, output).await,
        CampaignCommand::Launch(args) => {
            let client = args.campaign.client.client()?;
            launch(&client, &args.campaign.id, args.watch, output).await
        }
        CampaignCommand::Watch(args) => watch(&args.client.client()?, &args.id, output).await,
        CampaignCommand::Stop(args) => stop(&args, output).await,
        CampaignCommand::Pause(args) => set_status(&args, NotificationStatus::Paused, output).await,
        CampaignCommand::Resume(args) => set_status(&args, NotificationStatus::Launched, output).await,
        CampaignCommand::List(args) => list(&args, output).await,
        CampaignCommand::Show(args) => {
            let client = args.client.client()?;
            let campaign: Value = client.get(&["notifications", &args.id]).send().await?;
            output.event(&campaign);
            output.line(format!("{campaign:#}"));
            Ok(Done::Fully)
        }
    }
}

async fn create(args: CreateArgs, output: Output) -> anyhow::Result<Done> {
    let client = args.client.client()?;
    let conditions = args.conditions.as_deref().map(read_conditions).transpose()?;
    let scheduled_at = args.at.map(|when| match when {
        When::At(time) => time,
        When::In(wait) => SystemClock.now() + wait.get(),
    });
    let data: BTreeMap<_, _> = args.data.into_iter().collect();
    let mut draft = json!({ "title": args.title, "body": args.body, "all": args.all });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            draft[key] = value;
        }
    };
    set("deep_link", args.deep_link.map(Value::from));
    set("image_url", args.image_url.map(Value::from));
    set("icon_url", args.icon_url.map(Value::from));
    set("conditions", conditions);
    set("data", (!data.is_empty()).then(|| json!(data)));
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    set("scheduled_at", scheduled_at.map(|time| json!(text(time))));

    let campaign: Notification = client.post(&["notifications"]).json(&draft).send().await?;
    output.line(format!("draft {} ({})", campaign.id, campaign.uuid));
    output.event(&event("created", &campaign));
    if args.launch || args.watch {
        return launch(&client, &campaign.uuid, args.watch, output).await;
    }
    Ok(Done::Fully)
}

fn read_conditions(text: &str) -> anyhow::Result<Value> {
    let text = match text.strip_prefix('@') {
        Some(file) => fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).context("the conditions are not JSON")
}

async fn launch(client: &Client, id: &str, follow: bool, output: Output) -> anyhow::Result<Done> {
    let campaign: Notification = client.post(&["notifications", id, ":launch"]).send().await?;
    match campaign.scheduled_at {
        Some(time) if time.0 > SystemClock.now() => {
            output.line(format!(
                "launched, to be sent at {}",
                time.0.to_rfc3339_opts(SecondsFormat::Secs, true)
            ));
        }
        _ => output.line("launched"),
    }
    output.event(&event("launched", &campaign));
    if follow {
        watch(client, id, output).await
    } else {
        Ok(Done::Fully)
    }
}

async fn stop(args: &IdArgs, output: Output) -> anyhow::Result<Done> {
    let client = args.client.client()?;
    let campaign: Notification = client.get(&["notifications", &args.id]).send().await?;
    let target = match campaign.status {
        NotificationStatus::Draft | NotificationStatus::Queued => NotificationStatus::Deleted,
        _ => NotificationStatus::Canceled,
    };
    set_status(args, target, output).await
}

async fn set_status(args: &IdArgs, status: NotificationStatus, output: Output) -> anyhow::Result<Done> {
    let client = args.client.client()?;
    let request = client.request(Method::PUT, &["notifications", &args.id, "status"]);
    let campaign: Notification = request.json(&json!({ "status": status })).send().await?;
    output.line(format!("campaign {} is {}", campaign.id, name(campaign.status)));
    output.event(&event("status", &campaign));
    Ok(Done::Fully)
}

async fn list(args: &ListArgs, output: Output) -> anyhow::Result<Done> {
    let client = args.client.client()?;
    let request = client
        .get(&["notifications"])
        .query("order_bys", "-id")
        .query("size", args.size);
    let Answer {
        result: campaigns,
        page,
    } = request.send_paged::<Vec<Notification>>().await?;
    let rows: Vec<_> = campaigns
        .iter()
        .map(|campaign| {
            vec![
                campaign.id.to_string(),
                name(campaign.status).to_owned(),
                grouped(total(campaign)),
                campaign.created_at.0.format("%Y-%m-%d %H:%M").to_string(),
                campaign.title.chars().take(40).collect(),
                campaign.uuid.clone(),
            ]
        })
        .collect();
    output.table(&["id", "status", "sent", "created", "title", "uuid"], &rows);
    if let Some(page) = page.filter(|page| page.total > campaigns.len() as u64) {
        output.line(format!("{} of {}", campaigns.len(), page.total));
    }
    for campaign in &campaigns {
        output.event(campaign);
    }
    Ok(Done::Fully)
}

/// Follows the campaign to its end.
async fn watch(client: &Client, id: &str, output: Output) -> anyhow::Result<Done> {
    let bar = output.draws_bars().then(|| {
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{spinner} {bar:30} {msg}");
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        bar
    });
    let mut last = None;
    let mut unreachable = 0;
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
            break campaign;
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
    Ok(if campaign.status == NotificationStatus::Sent {
        Done::Fully
    } else {
        Done::Failed
    })
}

fn has_ended(status: NotificationStatus) -> bool {
    use NotificationStatus as Status;
    matches!(
        status,
        Status::Sent | Status::Error | Status::Deleted | Status::Canceled
    )
}

fn total(campaign: &Notification) -> u64 {
    campaign.sent.android + campaign.sent.ios + campaign.sent.web
}

fn name(status: NotificationStatus) -> &'static str {
    match status {
        NotificationStatus::Draft => "DRAFT",
        NotificationStatus::Launched => "LAUNCHED",
        NotificationStatus::Sent => "SENT",
        NotificationStatus::Error => "ERROR",
        NotificationStatus::Deleted => "DELETED",
        NotificationStatus::Queued => "QUEUED",
        NotificationStatus::Paused => "PAUSED",
        NotificationStatus::Canceled => "CANCELED",
    }
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
    if let (Some(from), Some(to)) = (campaign.launched_at, campaign.finished_at) {
        let seconds = (to.0 - from.0).as_seconds_f64();
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

/// What a script reads.
fn event(event: &str, campaign: &Notification) -> Value {
    json!({
        "event": event, "id": campaign.id, "uuid": campaign.uuid, "status": name(campaign.status),
        "sent": campaign.sent, "counts": campaign.counts, "progress": campaign.progress,
        "failures": campaign.failures, "error": campaign.error,
    })
}

#[cfg(test)]
mod tests {
    use jraze_openapi::dto::{Notification, NotificationStatus};
    use wire::example;

    use super::{When, event, report, summary};

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

    #[test]
    fn a_time_is_an_instant_or_a_wait() {
        assert!(matches!("+30m".parse(), Ok(When::In(_))));
        assert!(matches!("2026-11-21T09:00:00+01:00".parse(), Ok(When::At(_))));
        assert!("tomorrow".parse::<When>().unwrap_err().contains("+30m"));
    }
}
