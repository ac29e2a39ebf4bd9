//! jraze-apiserver
