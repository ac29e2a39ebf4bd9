//! Imports: every line becomes a change within the limits, or a problem that says where, whatever the
//! pieces in which the body arrives.
//!
//! Input: the body. The first byte also gives the size of the pieces.
#![no_main]

use jraze_apiserver::fuzzing::import_lines;
use jraze_domain::device::TokenChange;
use libfuzzer_sys::fuzz_target;

/// Small, so that lines that are too long are met.
const LIMIT: usize = 2_048;

fuzz_target!(|data: &[u8]| {
    let pieces = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let lines = import_lines(data, data.len().max(1), LIMIT);

    // One in, one out: the same lines as cutting the whole body at once.
    let mut expected: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    assert_eq!(lines.len(), expected.len());
    for (index, ((number, read), text)) in lines.iter().zip(&expected).enumerate() {
        assert_eq!(*number, index as u64 + 1);
        assert_eq!(read.is_none(), text.len() > LIMIT);
        match read {
            None => {}
            Some(Ok(change)) => {
                assert!((1..=256).contains(&change.external_id.as_str().len()));
                assert!(change.properties.iter().count() <= 100);
                let registration = change.registration.as_ref().expect("a line registers");
                assert_eq!(registration.check(), Ok(()));
                if let TokenChange::Set(token) = &registration.push_token {
                    assert!((1..=4_096).contains(&token.as_str().len()));
                }
                let json: serde_json::Value = serde_json::from_slice(text).expect("a change comes of JSON");
                assert_eq!(json["external_id"], change.external_id.as_str());
            }
            Some(Err(problem)) => {
                assert!(!problem.code.is_empty() && !problem.reason.is_empty());
                assert!(
                    problem
                        .code
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                );
                if let Some(pointer) = &problem.pointer {
                    assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer:?}");
                }
                // A thousand problems are kept: each has to be small.
                assert!(problem.reason.len() <= 1_024, "{} bytes", problem.reason.len());
                assert!(
                    problem
                        .pointer
                        .as_ref()
                        .is_none_or(|pointer| pointer.len() <= 1_024)
                );
            }
        }
    }

    let in_pieces = import_lines(data, pieces, LIMIT);
    assert_eq!(lines.len(), in_pieces.len());
    for (whole, piecewise) in lines.iter().zip(&in_pieces) {
        assert_eq!(format!("{whole:?}"), format!("{piecewise:?}"));
    }
});
