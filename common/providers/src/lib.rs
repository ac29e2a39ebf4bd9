//! jraze-providers
