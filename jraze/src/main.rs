//! `jraze`: the one binary. Everything's front door, no logic.
//!
//! [`cli`] says which commands exist; each of them is one file in [`commands`]. The roles live in
//! their own crates and are only wired here; the commands that talk to a server do so through
//! [`client`], like anybody else.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly failed (some lines of an import were
//! rejected).

mod cli;
mod client;
mod commands;
mod database;
mod dev;
#[cfg(feature = "failpoints")]
mod failpoints;
mod import;
mod internal_key;
mod output;
mod random;
mod settings;
mod wiring;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::{cli::Cli, commands::Done};

/// A send makes and drops a handful of small things, on another thread each time; this allocator takes half
/// as long for that as the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "failpoints")]
    if let Err(error) = failpoints::obey() {
        let _ = writeln!(std::io::stderr(), "jraze: {error:#}");
        return ExitCode::from(1);
    }
    // More than one provider is in the tree; libraries that take the process's default get this.
    // It can only fail when one was installed before, and nothing ran before.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the runtime")),
    };
    match outcome {
        Ok(Done::Fully) => ExitCode::SUCCESS,
        Ok(Done::Failed) => ExitCode::from(1),
        Ok(Done::Partly) => ExitCode::from(3),
        Err(error) => {
            let mut text = format!("jraze: {error}");
            for cause in error.chain().skip(1) {
                let cause = cause.to_string();
                // Many libraries repeat their source in their own text.
                if !text.contains(&cause) {
                    text.push_str(&format!("\n  because: {cause}"));
                }
            }
            // Nobody is left to be told when standard error is gone.
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::from(1)
        }
    }
}
