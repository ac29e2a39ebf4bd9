//! What an operator can set. The doc comments are the reference of the configuration.

use jraze_runtime::config::HumanDuration;
use schemars::JsonSchema;
use serde::Deserialize;

/// The API server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port to listen on. Port 0 takes any free one.
    pub listen: String,
    /// Most connections open at the same time; further ones wait until one closes.
    pub max_connections: usize,
    /// How long a connection may take to send a request's head. Also how long a connection may
    /// stay open between two requests. Short, because a client that sends heads slowly on purpose
    /// holds a connection that long at no cost.
    pub header_timeout: HumanDuration,
    /// How long a request's body may take to arrive. For an import: how long it may pause.
    pub body_timeout: HumanDuration,
    /// How long a request may take to be answered, besides the time of its body. The work goes on
    /// when the time is over; only the answer is 503. Imports and exports are exempt.
    pub answer_timeout: HumanDuration,
    /// Largest body of most requests, in bytes.
    pub body_limit: usize,
    /// Largest body of a search and of what the workers report, in bytes.
    pub bulk_body_limit: usize,
    /// Longest line of an import, in bytes. An import may have any number of lines.
    pub import_line_limit: usize,
    /// Whether registrations and changes of properties that arrive at the same moment are written
    /// together. Without it each is written by itself: a millisecond or two sooner when nobody else
    /// asks, and at several times the cost when many do.
    pub gather_writes: bool,
    /// How often to look for campaigns whose time has come.
    pub planner_interval: HumanDuration,
    /// How long one planner holds a campaign; another takes over after that.
    pub planner_lease: HumanDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            max_connections: 4096,
            header_timeout: HumanDuration::from_secs(8),
            body_timeout: HumanDuration::from_secs(15),
            answer_timeout: HumanDuration::from_secs(30),
            body_limit: 64 << 10,
            bulk_body_limit: 1 << 20,
            import_line_limit: 64 << 10,
            gather_writes: true,
            planner_interval: HumanDuration::from_millis(200),
            planner_lease: HumanDuration::from_secs(30),
        }
    }
}
