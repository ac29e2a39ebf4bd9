//! What no honest client sends. Every line of `corpus/hostile.ndjson` goes to a real server, which must
//! answer each with an envelope and none with a 5xx, quickly, without a panic, and without growing.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jraze_tests::stack::Roles;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CORPUS: &str = include_str!("../corpus/hostile.ndjson");

/// Of a hundred answers to hostile requests, 99 come within this.
const SLOWEST: Duration = Duration::from_millis(100);
/// How much more memory the server may hold after all of it than after the first half of it.
const GROWTH: u64 = 32 << 20;

/// One request of the corpus; `generate.py` says what the fields are.
struct Case {
    name: String,
    bytes: Vec<u8>,
    is_http: bool,
}

/// A text of which each character is one byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

fn body(case: &Value) -> Option<Vec<u8>> {
    let body = case.get("body")?;
    if let Some(hex) = body["hex"].as_str() {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        return Some((0..hex.len()).step_by(2).map(byte).collect());
    }
    let pieces = body["pieces"].as_array().unwrap();
    let piece = |piece: &Value| {
        let times = usize::try_from(piece[1].as_u64().unwrap()).unwrap();
        latin1(piece[0].as_str().unwrap()).repeat(times)
    };
    Some(pieces.iter().flat_map(piece).collect())
}

fn case(line: &str, keys: &Value, draft: &str) -> Case {
    let case: Value = serde_json::from_str(line).unwrap();
    let text = |field: &str| case[field].as_str().unwrap();
    let target = text("target").replace("{draft}", draft);
    let mut bytes = latin1(&format!(
        "{} {target} HTTP/1.1\r\nHost: jraze\r\n",
        text("method")
    ));
    bytes.extend(b"Connection: close\r\n");
    match text("key") {
        "none" => {}
        "internal" => {
            bytes.extend(format!("X-Server-Key: {}\r\n", keys["internal"].as_str().unwrap()).bytes());
        }
        kind @ ("server" | "client") => {
            bytes.extend(format!("X-Api-Key: {}\r\n", keys[kind].as_str().unwrap()).bytes());
        }
        other => bytes.extend(latin1(&format!("X-Api-Key: {other}\r\n"))),
    }
    for header in case["headers"].as_array().unwrap() {
        bytes.extend(latin1(&format!(
            "{}: {}\r\n",
            header[0].as_str().unwrap(),
            header[1].as_str().unwrap()
        )));
    }
    match body(&case) {
        Some(body) if case["chunked"] == true => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(777) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        }
        Some(body) => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
        }
        None => bytes.extend(b"\r\n"),
    }
    Case {
        name: text("name").to_owned(),
        bytes,
        is_http: case["http"] != false,
    }
}

/// Sends the bytes, however much of them is taken, and reads until the server hangs up.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut from, mut to) = stream.into_split();
    let mut answer = Vec::new();
    let both = async {
        // A server that refuses early stops reading; that is no failure.
        let (_, read) = tokio::join!(to.write_all(bytes), from.read_to_end(&mut answer));
        read
    };
    let read = tokio::time::timeout(Duration::from_secs(20), both).await;
    match read.context("no end of the answer within 20 s")? {
        // What was sent in vain may cost the end of the connection, but not the answer.
        Err(error) if answer.is_empty() => Err(error.into()),
        _ => Ok(answer),
    }
}

/// Status and envelope.
fn envelope(answer: &[u8]) -> Result<(u16, Value)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.context("no head")? + 4);
    let head = String::from_utf8(head.to_vec())?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    ensure!(head.contains("\r\nx-request-id: "), "no request id: {head}");
    let body: Value = serde_json::from_slice(body)
        .with_context(|| format!("{status}: {}", String::from_utf8_lossy(body)))?;
    for field in ["success", "result", "reason"] {
        ensure!(body.get(field).is_some(), "{status} without {field}: {body}");
    }
    ensure!(body["success"] == (status < 300), "{status}: {body}");
    ensure!(
        status < 300 || body["error"]["code"].is_string(),
        "{status} without a code: {body}"
    );
    Ok((status, body))
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}

