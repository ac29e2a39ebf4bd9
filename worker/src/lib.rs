//! jraze-worker
