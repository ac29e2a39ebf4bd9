//! Notifications.

use std::sync::Arc;

use jraze_domain::{campaign::Event, keys::Scope};
use jraze_openapi::{
    api::{ListQuery, NotificationsPort, Once},
    dto::{
        ApiError, Launch, Notification, NotificationDraft, NotificationStatus, NotificationStatusChange,
        Paged,
    },
    security::{Caller, RequestIdentity},
};
use jraze_storage::notifications::NotificationOrder;
use uuid::Uuid;

use crate::{
    auth::Authenticator,
    convert::{self, error, notification, reach},
    services::notifications::{Notifications, Seen},
};

/// The port.
pub(crate) struct Port {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) notifications: Notifications,
}

impl NotificationsPort for Port {
    async fn create(&self, caller: Caller, draft: NotificationDraft) -> Result<Once<Notification>, ApiError> {
        let identity = identity(&caller);
        let app = self.authenticator.app(caller).await?;
        let draft = notification::draft(draft)?;
        let created = self.notifications.create(app, &draft, identity).await;
        Ok(once(created.map_err(error::service)?))
    }

    async fn get(&self, caller: Caller, which: String) -> Result<Notification, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let which = notification::reference(&which)?;
        let seen = self.notifications.get(app, which).await.map_err(error::service)?;
        Ok(notification::show(seen))
    }

    async fn list(
        &self,
        caller: Caller,
        status: Option<NotificationStatus>,
        list: ListQuery,
    ) -> Result<Paged<Notification>, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let (start, size) = convert::page_bounds(Some(list.start), Some(list.size))?;
        let fields = NotificationOrder::FIELDS;
        let order = convert::order(&list.order_bys, &fields, NotificationOrder::parse)?;
        let status = status.map(notification::status);
        let page = self.notifications.list(app, status, &order, start, size).await;
        let (seen, total) = page.map_err(error::service)?;
        Ok(convert::paged(seen, total, start, size, notification::show))
    }

    async fn edit(
        &self,
        caller: Caller,
        which: String,
        draft: NotificationDraft,
    ) -> Result<Notification, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let which = notification::reference(&which)?;
        let draft = notification::draft(draft)?;
        let seen = self
            .notifications
            .edit(app, which, &draft)
            .await
            .map_err(error::service)?;
        Ok(notification::show(seen))
    }

    async fn withdraw(&self, caller: Caller, which: String) -> Result<Notification, ApiError> {
        self.make(caller, which, Event::Withdraw).await
    }

    async fn launch(
        &self,
        caller: Caller,
        which: String,
        launch: Launch,
    ) -> Result<Once<Notification>, ApiError> {
        let identity = identity(&caller);
        let app = self.authenticator.app(caller).await?;
        let which = notification::reference(&which)?;
        let expected = reach::expected(launch)?;
        let launched = self.notifications.launch(app, which, identity, expected).await;
        Ok(once(launched.map_err(error::service)?))
    }

    async fn change_status(
        &self,
        caller: Caller,
        which: String,
        change: NotificationStatusChange,
    ) -> Result<Notification, ApiError> {
        let principal = self.authenticator.caller(&caller).await?;
        let app = self.authenticator.app(caller).await?;
        let which = notification::reference(&which)?;
        let wanted = notification::status(change.status);
        let event = self.notifications.event_towards(app, which, wanted).await;
        let event = event.map_err(error::service)?;
        // Admission asked for the scope to write; everything but withdrawing asks for more.
        if event != Event::Withdraw {
            principal.require(Scope::NotificationsLaunch)?;
        }
        let seen = self.notifications.transition(app, which, event).await;
        Ok(notification::show(seen.map_err(error::service)?))
    }
}

impl Port {
    async fn make(&self, caller: Caller, which: String, event: Event) -> Result<Notification, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let which = notification::reference(&which)?;
        let seen = self.notifications.transition(app, which, event).await;
        Ok(notification::show(seen.map_err(error::service)?))
    }
}

fn identity(caller: &Caller) -> Option<Uuid> {
    caller
        .identity
        .map(|RequestIdentity(bytes)| Uuid::from_bytes(bytes))
}

fn once((seen, replayed): (Seen, bool)) -> Once<Notification> {
    Once {
        result: notification::show(seen),
        replayed,
    }
}
