//! The condition tree after parsing: every value typed, every field known.

use crate::number::Number;
use crate::property::{PropertyKey, Scalar};

use super::dates::{DateOperand, DateRelation};
use super::version::VersionKey;

/// A rule that a device meets or does not meet.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// All of them hold. Of none: true, which is how "everybody" is written.
    All(Vec<Condition>),
    /// At least one holds. Of none: false.
    Any(Vec<Condition>),
    /// None of them holds.
    Not(Vec<Condition>),
    /// One field passes one test.
    Compare {
        /// What is looked at.
        field: Field,
        /// What it must be.
        test: Test,
    },
}

impl Condition {
    /// The rule that every device meets.
    pub fn everybody() -> Self {
        Self::All(Vec::new())
    }
}

/// What a comparison looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A property that the app wrote.
    Property(PropertyKey),
    /// One of the device's own fields, written `device.<name>`.
    Device(DeviceField),
}

/// The device's own fields. A property key cannot hold a dot, so the names never clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceField {
    /// `device.platform`: the number of the device platform.
    Platform,
    /// `device.send_platform`: the number of the send platform.
    SendPlatform,
    /// `device.locale`, when told.
    Locale,
    /// `device.time_zone`, when told.
    TimeZone,
    /// `device.app_version`, when told.
    AppVersion,
    /// `device.last_seen_at`.
    LastSeenAt,
    /// `device.created_at`.
    CreatedAt,
    /// `device.random_bucket`: 1 to 10000.
    RandomBucket,
}

impl DeviceField {
    /// Every field, as the reference lists them.
    pub const ALL: [Self; 8] = [
        Self::Platform,
        Self::SendPlatform,
        Self::Locale,
        Self::TimeZone,
        Self::AppVersion,
        Self::LastSeenAt,
        Self::CreatedAt,
        Self::RandomBucket,
    ];

    /// The key in a condition.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "device.platform",
            Self::SendPlatform => "device.send_platform",
            Self::Locale => "device.locale",
            Self::TimeZone => "device.time_zone",
            Self::AppVersion => "device.app_version",
            Self::LastSeenAt => "device.last_seen_at",
            Self::CreatedAt => "device.created_at",
            Self::RandomBucket => "device.random_bucket",
        }
    }

    /// The field of that key.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// What the field holds, which decides the operators it takes.
    pub fn kind(self) -> FieldKind {
        match self {
            Self::Platform | Self::SendPlatform | Self::RandomBucket => FieldKind::Number,
            Self::Locale | Self::TimeZone => FieldKind::Text,
            Self::AppVersion => FieldKind::Version,
            Self::LastSeenAt | Self::CreatedAt => FieldKind::Instant,
        }
    }
}

/// What a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A property: text, number, truth value or list, as the app likes.
    Property,
    /// Always a number.
    Number,
    /// Text or nothing.
    Text,
    /// Text that may be a version, or nothing.
    Version,
    /// Always an instant.
    Instant,
}

/// An order between the field and the operand, read "field is ... operand".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    Eq,
    /// Not equal, or missing, or not comparable.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

impl Relation {
    /// Whether an order found satisfies the relation. `Ne` is answered by the negation of `Eq`.
    pub fn accepts(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Gt => order.is_gt(),
            Self::Gte => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Lte => order.is_le(),
        }
    }
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// A number in that relation.
    Number(Relation, Number),
    /// A number equal to one of these.
    NumberIn(Vec<Number>),
    /// Exactly that text.
    TextEq(String),
    /// Anything but that text.
    TextNe(String),
    /// One of these texts.
    TextIn(Vec<String>),
    /// A text that starts so.
    TextPrefix(String),
    /// A list that holds at least one of these.
    ListAny(Vec<Scalar>),
    /// A list that holds each of these.
    ListAll(Vec<Scalar>),
    /// That truth value.
    BoolEq(bool),
    /// Anything at all.
    Exists,
    /// Nothing.
    NotExists,
    /// A day or an instant in that relation.
    Date(DateRelation, DateOperand),
    /// A version in that relation.
    Version(Relation, VersionKey),
}
