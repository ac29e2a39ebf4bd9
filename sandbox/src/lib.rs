//! jraze-sandbox
