//! Answers: the envelope around every result, and which failures an operation documents.
//!
//! An operation returns `Reply<T, E>`: `T` is the result (it must be [`Shown`], which gives the
//! envelope's component a legal name and an example), `E` is one of the failure sets below.

use std::marker::PhantomData;

use futures_util::stream::BoxStream;
use poem::{
    Body, IntoResponse, Response,
    http::{HeaderName, HeaderValue},
};
use poem_openapi::{
    ApiResponse,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{Example, Type},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::Once,
    dto::{
        ApiError, CatalogueEntry, DeletedDevice, Device, DeviceHistory, DeviceSecret, Health, ImportLine,
        ImportReport, LoggedDevices, Notification, Page, Paged, SentCounts, error::Failure,
    },
    security::IDEMPOTENT_REPLAYED_HEADER,
};

const JSON: &str = "application/json; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";

/// What an operation returns.
pub type Reply<T, E> = Result<Answer<T>, Refused<E>>;

/// The envelope, as a client reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Whether it worked.
    pub success: bool,
    /// The result of a success.
    pub result: Option<T>,
    /// What went wrong, for people.
    pub reason: Option<String>,
    /// What went wrong, for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<crate::dto::error::ErrorBody>,
    /// Where a list stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
}

/// A result that can be shown: its envelope has a name in the document, and an example.
pub trait Shown: Serialize + Send + 'static {
    /// The name of the envelope's component.
    const ENVELOPE: &'static str;
    /// What the answer is, in a line.
    const SUMMARY: &'static str;
    /// Whether `page` comes with it.
    const PAGED: bool = false;
    /// The schema of `result`.
    fn schema() -> MetaSchemaRef;
    /// Registers what the schema needs.
    fn register(registry: &mut Registry);
    /// An example of `result`.
    fn example() -> Value;
}

macro_rules! shown {
    ($($type:ty => $envelope:literal, $summary:literal;)+) => {$(
        impl Shown for $type {
            const ENVELOPE: &'static str = $envelope;
            const SUMMARY: &'static str = $summary;
            fn schema() -> MetaSchemaRef { <$type as Type>::schema_ref() }
            fn register(registry: &mut Registry) { <$type as Type>::register(registry) }
            fn example() -> Value { json!(<$type as Example>::example()) }
        }
    )+};
}

macro_rules! shown_lists {
    ($($type:ty => $envelope:literal, paged: $paged:literal, $summary:literal;)+) => {$(
        impl Shown for Vec<$type> {
            const ENVELOPE: &'static str = $envelope;
            const SUMMARY: &'static str = $summary;
            const PAGED: bool = $paged;
            fn schema() -> MetaSchemaRef { <Vec<$type> as Type>::schema_ref() }
            fn register(registry: &mut Registry) { <$type as Type>::register(registry) }
            fn example() -> Value { json!([<$type as Example>::example()]) }
        }
    )+};
}

shown! {
    Device => "DeviceAnswer", "The device as it stands.";
    DeviceSecret => "DeviceSecretAnswer", "The fresh secret, shown once.";
    DeletedDevice => "DeletedDeviceAnswer", "The device that is gone.";
    DeviceHistory => "DeviceHistoryAnswer", "The device's history.";
    ImportReport => "ImportReportAnswer", "What became of each line.";
    Notification => "NotificationAnswer", "The notification as it stands.";
    SentCounts => "SentCountsAnswer", "The sent counts after the increase.";
    LoggedDevices => "LoggedDevicesAnswer", "The number of devices logged.";
    Health => "HealthAnswer", "The server is well.";
}

shown_lists! {
    Device => "DeviceListAnswer", paged: true, "The devices found.";
    Notification => "NotificationListAnswer", paged: true, "The notifications found.";
    CatalogueEntry => "CatalogueAnswer", paged: false, "The properties seen.";
}

impl Example for LoggedDevices {
    fn example() -> Self {
        Self(3)
    }
}

