//! Health.

use jraze_openapi::{
    api::HealthPort,
    dto::{ApiError, Health},
};
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::Store;

use crate::convert::error;

/// The port.
pub(crate) struct Port {
    pub(crate) store: Store,
    pub(crate) lifecycle: Lifecycle,
}

impl HealthPort for Port {
    async fn live(&self) -> Result<Health, ApiError> {
        Ok(well())
    }

    async fn ready(&self) -> Result<Health, ApiError> {
        if self.lifecycle.stopping().is_cancelled() {
            return Err(ApiError::unavailable("the server is stopping"));
        }
        self.store
            .ping()
            .await
            .map_err(|failure| error::storage(&failure))?;
        Ok(well())
    }
}

fn well() -> Health {
    Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
