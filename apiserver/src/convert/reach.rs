//! What a launch expects of its audience.

use jraze_openapi::dto::{ApiError, Launch};

use crate::services::reach::ExpectedReach;

/// The expectation, if the launch has one.
///
/// # Errors
///
/// 400 with a pointer to a tolerance that is out of range or belongs to nothing.
pub(crate) fn expected(launch: Launch) -> Result<Option<ExpectedReach>, ApiError> {
    let wrong = |message: &str| ApiError::invalid("invalid_body", "/tolerance", message);
    match (launch.expected_reach, launch.tolerance) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong("is a tolerance of expected_reach, which is absent")),
        (Some(devices), tolerance) => ExpectedReach::new(devices, tolerance.unwrap_or(0.0))
            .map(Some)
            .ok_or_else(|| wrong("is 0 to 100 percent")),
    }
}