/// A success: the result and, for lists, its page.
#[derive(Debug)]
pub struct Answer<T> {
    result: T,
    page: Option<Page>,
}

impl<T> From<T> for Answer<T> {
    fn from(result: T) -> Self {
        Self { result, page: None }
    }
}

impl<T> From<Paged<T>> for Answer<Vec<T>> {
    fn from(list: Paged<T>) -> Self {
        Self {
            result: list.items,
            page: Some(list.page),
        }
    }
}

impl<T: Shown> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let envelope = Envelope {
            success: true,
            result: Some(self.result),
            reason: None,
            error: None,
            page: self.page,
        };
        match serde_json::to_vec(&envelope) {
            Ok(body) => Response::builder().content_type(JSON).body(body),
            Err(_) => ApiError::internal().to_response(),
        }
    }
}

impl<T: Shown> ApiResponse for Answer<T> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: T::SUMMARY,
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: JSON,
                    schema: MetaSchemaRef::Reference(T::ENVELOPE.to_owned()),
                }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
        Page::register(registry);
        registry.create_schema::<Self, _>(T::ENVELOPE.to_owned(), |_| envelope_schema::<T>());
    }
}

/// The answer to a request that may be repeated; a header says when it was carried out before.
#[derive(Debug)]
pub struct OnceAnswer<T> {
    answer: Answer<T>,
    replayed: bool,
}

impl<T> From<Once<T>> for OnceAnswer<T> {
    fn from(once: Once<T>) -> Self {
        Self {
            answer: once.result.into(),
            replayed: once.replayed,
        }
    }
}

impl<T: Shown> IntoResponse for OnceAnswer<T> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        if self.replayed {
            mark_replayed(&mut response);
        }
        response
    }
}

/// Says that the request was carried out before.
pub fn mark_replayed(response: &mut Response) {
    let name = HeaderName::from_static("idempotent-replayed");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("true"));
}

impl<T: Shown> ApiResponse for OnceAnswer<T> {
    fn meta() -> MetaResponses {
        let mut meta = <Answer<T> as ApiResponse>::meta();
        for response in &mut meta.responses {
            response.headers.push(MetaHeader {
                name: IDEMPOTENT_REPLAYED_HEADER.to_owned(),
                description: Some(
                    "`true` when a request with the same `Idempotency-Key` was carried out before, and \
                     nothing was done this time; absent otherwise. Refusals that are repeated carry it too."
                        .to_owned(),
                ),
                required: false,
                deprecated: false,
                schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                    enum_items: vec![json!("true")],
                    ..MetaSchema::new("string")
                })),
            });
        }
        meta
    }

    fn register(registry: &mut Registry) {
        <Answer<T> as ApiResponse>::register(registry);
    }
}

fn envelope_schema<T: Shown>() -> MetaSchema {
    let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
    let mut example = json!({"success": true, "result": T::example(), "reason": null});
    let mut schema = MetaSchema {
        description: Some(T::SUMMARY),
        required: vec!["success", "result"],
        properties: vec![
            (
                "success",
                inline(MetaSchema {
                    enum_items: vec![json!(true)],
                    ..MetaSchema::new("boolean")
                }),
            ),
            ("result", T::schema()),
            (
                "reason",
                inline(MetaSchema {
                    description: Some("Null on success."),
                    ..MetaSchema::new("string")
                }),
            ),
        ],
        ..MetaSchema::new("object")
    };
    if T::PAGED {
        schema.required.push("page");
        schema.properties.push(("page", <Page as Type>::schema_ref()));
        example["page"] = json!(Page::new(1, 0, 20, 1));
    }
    schema.example = Some(example);
    schema
}

/// A download of one JSON object a line.
pub struct Lines(pub BoxStream<'static, std::io::Result<bytes::Bytes>>);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type(NDJSON)
            .header("Content-Disposition", "attachment; filename=\"devices.ndjson\"")
            .body(Body::from_bytes_stream(self.0))
    }
}

