//! jraze-openapi
