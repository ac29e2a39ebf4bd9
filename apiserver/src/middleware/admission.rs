//! Who may pass, with how much, and for how long. One table, by operation.
//!
//! The order is the point: the key is judged before a byte of the body is read, the body's size
//! before it is parsed. All of it runs in a task of its own, so that a client that goes away does not
//! tear a database operation in two, and a panic stays inside.
//!
//! To add an operation: its row in [`rule`]. A test walks the document and wants a row for each.

use std::{sync::Arc, time::Duration};

use jraze_domain::{ids::AppId, keys::Scope};
use jraze_openapi::{
    dto::ApiError,
    paths::{Around, Operation},
    security::{Caller, InternalCaller},
};
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::idempotency::RequestName;
use poem::{
    Endpoint, EndpointExt, Request, Response,
    endpoint::{BoxEndpoint, make},
    error::ReadBodyError,
    http::Method,
};
use tracing::Instrument as _;

use crate::{
    auth::Authenticator,
    middleware::{
        envelope::log_panic,
        idempotency::{self, Idempotency},
    },
    settings::Settings,
};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Open,
    /// A key with this scope, but no client key.
    Key(Scope),
    /// A key with this scope; a client key for its own device, which the port checks.
    KeyOrDevice(Scope),
    /// An internal key in `X-Server-Key`.
    Internal,
}

/// How much of a body an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Plain,
    Bulk,
    /// The operation reads it piece by piece and bounds it itself.
    Stream,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    access: Access,
    size: Size,
    /// Whether it may be repeated under an `Idempotency-Key`.
    repeatable: bool,
}

/// THE TABLE. `None` for an operation that nobody thought about; it is then refused.
fn rule(operation: &str) -> Option<Rule> {
    use Access::{Internal, Key, KeyOrDevice, Open};
    use Scope as S;
    use Size::{Bulk, Plain, Stream};
    let (access, size) = match operation {
        "health_live" | "health_ready" => (Open, Plain),
        "put_device" | "put_device_slash" | "add_device_properties" => (KeyOrDevice(S::DevicesWrite), Plain),
        "get_device" => (KeyOrDevice(S::DevicesRead), Plain),
        "delete_device" | "rotate_device_secret" => (Key(S::DevicesWrite), Plain),
        "list_device_notifications" | "list_properties" => (Key(S::DevicesRead), Plain),
        "search_devices" => (Key(S::DevicesRead), Bulk),
        "import_devices" => (Key(S::DevicesWrite), Stream),
        "export_devices" => (Key(S::DevicesRead), Stream),
        "get_notification" | "list_notifications" => (Key(S::NotificationsRead), Plain),
        // Launching, pausing and the rest ask for one scope more; the port knows which.
        "create_notification"
        | "edit_notification"
        | "withdraw_notification"
        | "change_notification_status" => (Key(S::NotificationsWrite), Plain),
        "launch_notification" => (Key(S::NotificationsLaunch), Plain),
        "log_notification" | "increase_sent" => (Internal, Bulk),
        _ => return None,
    };
    // What makes something of which there would be two, or answers differently the second time.
    let repeatable = matches!(
        operation,
        "create_notification" | "launch_notification" | "import_devices"
    );
    Some(Rule {
        access,
        size,
        repeatable,
    })
}

/// What admission needs to know.
pub(crate) struct Admission {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) idempotency: Arc<Idempotency>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) limits: Limits,
}

/// Sizes in bytes, and times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    plain: usize,
    bulk: usize,
    body_timeout: Duration,
    answer_timeout: Duration,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            plain: settings.body_limit,
            bulk: settings.bulk_body_limit,
            body_timeout: settings.body_timeout.get(),
            answer_timeout: settings.answer_timeout.get(),
        }
    }
}