impl ApiResponse for Lines {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "One JSON object a line, in the order of the database.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: NDJSON,
                    schema: ImportLine::schema_ref(),
                }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        <ImportLine as Type>::register(registry);
    }
}

/// A failure, from an operation that documents the set `E`.
pub struct Refused<E> {
    error: ApiError,
    set: PhantomData<fn() -> E>,
}

/// Which failures an operation documents.
pub trait FailureSet: 'static {
    /// The HTTP statuses, rising.
    const STATUSES: &'static [u16];
}

macro_rules! failure_sets {
    ($($(#[doc = $doc:literal])+ $name:ident: [$($status:literal),+];)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub enum $name {}
        impl FailureSet for $name {
            const STATUSES: &'static [u16] = &[$($status),+];
        }
    )+};
}

failure_sets! {
    /// Health: nothing is asked, nothing is needed.
    Plain: [500, 503];
    /// Reads a list.
    Lists: [400, 401, 403, 429, 500, 503];
    /// Reads one thing by its name.
    Reads: [400, 401, 403, 404, 429, 500, 503];
    /// Changes one thing without a body.
    Acts: [400, 401, 403, 404, 409, 429, 500, 503];
    /// Writes with a body, whether or not the thing is there.
    Writes: [400, 401, 403, 408, 413, 415, 429, 500, 503];
    /// Changes a thing that must be there, with a body.
    Changes: [400, 401, 403, 404, 408, 413, 415, 429, 500, 503];
    /// Changes a thing that must be there and in the right state, with a body.
    Moves: [400, 401, 403, 404, 408, 409, 413, 415, 429, 500, 503];
    /// Writes with a body, and may be repeated under a key.
    WritesOnce: [400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503];
    /// Changes a thing that must be there and in the right state, and may be repeated under a key.
    MovesOnce: [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503];
}

impl<E> From<ApiError> for Refused<E> {
    fn from(error: ApiError) -> Self {
        Self {
            error,
            set: PhantomData,
        }
    }
}

impl<E: 'static> From<Refused<E>> for poem::Error {
    fn from(refused: Refused<E>) -> Self {
        refused.error.into()
    }
}

impl<E: FailureSet> ApiResponse for Refused<E> {
    fn meta() -> MetaResponses {
        let responses = E::STATUSES.iter().map(|status| MetaResponse {
            description: describe(*status),
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: JSON,
                schema: Failure::schema_ref(),
            }],
            headers: vec![],
        });
        MetaResponses {
            responses: responses.collect(),
        }
    }

    fn register(registry: &mut Registry) {
        <Failure as Type>::register(registry);
    }
}

const fn describe(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be carried out as it is written; `error.fields` points at the place.",
        401 => "No key, or none that works.",
        403 => "The key does not allow this.",
        404 => "There is no such thing in the key's app.",
        408 => "The body did not arrive in time.",
        409 => {
            "It is not in a state that allows this (the reason names both states), the audience is not the \
             one expected (`audience_moved`), or the request of this `Idempotency-Key` is still being \
             carried out (`idempotency_key_in_use`; `Retry-After` says when to ask again)."
        }
        413 => "The body is too large.",
        415 => "The body is not in the form that is read here.",
        422 => "The `Idempotency-Key` belongs to a request that asked for something else.",
        429 => "Too many requests; `Retry-After` says when again.",
        500 => "Something went wrong on our side; the request id finds it in our log.",
        _ => "Not available now; `Retry-After` says when again.",
    }
}

/// Wraps what a port returned.
///
/// # Errors
///
/// The port's own.
pub(crate) fn answer<R, T, E>(outcome: Result<R, ApiError>) -> Reply<T, E>
where
    R: Into<Answer<T>>,
{
    outcome.map(Into::into).map_err(Into::into)
}

/// Wraps what a port returned for a request that may be repeated.
///
/// # Errors
///
/// The port's own.
pub(crate) fn once<T, E>(outcome: Result<Once<T>, ApiError>) -> Result<OnceAnswer<T>, Refused<E>> {
    outcome.map(Into::into).map_err(Into::into)
}
