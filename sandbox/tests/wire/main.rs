//! The sandbox as a client sees it: real TLS and HTTP/2 over loopback, one test for each rule.

mod apns;
mod control;
mod fcm;
mod load;
mod script;
mod support;
