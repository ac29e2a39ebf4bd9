//! jraze-result-worker
