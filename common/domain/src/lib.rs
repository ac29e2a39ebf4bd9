//! jraze-domain

pub mod audience;
pub mod device;
pub mod keys;
pub mod number;
pub mod property;
pub mod campaign;
pub mod dispatch;
pub mod ids;
pub mod message;
