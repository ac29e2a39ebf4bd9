//! What the workers report.

use poem_openapi::{OpenApi, param::Path};

use super::{Tag, notification_example};
use crate::{
    answer::{Changes, Reply, answer},
    body::Body,
    dto::{ApiError, LogNotification, LoggedDevices, SentCounts, SentIncrease},
    security::InternalCaller,
};

/// What the server does for the workers.
pub trait InternalPort: Send + Sync + 'static {
    /// Logs that a notification went to devices.
    fn log_notification(
        &self,
        caller: InternalCaller,
        log: LogNotification,
    ) -> impl Future<Output = Result<LoggedDevices, ApiError>> + Send;

    /// Raises a notification's counts.
    fn increase_sent(
        &self,
        caller: InternalCaller,
        notification_uuid: String,
        increase: SentIncrease,
    ) -> impl Future<Output = Result<SentCounts, ApiError>> + Send;
}

/// The internal operations over their port.
pub struct InternalApi<P>(pub P);

#[OpenApi(tag = "Tag::Internal")]
impl<P: InternalPort> InternalApi<P> {
    /// Log a notification to devices
    ///
    /// Answers the number of devices of the request. A batch that was already logged changes
    /// nothing and answers the same.
    #[oai(
        path = "/internal/devices/logs/notification%3Aadd",
        method = "post",
        operation_id = "log_notification"
    )]
    async fn log_notification(
        &self,
        caller: InternalCaller,
        log: Body<LogNotification>,
    ) -> Reply<LoggedDevices, Changes> {
        answer(self.0.log_notification(caller, log.0).await)
    }

    /// Raise the sent counts
    ///
    /// Answers the counts after the increase. A batch that was already applied changes nothing;
    /// without a batch id each call counts.
    #[oai(
        path = "/internal/notifications/:notification_uuid/sent%3Aincrease",
        method = "post",
        operation_id = "increase_sent"
    )]
    async fn increase_sent(
        &self,
        caller: InternalCaller,
        /// The notification's uuid.
        #[oai(example = "notification_example")]
        notification_uuid: Path<String>,
        increase: Body<SentIncrease>,
    ) -> Reply<SentCounts, Changes> {
        answer(
            self.0
                .increase_sent(caller, notification_uuid.0, increase.0)
                .await,
        )
    }
}
