//! Stopping at named points of the delivery protocol, for `make chaos`. Only in builds with the feature
//! `failpoints`.
//!
//! The variable `JRAZE_TEST_FAILPOINTS` names the address of a runner. This process connects to it, says who
//! it is (`JRAZE_TEST_FAILPOINTS_NAME`), and then does as it is told, a line each:
//!
//! ```text
//! runner:   arm <point> <passes>       stop at the point, after letting it pass so many times
//! process:  armed <point>
//! process:  hit <point>                the thread that came there stands still
//! runner:   go                         it goes on; the point does not stop anybody again until it is armed
//! runner:   set <point> <action>       an action of the crate `fail`, such as `return` or `off`
//! ```
//!
//! A new point is one line, `fail::fail_point!("name")`, in the crate that takes the step.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::Context as _;

/// A runner that is gone lets nobody stand still for ever.
const LONGEST_STOP: std::time::Duration = std::time::Duration::from_secs(120);

/// Connects to the runner, if there is one.
pub(crate) fn obey() -> anyhow::Result<()> {
    let Ok(address) = std::env::var("JRAZE_TEST_FAILPOINTS") else {
        return Ok(());
    };
    let name = std::env::var("JRAZE_TEST_FAILPOINTS_NAME").unwrap_or_default();
    let stream = TcpStream::connect(&address).with_context(|| format!("no runner at {address}"))?;
    stream.set_nodelay(true)?;
    let runner = Runner {
        writes: Arc::new(Mutex::new(stream.try_clone()?)),
        go: Arc::default(),
    };
    runner.say(&format!("hello {name} {}", std::process::id()));
    thread::Builder::new()
        .name("failpoints".to_owned())
        .spawn(move || runner.listen(stream))?;
    Ok(())
}

#[derive(Clone)]
struct Runner {
    writes: Arc<Mutex<TcpStream>>,
    /// Who stands still, to be told to go on.
    go: Arc<Mutex<Vec<mpsc::Sender<()>>>>,
}

impl Runner {
    fn say(&self, line: &str) {
        let mut writes = self
            .writes
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // A runner that is gone wants nothing any more.
        let _ = writes.write_all(format!("{line}\n").as_bytes());
    }

    fn listen(&self, stream: TcpStream) {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("arm"), Some(point), passes) => {
                    let passes = passes.and_then(|passes| passes.parse().ok()).unwrap_or(0);
                    self.arm(point, passes);
                }
                (Some("set"), Some(point), Some(action)) => {
                    let answer = match fail::cfg(point, action) {
                        Ok(()) => format!("armed {point}"),
                        Err(error) => format!("refused {error}"),
                    };
                    self.say(&answer);
                }
                (Some("go"), ..) => {
                    let mut waiting = self.go.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    for one in waiting.drain(..) {
                        let _ = one.send(());
                    }
                }
                _ => self.say(&format!("refused {line}")),
            }
        }
    }

    fn arm(&self, point: &str, passes: i64) {
        let (runner, left, name) = (self.clone(), AtomicI64::new(passes), point.to_owned());
        let stop = move || {
            // The one visit that counts; later ones pass.
            if left.fetch_sub(1, Ordering::SeqCst) == 0 {
                runner.stop_at(&name);
            }
        };
        let answer = match fail::cfg_callback(point, stop) {
            Ok(()) => format!("armed {point}"),
            Err(error) => format!("refused {error}"),
        };
        self.say(&answer);
    }

    fn stop_at(&self, point: &str) {
        let (sender, go_on) = mpsc::channel();
        self.go
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(sender);
        self.say(&format!("hit {point}"));
        let _ = go_on.recv_timeout(LONGEST_STOP);
    }
}
