//! Versions of apps as text that sorts: `10.0` comes after `9.1`, a release after its candidates.
//!
//! A version is one to four numbers with dots between them, an optional `v` in front, an optional
//! pre-release (`-beta.2`) and an optional build (`+77`, ignored), as semantic versioning has them.
//! Missing numbers are zero: `4.2` is `4.2.0`. Any other text is no version: no device may register it;
//! where one has it from before, it can be compared as text, but every `version_*` but `version_ne` is
//! false for it.
//!
//! The key is stored beside the version of each device, so that a database can compare it bytewise.

/// A version in a form whose bytes sort as versions do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionKey(String);

impl VersionKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Numbers in a version.
const NUMBERS: usize = 4;
/// Digits of a number; ten hold every 32-bit build number.
const DIGITS: usize = 10;

/// The key of a version, or `None` for a text that is no version.
pub fn version_key(text: &str) -> Option<VersionKey> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, _build) = text.split_once('+').unwrap_or((text, ""));
    let (numbers, pre_release) = match text.split_once('-') {
        Some((numbers, pre_release)) => (numbers, Some(pre_release)),
        None => (text, None),
    };
    let numbers: Vec<&str> = numbers.split('.').collect();
    if numbers.len() > NUMBERS {
        return None;
    }
    let mut key = String::with_capacity(NUMBERS * DIGITS + 1);
    for index in 0..NUMBERS {
        push_number(&mut key, numbers.get(index).copied().unwrap_or("0"))?;
    }
    match pre_release {
        // Sorts after the '-' of every pre-release of the same numbers.
        None => key.push('~'),
        Some(pre_release) => {
            key.push('-');
            for identifier in pre_release.split('.') {
                // '!' sorts before every character of an identifier, so fewer come first.
                key.push('!');
                push_identifier(&mut key, identifier)?;
            }
        }
    }
    Some(VersionKey(key))
}

fn push_number(key: &mut String, digits: &str) -> Option<()> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.len() > DIGITS {
        return None;
    }
    key.extend(std::iter::repeat_n('0', DIGITS - significant.len()));
    key.push_str(significant);
    Some(())
}

/// Numbers come before words, as semantic versioning has it.
fn push_identifier(key: &mut String, identifier: &str) -> Option<()> {
    let mut bytes = identifier.bytes();
    if identifier.is_empty() || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    if identifier.bytes().all(|byte| byte.is_ascii_digit()) {
        key.push('0');
        push_number(key, identifier)
    } else {
        key.push('1');
        key.push_str(identifier);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_semantic_versioning_has_them() {
        let ascending = [
            "0.9",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0.1",
            "1.0.1",
            "1.2",
            "1.10",
            "2",
            "4294967295.0",
        ];
        for pair in ascending.windows(2) {
            let (lower, higher) = (version_key(pair[0]).unwrap(), version_key(pair[1]).unwrap());
            assert!(lower < higher, "{} before {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn missing_numbers_are_zero_and_builds_do_not_count() {
        for same in ["1.2.0", "v1.2", "1.2.0.0", "01.02", "1.2+77", "1.2.0+a.b-c"] {
            assert_eq!(version_key(same), version_key("1.2"), "{same}");
        }
    }

    #[test]
    fn other_texts_are_no_versions() {
        for text in [
            "",
            "v",
            "1.",
            ".1",
            "1..2",
            "1.2.3.4.5",
            "1.x",
            "1.2-",
            "1.2-a..b",
            "1.2-ä",
            "99999999999",
            "-1",
            " 1",
        ] {
            assert_eq!(version_key(text), None, "{text:?}");
        }
    }
}
