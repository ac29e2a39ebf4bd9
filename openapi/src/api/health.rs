//! Health.

use poem_openapi::OpenApi;

use super::Tag;
use crate::{
    answer::{Plain, Reply, answer},
    dto::{ApiError, Health},
};

/// What the server knows about itself.
pub trait HealthPort: Send + Sync + 'static {
    /// The process runs.
    fn live(&self) -> impl Future<Output = Result<Health, ApiError>> + Send;

    /// Requests can be served: the database answers and the server is not stopping.
    fn ready(&self) -> impl Future<Output = Result<Health, ApiError>> + Send;
}

/// The health operations over their port.
pub struct HealthApi<P>(pub P);

#[OpenApi(tag = "Tag::Health")]
impl<P: HealthPort> HealthApi<P> {
    /// Is the process alive?
    ///
    /// When this fails, start it again.
    #[oai(path = "/health/live", method = "get", operation_id = "health_live")]
    async fn live(&self) -> Reply<Health, Plain> {
        answer(self.0.live().await)
    }

    /// Can it serve requests?
    ///
    /// When this fails, send it no requests.
    #[oai(path = "/health/ready", method = "get", operation_id = "health_ready")]
    async fn ready(&self) -> Reply<Health, Plain> {
        answer(self.0.ready().await)
    }
}
