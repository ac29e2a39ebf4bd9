//! THE TABLE from error to HTTP. What is our fault is logged here, with its cause, and answered
//! without it.

use jraze_domain::{
    audience::ConditionError,
    campaign::IllegalTransition,
    device::{DeviceError, Implausible},
    message::ContentError,
    property::PropertyError,
};
use jraze_openapi::dto::ApiError;
use jraze_storage::StorageError;

use super::pointer_token;
use crate::services::ServiceError;

pub(crate) fn service(error: ServiceError) -> ApiError {
    match error {
        ServiceError::Storage(error) => storage(&error),
        ServiceError::UnknownDevice => {
            ApiError::not_found("unknown_device", "there is no device of this name")
        }
        ServiceError::UnknownNotification => {
            ApiError::not_found("unknown_notification", "there is no notification of this name")
        }
        ServiceError::ForeignDevice => ApiError::forbidden(),
        ServiceError::NotADraft(status) => ApiError::conflict(
            "wrong_state",
            format!("only a DRAFT can be edited, and this notification is {status}"),
        ),
        ServiceError::AudienceMoved(moved) => {
            let found = format!("there are {} now", moved.found);
            ApiError::conflict("audience_moved", moved.to_string()).at("/expected_reach", found)
        }
        ServiceError::EditedMeanwhile => ApiError::conflict("conflict", error.to_string()),
        ServiceError::IllegalTransition(error) => transition(error),
        ServiceError::PropertiesFull => ApiError::invalid(
            "invalid_property",
            "/properties",
            "the device holds all the properties it may: remove some before setting others",
        ),
        ServiceError::Implausible(fault) => implausible(fault),
    }
}

pub(crate) fn storage(error: &StorageError) -> ApiError {
    match error {
        StorageError::Conflict { what } => {
            ApiError::conflict("conflict", format!("{what} was changed by another request"))
        }
        StorageError::Unavailable { .. } => {
            tracing::warn!(error = chain(error), "the database is unavailable");
            ApiError::unavailable("the database is not available now")
        }
        StorageError::TimedOut { .. } => {
            tracing::warn!(error = chain(error), "the database took too long");
            ApiError::unavailable("this takes the database too long; ask for less")
        }
        StorageError::Stopped => ApiError::unavailable("the server is stopping"),
        other => {
            tracing::error!(error = chain(other), "a storage operation failed");
            ApiError::internal()
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

pub(crate) fn transition(error: IllegalTransition) -> ApiError {
    ApiError::conflict("wrong_state", error.to_string())
}

pub(crate) fn condition(error: ConditionError) -> ApiError {
    let pointer = format!("/conditions{}", error.pointer);
    ApiError::invalid("invalid_condition", pointer, error.message)
}

pub(crate) fn property(pointer: impl Into<String>, error: PropertyError) -> ApiError {
    ApiError::invalid("invalid_property", pointer, error.to_string())
}

pub(crate) fn device(pointer: &str, error: DeviceError) -> ApiError {
    let message = format!("must be 1 to {} bytes long, not {}", error.max, error.length);
    ApiError::invalid("invalid_device", pointer, message)
}

pub(crate) fn implausible(fault: Implausible) -> ApiError {
    ApiError::invalid("invalid_device", format!("/{}", fault.field()), fault.to_string())
}

pub(crate) fn content(errors: Vec<ContentError>) -> ApiError {
    let reason = errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    let refusal = ApiError::bad_request("invalid_notification", reason);
    errors.into_iter().fold(refusal, |refusal, error| {
        let pointer = match error.field.split_once('/') {
            Some((field, key)) => format!("/{field}/{}", pointer_token(key)),
            // The whole body.
            None if error.field.is_empty() => String::new(),
            None => format!("/{}", error.field),
        };
        refusal.at(pointer, error.problem)
    })
}
