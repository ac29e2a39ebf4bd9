//! jraze-storage
