//! Whom a notification is for: the condition tree, its text form, and what it means.
//!
//! A client sends a tree of groups and comparisons as JSON. [`Condition::parse`] turns it into a
//! [`Condition`] in which every value already has its operator's type, so nothing after it can fail:
//! [`Condition::matches`] answers for one device in memory, and storage compiles the same tree into
//! a MongoDB filter. **The evaluator is the definition**; a property test on a real server holds the
//! compiled filter to it.
//!
//! | file | holds |
//! | --- | --- |
//! | `condition.rs` | the tree, its fields and tests |
//! | `operators.rs` | the table of operators: names, operand types, where each may be used |
//! | `parse.rs` | JSON to tree, with a pointer to whatever is wrong |
//! | `matches.rs` | THE EVALUATOR |
//! | `dates.rs` | instants, days and relative dates, and the text boundaries they become |
//! | `version.rs` | versions of apps as text that sorts |
//!
//! # What a comparison means
//!
//! 1. A property that is missing or of another type makes a comparison false.
//! 2. `*_ne` is exactly the negation of `*_eq`: true when the property is missing.
//! 3. `exists` asks for any value at all; `not_exists` is its negation.
//! 4. `int_*` and `float_*` compare with any number, exactly: a 64-bit integer is never rounded.
//! 5. A list matches only the operators for lists (`str_exists`, `list_any`, `list_all`).
//! 6. Text compares byte by byte: case and Unicode form matter.
//! 7. All of nothing is true, any of nothing is false; the parser refuses empty groups all the same.
//!
//! # Adding an operator
//!
//! Add a row in `operators.rs` (the compiler then asks for the rest), a [`Test`] if none fits, its
//! meaning in `matches.rs`, its filter in storage's `audience_filter.rs`, and a generator in the
//! property test beside that; then a row in `docs/src/conditions.md`.

mod condition;
mod dates;
mod matches;
mod operators;
mod parse;
mod version;

pub use condition::{Condition, DeviceField, Field, FieldKind, Relation, Test};
pub use dates::{Boundary, DateOperand, DateRelation, INSTANT_SHAPE, is_date_text};
pub use matches::DeviceView;
pub use operators::{Operand, Operator};
pub use parse::{ConditionError, ConditionErrorCode, Limits};
pub use version::{VersionKey, version_key};
