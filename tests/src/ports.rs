//! Ports for servers of a test.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// A port for a server that is told it before it starts. It lies below those that the system gives to
/// connections that leave (from 32,768 on): one of these may be gone before the server listens. Each process
/// begins its search elsewhere, because tests run side by side.
///
/// # Errors
/// When a thousand are taken.
pub fn free_port() -> Result<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1_000 {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let step = std::process::id().wrapping_mul(97).wrapping_add(asked);
        let port = 10_000 + u16::try_from(step % 22_000)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free");
}
