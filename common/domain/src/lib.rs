//! jraze-domain

pub mod audience;
pub mod campaign;
pub mod device;
pub mod dispatch;
pub mod ids;
pub mod keys;
pub mod message;
pub mod number;
pub mod property;
