//! The answers of FCM, with the bodies that it is documented and seen to send.
//!
//! Source: the reference of `ErrorCode` in the FCM v1 REST API, and answers quoted in the issue trackers
//! of firebase-admin. An error that FCM itself reports carries an `FcmError` detail; one that Google's
//! front end reports (unreadable JSON, an unknown project, the project's quota) does not.
//!
//! Adding an error: a row in [`ERRORS`]; it is then known to scripts by its name.

use bytes::Bytes;
use http::{HeaderValue, Response, header::WWW_AUTHENTICATE};
use serde_json::{Value, json};

use crate::render::{self, JSON};

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";

/// A documented error.
struct Known {
    /// Name in scripts and in the ledger.
    name: &'static str,
    http: u16,
    status: &'static str,
    message: &'static str,
    /// Whether the answer has an `FcmError` detail with the name.
    fcm: bool,
}

const fn known(
    name: &'static str,
    http: u16,
    status: &'static str,
    fcm: bool,
    message: &'static str,
) -> Known {
    Known {
        name,
        http,
        status,
        message,
        fcm,
    }
}

#[rustfmt::skip]
const ERRORS: &[Known] = &[
    known("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT", true,
        "The registration token is not a valid FCM registration token"),
    known("UNAUTHENTICATED", 401, "UNAUTHENTICATED", false,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
         valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."),
    known("CREDENTIALS_MISSING", 401, "UNAUTHENTICATED", false,
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other \
         valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."),
    known("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED", true,
        "Auth error from APNS or Web Push Service"),
    known("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED", true, "SenderId mismatch"),
    known("PERMISSION_DENIED", 403, "PERMISSION_DENIED", false,
        "Permission 'cloudmessaging.messages.create' denied on resource (or it may not exist)."),
    known("UNREGISTERED", 404, "NOT_FOUND", true, "Requested entity was not found."),
    known("NOT_FOUND", 404, "NOT_FOUND", false, "Requested entity was not found."),
    known("PAYLOAD_TOO_LARGE", 413, "INVALID_ARGUMENT", false, "Request payload size exceeds the limit."),
    known("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED", true,
        "Sending limit exceeded for the message target."),
    known("RATE_LIMIT_EXCEEDED", 429, "RESOURCE_EXHAUSTED", false,
        "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute' of service \
         'fcm.googleapis.com' for consumer 'project_number:100000000000'."),
    known("INTERNAL", 500, "INTERNAL", true, "Internal error encountered."),
    known("UNSPECIFIED_ERROR", 500, "UNKNOWN", true, "An unknown error occurred."),
    known("BAD_GATEWAY", 502, "", false, ""),
    known("UNAVAILABLE", 503, "UNAVAILABLE", true, "The service is currently unavailable."),
];

fn find(name: &str) -> Option<&'static Known> {
    ERRORS.iter().find(|known| known.name == name)
}

/// Whether scripts may name this error.
pub(crate) fn knows(name: &str) -> bool {
    find(name).is_some()
}

/// The names of all errors, for people.
pub(crate) fn names() -> String {
    let names: Vec<_> = ERRORS.iter().map(|known| known.name).collect();
    names.join(", ")
}

/// FCM's errors by name.
pub(crate) struct Errors;

impl render::Catalogue for Errors {
    fn error(&self, code: &str, _: Option<i64>) -> Response<Bytes> {
        error(code)
    }

    fn status(&self, code: &str) -> u16 {
        find(code).map_or(500, |known| known.http)
    }
}

/// The answer to an error by its name.
pub(crate) fn error(name: &str) -> Response<Bytes> {
    let known = find(name).unwrap_or(&ERRORS[ERRORS.len() - 1]);
    let mut details: Vec<Value> = Vec::new();
    if known.fcm {
        details.push(json!({"@type": FCM_ERROR, "errorCode": known.name}));
    }
    match known.name {
        "INVALID_ARGUMENT" => details.push(bad_request(&[Violation {
            field: "message.token".to_owned(),
            description: known.message.to_owned(),
        }])),
        "UNAUTHENTICATED" | "CREDENTIALS_MISSING" => details.push(json!({
            "@type": ERROR_INFO,
            "reason": if known.name == "UNAUTHENTICATED" { "ACCESS_TOKEN_EXPIRED" } else { known.name },
            "domain": "googleapis.com",
            "metadata": {
                "service": "fcm.googleapis.com",
                "method": "google.firebase.fcm.v1.FcmService.SendMessage",
            },
        })),
        "PERMISSION_DENIED" => details.push(json!({
            "@type": ERROR_INFO,
            "reason": "IAM_PERMISSION_DENIED",
            "domain": "cloudresourcemanager.googleapis.com",
            "metadata": {"permission": "cloudmessaging.messages.create"},
        })),
        "QUOTA_EXCEEDED" => details.push(json!({
            "@type": QUOTA_FAILURE,
            "violations": [{"subject": "message.token", "description": "Device message rate exceeded."}],
        })),
        "RATE_LIMIT_EXCEEDED" => details.push(json!({
            "@type": ERROR_INFO,
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": "fcm.googleapis.com",
                "quota_metric": "fcm.googleapis.com/send_requests",
                "quota_limit": "SendsPerMinutePerProject",
                "quota_unit": "1/min/{project}",
                "quota_location": "global",
            },
        })),
        "BAD_GATEWAY" => return html(502, "Error 502 (Server Error)!!1"),
        _ => {}
    }
    let mut response = envelope(known.http, known.status, known.message, details);
    if known.http == 401 {
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\""),
        );
    }
    response
}

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path of the field, as FCM writes it: `message.android.ttl`.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) description: String,
}

