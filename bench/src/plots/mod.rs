//! The plots under `docs/bench/`, drawn from the raw figures that stand beside them.
//!
//! | plot | from |
//! | --- | --- |
//! | `flatness.svg`, `cpu.svg` | `flatness.json` |
//! | `pacing.svg` | `pacing.json` |
//! | `peers-<devices>.svg` | `peers.json` |
//!
//! Every scenario draws its own at the end; `jraze-bench plots` draws all whose figures are there.

mod svg;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::arithmetic::Spread;
use crate::pacing_report;
use crate::report::{Campaign, Figure, Report};

use self::svg::{Anchor, Area, COLOURS, INK, Picture, number, round_up};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Where the figures are, and the plots go.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    draw(&options.out)
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;

/// Draws every plot whose figures are in the folder.
pub(crate) fn draw(folder: &Path) -> Result<()> {
    let write = |name: &str, plot: String| std::fs::write(folder.join(name), plot);
    if let Some(sizes) = read::<Vec<Report>>(&folder.join("flatness.json"))? {
        write("flatness.svg", flatness(&sizes))?;
        write("cpu.svg", processor(&sizes))?;
    }
    if let Some(report) = read::<pacing_report::Report>(&folder.join("pacing.json"))? {
        write("pacing.svg", pacing(&report))?;
    }
    for entry in read::<Vec<Peers>>(&folder.join("peers.json"))?.unwrap_or_default() {
        write(&format!("peers-{}.svg", entry.devices), peers(&entry))?;
    }
    Ok(())
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let figures = serde_json::from_str(&text);
            Ok(Some(figures.with_context(|| format!("in {}", file.display()))?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The commit, and whether there was work in progress, without what else may be said about it.
fn short(commit: &str) -> &str {
    commit.split(',').next().unwrap_or_default()
}

fn area(most: f64) -> Area {
    Area {
        left: 80.0,
        right: WIDTH - 30.0,
        top: 92.0,
        foot: HEIGHT - 52.0,
        most,
    }
}

/// Says below each column how large its audience is.
fn name_sizes(picture: &mut Picture, area: &Area, sizes: impl ExactSizeIterator<Item = u64>) {
    let count = sizes.len();
    for (index, devices) in sizes.enumerate() {
        let at = (area.column(index, count), area.foot + 20.0);
        picture.text(at, Anchor::Middle, &number(devices as f64));
    }
    let middle = ((area.left + area.right) / 2.0, HEIGHT - 10.0);
    picture.text(middle, Anchor::Middle, "devices in the audience");
}

/// How fast campaigns are for their size, as parts of the ceiling.
fn flatness(sizes: &[Report]) -> String {
    let rounds = sizes.first().map_or(0, |size| size.campaigns.len());
    let commit = sizes.first().map_or("", |size| short(&size.commit));
    let mut picture = Picture::new(
        WIDTH,
        HEIGHT,
        "Campaign rate over audience size",
        &format!(
            "part of what h2load reaches on the same machine; middle and ends of {rounds} rounds, commit {commit}"
        ),
    );
    let of = |size: &Report, rate: Figure| {
        Spread::of(size.campaigns.iter().filter_map(|c| Some(rate(c) / c.ceiling?)))
    };
    let series: [(&str, Figure, f64); 2] = [
        ("whole campaign, launch to SENT", Campaign::whole, 0.5),
        ("dispatch, first send to last", Campaign::dispatch, 0.7),
    ];
    let most = series.iter().flat_map(|(_, rate, target)| {
        let figures = sizes.iter().map(|size| of(size, *rate).most);
        figures.chain([*target])
    });
    let (most, step) = round_up(most.fold(0.0, f64::max) * 1.02);
    let area = area(most);
    area.axis(&mut picture, step, "rate over H");
    name_sizes(&mut picture, &area, sizes.iter().map(|size| size.devices));
    for ((_, rate, target), colour) in series.iter().zip(COLOURS) {
        picture.dashed(
            (area.left, area.y(*target)),
            (area.right, area.y(*target)),
            colour,
        );
        let points: Vec<(f64, Spread)> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| (area.column(index, sizes.len()), of(size, *rate)))
            .collect();
        let middles: Vec<(f64, f64)> = points
            .iter()
            .map(|(x, spread)| (*x, area.y(spread.middle)))
            .collect();
        picture.line(&middles, colour, 2.2, "");
        for (x, spread) in points {
            picture.line(
                &[(x, area.y(spread.least)), (x, area.y(spread.most))],
                colour,
                1.6,
                "",
            );
            picture.dot((x, area.y(spread.middle)), colour);
        }
    }
    let names: Vec<(String, &str)> = series.iter().map(|row| row.0.to_owned()).zip(COLOURS).collect();
    picture.legend((area.left, 74.0), &names);
    picture.text((area.right, 74.0), Anchor::End, "dashed: targets");
    picture.finish()
}

/// Who spends the processor, for each device.
fn processor(sizes: &[Report]) -> String {
    // Linux counts in hundredths of a second, which is too coarse for less.
    let sizes: Vec<&Report> = sizes.iter().filter(|size| size.devices >= 10_000).collect();
    let commit = sizes.first().map_or("", |size| short(&size.commit));
    let mut picture = Picture::new(
        WIDTH,
        HEIGHT,
        "Processor time for each device, by role",
        &format!("middle of the rounds; the sandbox is the pretend FCM and APNs, with TLS; commit {commit}"),
    );
    let roles: [(&str, Figure); 5] = [
        ("worker", |c| c.cpu.worker_us),
        ("API server", |c| c.cpu.apiserver_us),
        ("result worker", |c| c.cpu.result_worker_us),
        ("mongod", |c| c.cpu.mongod_us.unwrap_or(0.0)),
        ("sandbox", |c| c.cpu.sandbox_us.unwrap_or(0.0)),
    ];
    let middle = |size: &Report, role: Figure| Spread::of(size.campaigns.iter().map(role)).middle;
    let whole = |size: &&Report| roles.iter().map(|(_, role)| middle(size, *role)).sum::<f64>();
    let (most, step) = round_up(1.06 * sizes.iter().map(whole).fold(0.0, f64::max));
    let area = area(most);
    area.axis(&mut picture, step, "µs a device");
    for (index, size) in sizes.iter().enumerate() {
        let x = area.column(index, sizes.len());
        let mut below = 0.0;
        for ((_, role), colour) in roles.iter().zip(COLOURS) {
            let figure = middle(size, *role);
            let height = area.y(below) - area.y(below + figure);
            picture.bar((x - 45.0, area.y(below + figure)), 90.0, height, colour);
            if height > 15.0 {
                let y = area.y(below + figure / 2.0) + 4.0;
                picture.text((x + 52.0, y), Anchor::Start, &format!("{figure:.1}"));
            }
            below += figure;
        }
        picture.text((x, area.y(below) - 6.0), Anchor::Middle, &format!("{below:.1}"));
    }
    name_sizes(&mut picture, &area, sizes.iter().map(|size| size.devices));
    let names: Vec<(String, &str)> = roles.iter().map(|row| row.0.to_owned()).zip(COLOURS).collect();
    picture.legend((area.left, 74.0), &names);
    picture.finish()
}

/// Sends in each second against the quota.
fn pacing(report: &pacing_report::Report) -> String {
    let quota = f64::from(report.quota_per_minute) / 60.0;
    let mut picture = Picture::new(
        WIDTH,
        HEIGHT,
        "Sends in each second, under FCM's quota",
        &format!(
            "one campaign from a ramp of {} s on, then two and small ones; {} refused; commit {}",
            report.ramp_seconds,
            report.limited,
            short(&report.commit)
        ),
    );
    let seconds = report
        .curve
        .iter()
        .map(|curve| curve.per_second.len())
        .max()
        .unwrap_or(1);
    let (most, step) = round_up(quota * 1.1);
    let area = area(most);
    area.axis(&mut picture, step, "sends a second");
    let x = |second: f64| area.left + (area.right - area.left) * second / seconds.max(1) as f64;
    let (_, every) = round_up(seconds as f64);
    for mark in 0..=(seconds as f64 / every) as usize {
        let second = every * mark as f64;
        picture.text((x(second), area.foot + 20.0), Anchor::Middle, &number(second));
    }
    picture.text(
        ((area.left + area.right) / 2.0, HEIGHT - 10.0),
        Anchor::Middle,
        "seconds since the first send",
    );
    picture.dashed((area.left, area.y(quota)), (area.right, area.y(quota)), INK);
    for (curve, colour) in report.curve.iter().zip(COLOURS) {
        // From its first second to its last, not along the ground.
        let first = curve.per_second.iter().position(|sent| *sent > 0).unwrap_or(0);
        let last = curve.per_second.iter().rposition(|sent| *sent > 0).unwrap_or(0);
        let points: Vec<(f64, f64)> = (first..=last)
            .filter_map(|at| Some((x(at as f64 + 0.5), area.y(*curve.per_second.get(at)? as f64))))
            .collect();
        picture.line(&points, colour, 2.0, "stroke-linejoin=\"round\"");
    }
    let names: Vec<(String, &str)> = report
        .curve
        .iter()
        .map(|curve| curve.name.clone())
        .zip(COLOURS)
        .collect();
    picture.legend((area.left, 74.0), &names);
    picture.text((area.right, 74.0), Anchor::End, "dashed: the quota");
    picture.finish()
}

/// One number of devices in `peers.json`, which `bench/peers/run` writes.
#[derive(Debug, Deserialize)]
struct Peers {
    devices: u64,
    commit: String,
    rounds: u64,
    rows: serde_json::Map<String, serde_json::Value>,
}

/// How fast everybody is on the same devices.
fn peers(entry: &Peers) -> String {
    let mut rows: Vec<(&str, f64, bool)> = entry
        .rows
        .iter()
        .filter_map(|(name, row)| {
            let is_clean = ["lost", "repeated", "errors"].iter().all(|what| row[*what] == 0);
            Some((name.as_str(), row["per_second"].as_f64()?, is_clean))
        })
        .collect();
    rows.sort_by(|one, other| other.1.total_cmp(&one.1));
    let height = 92.0 + 30.0 * rows.len() as f64 + 16.0;
    let mut picture = Picture::new(
        WIDTH,
        height,
        &format!("Devices a second, {} devices", number(entry.devices as f64)),
        &format!(
            "the same machine, database and pretend providers; middle of {} rounds in turn; commit {}",
            entry.rounds,
            short(&entry.commit)
        ),
    );
    let most = rows.first().map_or(1.0, |row| row.1);
    let (left, right) = (290.0, WIDTH - 110.0);
    for (index, (name, rate, is_clean)) in rows.iter().enumerate() {
        let y = 92.0 + 30.0 * index as f64;
        let (colour, name) = match (name.starts_with("jraze"), name.starts_with("Parse")) {
            (true, _) => (COLOURS[0], (*name).to_owned()),
            (_, true) => (COLOURS[1], (*name).to_owned()),
            _ => (COLOURS[4], (*name).to_owned()),
        };
        let name = if *is_clean {
            name
        } else {
            format!("{name}, with errors")
        };
        let width = (right - left) * rate / most;
        picture.text((left - 10.0, y + 14.5), Anchor::End, &name);
        picture.bar((left, y), width, 20.0, colour);
        picture.text(
            (left + width + 8.0, y + 14.5),
            Anchor::Start,
            &number(rate.round()),
        );
    }
    let names = [
        ("jraze".to_owned(), COLOURS[0]),
        ("Parse Server".to_owned(), COLOURS[1]),
        ("client libraries alone".to_owned(), COLOURS[4]),
    ];
    picture.legend((20.0, 74.0), &names);
    picture.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_that_there_was_work_in_progress() {
        assert_eq!(short("4cbca11"), "4cbca11");
        let built = "4cbca11 with work in progress, built without LTO";
        assert_eq!(short(built), "4cbca11 with work in progress");
    }
}