impl Around for Admission {
    fn around(&self, operation: Operation, endpoint: BoxEndpoint<'static>) -> BoxEndpoint<'static> {
        let endpoint: Arc<BoxEndpoint<'static>> = Arc::new(endpoint);
        let rule = rule(operation.id);
        let authenticator = Arc::clone(&self.authenticator);
        let idempotency = Arc::clone(&self.idempotency);
        let lifecycle = self.lifecycle.clone();
        let limits = self.limits;
        make(move |request: Request| {
            let endpoint = Arc::clone(&endpoint);
            let authenticator = Arc::clone(&authenticator);
            let idempotency = Arc::clone(&idempotency);
            let lifecycle = lifecycle.clone();
            let name = operation.id;
            async move {
                tracing::Span::current().record("operation", name);
                let rule = rule.ok_or_else(ApiError::forbidden)?;
                let work = async move {
                    let app = admit(rule.access, &request, &authenticator).await?;
                    let key = if rule.repeatable {
                        idempotency::key(&request)?
                    } else {
                        None
                    };
                    let request = receive(request, rule.size, limits).await?;
                    let (Some(app), Some(key)) = (app, key) else {
                        return endpoint.call(request).await;
                    };
                    let name = RequestName {
                        app,
                        operation: name,
                        key: &key,
                    };
                    let streamed = rule.size == Size::Stream;
                    idempotency.carry_out(name, request, streamed, &endpoint).await
                };
                let deadline = limits.body_timeout + limits.answer_timeout;
                let deadline = (rule.size != Size::Stream).then_some(deadline);
                in_a_task(work, deadline, &lifecycle).await
            }
        })
        .map_to_response()
        .boxed()
    }
}

/// The app of a caller who may pass; none where the operation belongs to none.
async fn admit(
    access: Access,
    request: &Request,
    authenticator: &Authenticator,
) -> Result<Option<AppId>, ApiError> {
    let principal = match access {
        Access::Open => return Ok(None),
        Access::Internal => {
            authenticator
                .internal(&InternalCaller::from_headers(request.headers()))
                .await?
        }
        Access::Key(scope) | Access::KeyOrDevice(scope) => {
            let caller = Caller::from_headers(request.headers());
            let principal = authenticator.caller(&caller).await?;
            principal.require(scope)?;
            if matches!(access, Access::Key(_)) {
                principal.refuse_client_keys()?;
            }
            principal
        }
    };
    let span = tracing::Span::current();
    span.record("key", principal.key_id.as_str());
    if let Some(app) = principal.app {
        span.record("app", app.0);
    }
    Ok(principal.app)
}

/// Reads the body, unless the operation does so itself.
async fn receive(mut request: Request, size: Size, limits: Limits) -> Result<Request, ApiError> {
    let limit = match size {
        Size::Plain => limits.plain,
        Size::Bulk => limits.bulk,
        Size::Stream => return Ok(request),
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(request); // a body on these means nothing and is not read
    }
    let announced = request
        .header("content-length")
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::payload_too_large(limit as u64));
    }
    let body = request.take_body().into_bytes_limit(limit);
    let bytes = match tokio::time::timeout(limits.body_timeout, body).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => {
            return Err(ApiError::payload_too_large(limit as u64));
        }
        Ok(Err(_)) => return Err(ApiError::bad_request("unreadable_body", "the body broke off")),
        Err(_) => return Err(ApiError::request_timeout()),
    };
    request.set_body(bytes);
    Ok(request)
}

async fn in_a_task(
    work: impl Future<Output = poem::Result<Response>> + Send + 'static,
    deadline: Option<Duration>,
    lifecycle: &Lifecycle,
) -> poem::Result<Response> {
    let task = lifecycle.spawn(work.in_current_span());
    let finished = match deadline {
        Some(deadline) => tokio::time::timeout(deadline, task).await.map_err(|_| {
            tracing::warn!("a handler works beyond its time");
            ApiError::unavailable("the answer takes too long; the work goes on")
        })?,
        None => task.await,
    };
    match finished {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(ApiError::unavailable("the server is stopping").into()),
        Err(error) => {
            if let Ok(panic) = error.try_into_panic() {
                log_panic(panic.as_ref());
            }
            Err(ApiError::internal().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_document_has_a_rule_that_fits_its_declaration() {
        for operation in jraze_openapi::spec::operations() {
            let rule = rule(operation.id).unwrap_or_else(|| panic!("no rule: {}", operation.id));
            let expected: &[&str] = match rule.access {
                Access::Open => &[],
                Access::Internal => &["ServerKey"],
                Access::Key(_) | Access::KeyOrDevice(_) => &["ApiKey", "Bearer"],
            };
            assert_eq!(operation.security, expected, "{}", operation.id);
            let internal = operation.path.starts_with("/internal/");
            assert_eq!(rule.access == Access::Internal, internal, "{}", operation.id);
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_stays_inside() {
        let work = async { panic!("a defect") };
        let error = in_a_task(work, None, &Lifecycle::new()).await.unwrap_err();
        assert_eq!(ApiError::from_framework(&error).code, "internal_error");
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_beyond_its_deadline_and_beyond_its_caller() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
        let work = |sender: tokio::sync::mpsc::Sender<()>| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            sender.send(()).await.unwrap();
            Ok(Response::default())
        };
        let lifecycle = Lifecycle::new();
        let deadline = Some(Duration::from_secs(1));
        let error = in_a_task(work(sender.clone()), deadline, &lifecycle)
            .await
            .unwrap_err();
        assert_eq!(ApiError::from_framework(&error).code, "unavailable");
        let caller = in_a_task(work(sender), None, &lifecycle);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), caller)
                .await
                .is_err()
        );
        assert_eq!(receiver.recv().await, Some(()));
        assert_eq!(receiver.recv().await, Some(()));
    }

    #[test]
    fn an_operation_without_a_rule_is_refused() {
        assert!(rule("something_new").is_none());
    }
}