/// 400 for a request that Google's front end cannot read: no `FcmError`.
pub(crate) fn unreadable(violations: &[Violation]) -> Response<Bytes> {
    let message: Vec<_> = violations.iter().map(|v| v.description.as_str()).collect();
    let details = vec![bad_request(violations)];
    envelope(400, "INVALID_ARGUMENT", &message.join("\n"), details)
}

/// 400 for JSON that does not parse: no details at all.
pub(crate) fn unparsable(problem: &str) -> Response<Bytes> {
    let message = format!("Invalid JSON payload received. {problem}");
    envelope(400, "INVALID_ARGUMENT", &message, Vec::new())
}

/// 400 for a message that FCM reads and refuses.
pub(crate) fn invalid(violation: &Violation) -> Response<Bytes> {
    let details = vec![
        bad_request(std::slice::from_ref(violation)),
        json!({"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}),
    ];
    envelope(400, "INVALID_ARGUMENT", &violation.description, details)
}

/// The front end's page for paths and methods that do not exist.
pub(crate) fn no_such_page() -> Response<Bytes> {
    html(404, "Error 404 (Not Found)!!1")
}

/// 200 with the name of the message.
pub(crate) fn accepted(project: &str, id: &str) -> Response<Bytes> {
    // Written by hand: this is every send. Neither part needs escaping.
    let body = format!("{{\n  \"name\": \"projects/{project}/messages/{id}\"\n}}\n");
    render::response(200, JSON, body)
}

fn bad_request(violations: &[Violation]) -> Value {
    let violations: Vec<Value> = violations
        .iter()
        .map(|v| json!({"field": v.field, "description": v.description}))
        .collect();
    json!({"@type": BAD_REQUEST, "fieldViolations": violations})
}

fn envelope(http: u16, status: &str, message: &str, details: Vec<Value>) -> Response<Bytes> {
    let mut error = json!({"code": http, "message": message, "status": status});
    if !details.is_empty() {
        error["details"] = Value::Array(details);
    }
    render::response(http, JSON, json!({"error": error}).to_string())
}

fn html(status: u16, title: &str) -> Response<Bytes> {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>{title}</title>\n  <p>jraze sandbox\n"
    );
    render::response(status, "text/html; charset=UTF-8", body)
}
