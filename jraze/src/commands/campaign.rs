//! `jraze campaign ...`: what a person does with a campaign, from a shell.
//!
//! A campaign is a notification of the API, and these commands are its requests. Following one to its
//! end is [`super::watch`].

use std::{collections::BTreeMap, fs};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use jraze_openapi::dto::{Notification, NotificationStatus};
use jraze_runtime::{
    clock::{Clock, SystemClock},
    config::HumanDuration,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Done, later, millis, watch::watch};
use crate::{
    client::{Answer, Client, ClientArgs},
    output::{Output, grouped},
};

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
    #[command(flatten)]
    audience: AudienceArgs,
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

/// One of the two, so that nobody sends to everybody by forgetting a flag.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct AudienceArgs {
    /// Who gets it: a condition tree as JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    conditions: Option<String>,
    /// Everybody gets it
    #[arg(long)]
    all: bool,
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
    let conditions = args
        .audience
        .conditions
        .as_deref()
        .map(read_conditions)
        .transpose()?;
    let scheduled_at = args.at.map(|when| match when {
        When::At(time) => Ok(time),
        When::In(wait) => later(SystemClock.now(), wait).context("--at is too far away"),
    });
    let scheduled_at = scheduled_at.transpose()?;
    let data: BTreeMap<_, _> = args.data.into_iter().collect();
    let mut draft = json!({ "title": args.title, "body": args.body, "all": args.audience.all });
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
    set("scheduled_at", scheduled_at.map(|time| json!(millis(time))));

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

pub(super) fn total(campaign: &Notification) -> u64 {
    campaign.sent.android + campaign.sent.ios + campaign.sent.web
}

pub(super) fn name(status: NotificationStatus) -> &'static str {
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

/// What a script reads.
pub(super) fn event(event: &str, campaign: &Notification) -> Value {
    json!({
        "event": event, "id": campaign.id, "uuid": campaign.uuid, "status": name(campaign.status),
        "sent": campaign.sent, "counts": campaign.counts, "progress": campaign.progress,
        "failures": campaign.failures, "error": campaign.error,
    })
}

#[cfg(test)]
mod tests {
    use super::When;

    #[test]
    fn a_time_is_an_instant_or_a_wait() {
        assert!(matches!("+30m".parse(), Ok(When::In(_))));
        assert!(matches!("2026-11-21T09:00:00+01:00".parse(), Ok(When::At(_))));
        assert!("tomorrow".parse::<When>().unwrap_err().contains("+30m"));
    }
}
