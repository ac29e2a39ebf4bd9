//! Notifications.

use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};

use super::{ListQuery, Once, Tag, notification_example};
use crate::{
    answer::{Acts, Lists, Moves, MovesOnce, OnceAnswer, Reads, Refused, Reply, WritesOnce, answer, once},
    body::{Body, OptionalBody},
    dto::{
        ApiError, Launch, Notification, NotificationDraft, NotificationStatus, NotificationStatusChange,
        Paged,
    },
    security::Caller,
};

/// What the server does for the notification operations. A notification is named by its uuid or by
/// its sequential number; telling them apart is the port's work.
pub trait NotificationsPort: Send + Sync + 'static {
    /// Writes a draft, once for each identity of the caller's request.
    fn create(
        &self,
        caller: Caller,
        draft: NotificationDraft,
    ) -> impl Future<Output = Result<Once<Notification>, ApiError>> + Send;

    /// The notification of this name.
    fn get(
        &self,
        caller: Caller,
        notification_id: String,
    ) -> impl Future<Output = Result<Notification, ApiError>> + Send;

    /// The notifications of the app; only those that stand so, where a status is given.
    fn list(
        &self,
        caller: Caller,
        status: Option<NotificationStatus>,
        list: ListQuery,
    ) -> impl Future<Output = Result<Paged<Notification>, ApiError>> + Send;

    /// Replaces a draft.
    fn edit(
        &self,
        caller: Caller,
        notification_id: String,
        draft: NotificationDraft,
    ) -> impl Future<Output = Result<Notification, ApiError>> + Send;

    /// Withdraws what has not begun.
    fn withdraw(
        &self,
        caller: Caller,
        notification_id: String,
    ) -> impl Future<Output = Result<Notification, ApiError>> + Send;

    /// Launches a draft, once for each identity of the caller's request.
    fn launch(
        &self,
        caller: Caller,
        notification_id: String,
        launch: Launch,
    ) -> impl Future<Output = Result<Once<Notification>, ApiError>> + Send;

    /// Moves it to another status, as far as a person may.
    fn change_status(
        &self,
        caller: Caller,
        notification_id: String,
        change: NotificationStatusChange,
    ) -> impl Future<Output = Result<Notification, ApiError>> + Send;
}

/// The notification operations over their port.
pub struct NotificationsApi<P>(pub P);

#[OpenApi(tag = "Tag::Notifications")]
impl<P: NotificationsPort> NotificationsApi<P> {
    /// Write a draft
    ///
    /// Nothing is sent until it is launched. With an `Idempotency-Key` it may be sent again when no
    /// answer was heard: there will be one draft, and the second answer is the first one's.
    #[oai(
        path = "/notifications",
        method = "post",
        operation_id = "create_notification",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "1 to 255 visible ASCII characters that name this request, so that it can be sent again; see the beginning of this document."
        )
    )]
    async fn create(
        &self,
        caller: Caller,
        draft: Body<NotificationDraft>,
    ) -> Result<OnceAnswer<Notification>, Refused<WritesOnce>> {
        once(self.0.create(caller, draft.0).await)
    }

    /// List notifications
    ///
    /// Newest first unless asked otherwise.
    #[oai(path = "/notifications", method = "get", operation_id = "list_notifications")]
    async fn list(
        &self,
        caller: Caller,
        /// Only those that stand so.
        status: Query<Option<NotificationStatus>>,
        /// The order, separated by commas: `id`, `created_at`, `modified_at`, `scheduled_at`, with
        /// `-` in front for descending.
        order_bys: Query<Option<String>>,
        /// How many at most; 20 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        size: Query<Option<u64>>,
        /// How many to leave out; 0 when absent.
        start: Query<Option<u64>>,
    ) -> Reply<Vec<Notification>, Lists> {
        let list = ListQuery::new(order_bys.0, size.0, start.0);
        answer(self.0.list(caller, status.0, list).await)
    }

    /// Read a notification
    #[oai(
        path = "/notifications/:notification_id",
        method = "get",
        operation_id = "get_notification"
    )]
    async fn get(
        &self,
        caller: Caller,
        /// Its uuid, or its sequential number.
        #[oai(example = "notification_example")]
        notification_id: Path<String>,
    ) -> Reply<Notification, Reads> {
        answer(self.0.get(caller, notification_id.0).await)
    }

    /// Edit a draft
    ///
    /// Replaces the whole draft; a field that is absent is emptied.
    #[oai(
        path = "/notifications/:notification_id",
        method = "put",
        operation_id = "edit_notification"
    )]
    async fn edit(
        &self,
        caller: Caller,
        /// Its uuid, or its sequential number.
        #[oai(example = "notification_example")]
        notification_id: Path<String>,
        draft: Body<NotificationDraft>,
    ) -> Reply<Notification, Moves> {
        answer(self.0.edit(caller, notification_id.0, draft.0).await)
    }

    /// Withdraw a draft
    ///
    /// Also works for one that is queued. Its status becomes 4 (deleted).
    #[oai(
        path = "/notifications/:notification_id",
        method = "delete",
        operation_id = "withdraw_notification"
    )]
    async fn withdraw(
        &self,
        caller: Caller,
        /// Its uuid, or its sequential number.
        #[oai(example = "notification_example")]
        notification_id: Path<String>,
    ) -> Reply<Notification, Acts> {
        answer(self.0.withdraw(caller, notification_id.0).await)
    }

    /// Launch a draft
    ///
    /// It becomes queued (5) and is sent at `scheduled_at`, or at once. A second launch is refused
    /// with 409, unless it carries the `Idempotency-Key` of the first: that one changes nothing and gets
    /// the first one's answer. The body may be left out; it may say how many devices you expect to
    /// reach, and then nothing is launched when the audience has moved away from that.
    #[oai(
        path = "/notifications/:notification_id/%3Alaunch",
        method = "post",
        operation_id = "launch_notification",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "1 to 255 visible ASCII characters that name this request, so that it can be sent again; see the beginning of this document."
        )
    )]
    async fn launch(
        &self,
        caller: Caller,
        /// Its uuid, or its sequential number.
        #[oai(example = "notification_example")]
        notification_id: Path<String>,
        launch: OptionalBody<Launch>,
    ) -> Result<OnceAnswer<Notification>, Refused<MovesOnce>> {
        let launch = launch.0.unwrap_or_default();
        once(self.0.launch(caller, notification_id.0, launch).await)
    }

    /// Change the status
    ///
    /// 5 launches a draft, 4 withdraws, 6 pauses, 1 resumes, 7 cancels. Anything else, and anything
    /// that its present status does not allow, is refused with 409 naming both.
    #[oai(
        path = "/notifications/:notification_id/status",
        method = "put",
        operation_id = "change_notification_status"
    )]
    async fn change_status(
        &self,
        caller: Caller,
        /// Its uuid, or its sequential number.
        #[oai(example = "notification_example")]
        notification_id: Path<String>,
        change: Body<NotificationStatusChange>,
    ) -> Reply<Notification, Moves> {
        answer(self.0.change_status(caller, notification_id.0, change.0).await)
    }
}
