//! The document, and the API mounted behind it.
//!
//! [`yaml`] prints the document from stub ports; the committed `openapi.yaml` must equal it. What
//! poem-openapi writes is corrected in two places: a field that may be absent may also be null (that
//! is how serde reads and writes an `Option`), and headers are spelled as everybody spells them.

use poem::endpoint::BoxEndpoint;
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService};
use serde_yaml_ng::{Mapping, Value};

use crate::{
    api::{
        DevicesApi, DevicesPort, HealthApi, HealthPort, InternalApi, InternalPort, NotificationsApi,
        NotificationsPort,
    },
    paths::{Around, Bare, LiteralPaths, Operation, in_front, operations as operations_of},
    security::IDEMPOTENCY_KEY_HEADER,
    stub::Stub,
};

const DESCRIPTION: &str = "\
A self-hosted push campaign platform: devices and their properties, notifications for everyone who \
matches a condition, sent through FCM, APNs and Web Push, with exact counts.

Every JSON answer is one envelope, `{success, result, reason}`; a failure carries \
`error: {code, fields: [{pointer, message}]}` with a stable code. A field that may be absent may be \
null. Every answer carries `X-Request-Id`, the caller's own if it sent one.

A request with the header `Idempotency-Key` may be sent again when no answer was heard. A key belongs to \
one request of one operation of an app, for 24 hours. The same request under it gets the first one's \
answer, status and body, with the header `Idempotent-Replayed: true`, and nothing is done again; refusals \
are answers too, failures of the server (5xx) and bodies that did not arrive are not. Another path or body under the key is refused with 422 \
`idempotency_key_reused`. While the first request is still at work, 409 `idempotency_key_in_use` says when \
to ask again; if its server died, the key is free again within 20 seconds, and whoever repeats the \
request finds what was made before.";

const HEADER: &str = "\
# Generated: run `jraze openapi > openapi/openapi.yaml` or `make generate` after a change.
";

type Contract<D, N, I, H> = (DevicesApi<D>, NotificationsApi<N>, InternalApi<I>, HealthApi<H>);
type StubContract = Contract<Stub, Stub, Stub, Stub>;

/// The implementations behind the contract.
#[derive(Debug)]
pub struct Ports<D, N, I, H> {
    /// The device operations.
    pub devices: D,
    /// The notification operations.
    pub notifications: N,
    /// The workers' operations.
    pub internal: I,
    /// The health operations.
    pub health: H,
}

/// The whole API as one endpoint: `around` wraps every operation after routing. What no operation
/// answers comes out as poem's own error; give it to
/// [`ApiError::from_framework`](crate::dto::ApiError::from_framework).
pub fn mount<D, N, I, H>(ports: Ports<D, N, I, H>, around: impl Around) -> BoxEndpoint<'static>
where
    D: DevicesPort,
    N: NotificationsPort,
    I: InternalPort,
    H: HealthPort,
{
    let contract: Contract<D, N, I, H> = (
        DevicesApi(ports.devices),
        NotificationsApi(ports.notifications),
        InternalApi(ports.internal),
        HealthApi(ports.health),
    );
    let service = service(LiteralPaths::new(contract, around));
    in_front(poem::IntoEndpoint::into_endpoint(service))
}

/// Every operation of the contract, in the order of the document.
#[must_use]
pub fn operations() -> Vec<Operation> {
    operations_of::<StubContract>()
}

/// The document as YAML: the same bytes on every machine.
#[must_use]
pub fn yaml() -> String {
    let text = serde_yaml_ng::to_string(&document()).expect("texts, numbers, lists and maps only");
    format!("{HEADER}{text}")
}

/// The document as JSON.
#[must_use]
pub fn json() -> String {
    serde_json::to_string(&document()).expect("every key of the document is a text")
}

/// A page with interactive docs, complete in itself.
#[must_use]
pub fn docs_html() -> String {
    let service = stub_service();
    // The page embeds the document in a script; a `</` inside a text would end it.
    let ours = json().replace("</", "<\\/");
    service.swagger_ui_html().replace(&service.spec(), &ours)
}

fn stub_service() -> OpenApiService<LiteralPaths<StubContract>, ()> {
    let contract = (
        DevicesApi(Stub),
        NotificationsApi(Stub),
        InternalApi(Stub),
        HealthApi(Stub),
    );
    service(LiteralPaths::new(contract, Bare))
}

fn service<A: OpenApi>(api: LiteralPaths<A>) -> OpenApiService<LiteralPaths<A>, ()> {
    OpenApiService::new(api, "jraze", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .contact(ContactObject::new().url(env!("CARGO_PKG_REPOSITORY")))
        .license(LicenseObject::new(env!("CARGO_PKG_LICENSE")))
        .server("/")
}

fn document() -> Value {
    // By way of YAML: its maps keep the order in which the operations and fields are declared.
    let mut document: Value =
        serde_yaml_ng::from_str(&stub_service().spec_yaml()).expect("poem-openapi writes YAML");
    let operations = document
        .get_mut("paths")
        .and_then(Value::as_mapping_mut)
        .into_iter()
        .flatten();
    for (_, operation) in operations.filter_map(|(_, path)| path.as_mapping_mut()).flatten() {
        let parameters = operation.get_mut("parameters").and_then(Value::as_sequence_mut);
        parameters.into_iter().flatten().for_each(spell_header);
    }
    let schemas = document
        .get_mut("components")
        .and_then(|components| components.get_mut("schemas"))
        .and_then(Value::as_mapping_mut);
    for (_, schema) in schemas.into_iter().flatten() {
        allow_null_where_absent_is_allowed(schema);
        if let Some(example) = schema.get_mut("example") {
            sort(example);
        }
    }
    document
}

/// poem-openapi writes the names of headers in capitals; nobody else does.
fn spell_header(parameter: &mut Value) {
    if parameter.get("in").and_then(Value::as_str) != Some("header") {
        return;
    }
    let Some(Value::String(name)) = parameter.get_mut("name") else {
        return;
    };
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
    });
    *name = words.collect::<Vec<_>>().join("-");
    if name == IDEMPOTENCY_KEY_HEADER {
        let schema = serde_json::json!({
            "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"
        });
        parameter["schema"] = serde_yaml_ng::to_value(schema).expect("texts and numbers are YAML");
    }
}

/// The order of an example's fields would else hang on a feature of serde_json that any crate of
/// the build may switch on.
fn sort(example: &mut Value) {
    match example {
        Value::Mapping(fields) => {
            let mut sorted: Vec<(Value, Value)> = std::mem::take(fields).into_iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.as_str().cmp(&other.as_str()));
            sorted.iter_mut().for_each(|(_, value)| sort(value));
            fields.extend(sorted);
        }
        Value::Sequence(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

/// OpenAPI 3.0 knows no `null` type and ignores what stands beside a `$ref`.
fn allow_null_where_absent_is_allowed(schema: &mut Value) {
    let required = schema
        .get("required")
        .and_then(Value::as_sequence)
        .cloned()
        .unwrap_or_default();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_mapping_mut) else {
        return;
    };
    for (name, property) in properties {
        let Some(fields) = property.as_mapping_mut() else {
            continue;
        };
        if required.contains(name) || fields.contains_key("default") {
            continue;
        }
        if fields.contains_key("$ref") {
            let reference = std::mem::take(fields);
            fields.insert("allOf".into(), Value::Sequence(vec![Value::Mapping(reference)]));
        }
        if fields != &Mapping::new() {
            fields.insert("nullable".into(), true.into());
        }
    }
}
