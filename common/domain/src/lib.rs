//! jraze-domain
