//! The command of a page, as it was asked for: of this repository's Makefile, so that anybody can ask again.

/// What `make` hands on by a name of its own, by scenario.
fn named(scenario: &str, option: &str) -> Option<&'static str> {
    match (scenario, option) {
        ("campaign" | "api" | "storage", "--devices") => Some("DEVICES"),
        ("campaign" | "api" | "storage", "--rounds") => Some("ROUNDS"),
        ("campaign", "--latency-ms") => Some("LATENCY_MS"),
        _ => None,
    }
}

/// The command that gives these arguments of `jraze-bench`. Where results go, and what their commit is
/// called, is left out: it has nothing to do with what was measured.
pub(crate) fn command(arguments: impl IntoIterator<Item = String>) -> String {
    let mut arguments = arguments.into_iter();
    let scenario = arguments.next().unwrap_or_default();
    let mut command = match scenario.as_str() {
        "campaign" => "make bench".to_owned(),
        other => format!("make bench-{other}"),
    };
    let mut others = Vec::new();
    while let Some(argument) = arguments.next() {
        // Every option of every scenario has a value.
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option.to_owned(), value.to_owned()),
            None => (argument, arguments.next().unwrap_or_default()),
        };
        match named(&scenario, &option) {
            Some(name) => command.push_str(&format!(" {name}={value}")),
            None if matches!(option.as_str(), "--out" | "--commit") => {}
            None => others.push(format!("{option} {}", quoted(&value))),
        }
    }
    if !others.is_empty() {
        command.push_str(&format!(" ARGS=\"{}\"", others.join(" ")));
    }
    command
}

fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.,".contains(c);
    match !value.is_empty() && value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("'{value}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_command_that_was_asked_and_not_where_its_results_went() {
        for (arguments, wanted) in [
            (vec!["campaign"], "make bench"),
            (
                vec![
                    "campaign",
                    "--devices",
                    "1000,10000",
                    "--rounds=5",
                    "--latency-ms",
                    "50",
                    "--out",
                    "/there",
                ],
                "make bench DEVICES=1000,10000 ROUNDS=5 LATENCY_MS=50",
            ),
            (
                vec![
                    "api",
                    "--devices",
                    "200000",
                    "--campaigns",
                    "1",
                    "--commit",
                    "abc",
                ],
                "make bench-api DEVICES=200000 ARGS=\"--campaigns 1\"",
            ),
            (
                vec!["pacing", "--latency-ms", "5", "--worker", "windows_in_flight = 8"],
                "make bench-pacing ARGS=\"--latency-ms 5 --worker 'windows_in_flight = 8'\"",
            ),
        ] {
            assert_eq!(command(arguments.into_iter().map(str::to_owned)), wanted);
        }
    }
}