#[tokio::test]
async fn hostile_requests_get_envelopes_and_leave_no_trace() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let stack = Roles::start("hostile").await?;
    let api = stack.api("server");
    let device = json!({"external_id": "victim", "push_token": "t", "send_platform": 1});
    api.call(Method::PUT, "/devices", Some(&device)).await?.result()?;
    let draft = json!({"title": "a", "body": "b"});
    let address: SocketAddr = stack.api_url.trim_start_matches("http://").parse()?;

    let (mut times, mut memory, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0;
    for round in 0..2 {
        let made = api
            .call(Method::POST, "/notifications", Some(&draft))
            .await?
            .result()?;
        let draft = made["uuid"].as_str().context("no uuid")?;
        for line in CORPUS.lines() {
            let case = case(line, &stack.keys, draft);
            count += 1;
            let started = Instant::now();
            let answer = exchange(address, &case.bytes).await;
            times.push(started.elapsed());
            let verdict = match (answer, case.is_http) {
                (Ok(answer), true) => envelope(&answer).and_then(|(status, body)| {
                    ensure!(status < 500, "{status}: {body}");
                    Ok(())
                }),
                (Err(error), true) => Err(error),
                // Without HTTP there is nobody to answer; but nothing of ours may have failed.
                (Ok(answer), false) if answer.starts_with(b"HTTP/1.1 5") => {
                    Err(anyhow::anyhow!("{}", String::from_utf8_lossy(&answer)))
                }
                (_, false) => Ok(()),
            };
            if let Err(error) = verdict {
                failures.push(format!("{}: {error:#}", case.name));
            }
        }
        memory.push(
            stack
                .apiserver
                .peak_memory()
                .with_context(|| format!("round {round}"))?,
        );
    }
    let slow = percentile(&mut times, 99);
    let log = stack.apiserver.output();
    println!(
        "{count} requests; p50 {:?}, p99 {slow:?}, slowest {:?}; peak memory {} MiB, then {} MiB",
        percentile(&mut times, 50),
        times.last(),
        memory[0] >> 20,
        memory[1] >> 20,
    );
    ensure!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    ensure!(!log.contains("panicked"), "a panic:\n{log}");
    ensure!(
        !log.contains("\"level\":\"ERROR\""),
        "an error in the log:\n{log}"
    );
    ensure!(slow <= SLOWEST, "p99 is {slow:?}");
    ensure!(
        memory[1] <= memory[0] + GROWTH,
        "the server's memory grew from {} to {} bytes",
        memory[0],
        memory[1]
    );
    stack.stop().await
}

/// How long the answers to a request took that is asked again and again, all 200.
async fn times_of(address: SocketAddr, request: &str, span: Duration) -> Result<Vec<Duration>> {
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < span {
        let asked = Instant::now();
        let (status, body) = envelope(&exchange(address, request.as_bytes()).await?)?;
        times.push(asked.elapsed());
        ensure!(status == 200, "{status}: {body}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(times)
}

#[tokio::test]
async fn a_thousand_half_open_heads_are_closed_in_ten_seconds_and_slow_nobody_down() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let stack = Roles::start("half_open").await?;
    let address: SocketAddr = stack.api_url.trim_start_matches("http://").parse()?;
    let key = stack.keys["server"].as_str().context("no key")?.to_owned();
    let request = format!(
        "GET /notifications HTTP/1.1\r\nHost: jraze\r\nConnection: close\r\nX-Api-Key: {key}\r\n\r\n"
    );
    let mut alone = times_of(address, &request, Duration::from_secs(2)).await?;
    let opening = Instant::now();
    let mut closed = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /notifications HTTP/1.1\r\nHost: jraze\r\nX-Slow: ")
            .await?;
        closed.spawn(async move {
            let opened = Instant::now();
            let mut rest = Vec::new();
            // A reset is an end as well.
            stream.read_to_end(&mut rest).await.ok();
            opened.elapsed()
        });
    }
    let opening = opening.elapsed();
    let mut beside = times_of(address, &request, Duration::from_secs(5)).await?;
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    while let Some(took) = closed.join_next().await {
        let took = took?;
        (first, last) = (first.min(took), last.max(took));
    }
    let [before, median] = [&mut alone, &mut beside].map(|times| percentile(times, 50));
    let slowest = beside.last().context("nothing was asked")?;
    println!(
        "opened in {opening:?}, closed after {first:?} to {last:?}; others: half within {median:?} ({before:?} before), \
         all {} within {slowest:?}",
        beside.len()
    );
    // The median and not a tail: what the machine does beside the test is not the heads' doing.
    ensure!(
        median < before * 2 + Duration::from_millis(10),
        "half of the other requests took {median:?}, and {before:?} before"
    );
    // Who had to wait for the heads would wait until they are closed.
    ensure!(
        *slowest < Duration::from_secs(4),
        "one of the other requests took {slowest:?}"
    );
    ensure!(
        opening < Duration::from_secs(1),
        "it took {opening:?} until all heads had a connection"
    );
    ensure!(first >= Duration::from_secs(5), "a head was given only {first:?}");
    ensure!(last <= Duration::from_secs(10), "one was open for {last:?}");
    stack.stop().await
}
