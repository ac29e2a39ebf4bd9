//! jraze-tests
