//! The fields of an FCM v1 message, as the REST reference of `projects.messages` lists them.
//!
//! Adding a field: a row in the table of its message. [`super::check`] walks a request along these
//! tables, so unknown names and wrong types are found without writing code.

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// Text that counts towards the size of the message.
    Counted,
    /// Text that says whom the message is for.
    Target(Target),
    /// true or false.
    Bool,
    /// A whole number of 32 bits, also as text.
    Int,
    /// Any number.
    Number,
    /// One of these names, or its number.
    Enum(&'static [&'static str]),
    /// Seconds with an `s`, 0 to 2419200 (28 days).
    Ttl,
    /// Seconds with an `s`.
    Duration,
    /// Names to texts: data for the app, counted, with reserved names.
    Data,
    /// Names to texts.
    Headers,
    /// Any object.
    Struct,
    /// Any object; its length is the size of the APNs payload.
    ApnsPayload,
    /// A list of texts.
    Texts,
    /// A list of durations.
    Durations,
    /// Fields of its own.
    Message(&'static Schema),
}

/// The ways to say whom a message is for; a message uses exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Token,
    Topic,
    Condition,
    Fid,
}

/// Part of a message, for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Whatever part is around.
    Inherit,
    Common,
    Android,
    Webpush,
    Apns,
}

/// A kind of message: its fields by their `snake_case` names.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) part: Part,
    pub(crate) fields: &'static [(&'static str, Kind)],
}

use Kind::{
    ApnsPayload, Bool, Counted, Data, Duration, Durations, Enum, Headers, Int, Message, Number, Struct, Text,
    Texts, Ttl,
};

const fn schema(part: Part, fields: &'static [(&'static str, Kind)]) -> Schema {
    Schema { part, fields }
}

/// The whole request.
pub(crate) static REQUEST: Schema = schema(
    Part::Common,
    &[("message", Message(&MESSAGE)), ("validate_only", Bool)],
);

static MESSAGE: Schema = schema(
    Part::Common,
    &[
        ("token", Kind::Target(Target::Token)),
        ("notification", Message(&NOTIFICATION)),
        ("data", Data),
        ("android", Message(&ANDROID)),
        ("apns", Message(&APNS)),
        ("webpush", Message(&WEBPUSH)),
        ("fcm_options", Message(&FCM_OPTIONS)),
        ("name", Text),
        ("topic", Kind::Target(Target::Topic)),
        ("condition", Kind::Target(Target::Condition)),
        ("fid", Kind::Target(Target::Fid)),
    ],
);

static NOTIFICATION: Schema = schema(
    Part::Inherit,
    &[("title", Counted), ("body", Counted), ("image", Counted)],
);

static FCM_OPTIONS: Schema = schema(Part::Inherit, &[("analytics_label", Text)]);

static ANDROID: Schema = schema(
    Part::Android,
    &[
        ("collapse_key", Text),
        ("priority", Enum(&["NORMAL", "HIGH", "normal", "high"])),
        ("ttl", Ttl),
        ("notification", Message(&ANDROID_NOTIFICATION)),
        ("data", Data),
        ("restricted_package_name", Text),
        ("fcm_options", Message(&FCM_OPTIONS)),
        ("direct_boot_ok", Bool),
        ("bandwidth_constrained_ok", Bool),
        ("restricted_satellite_ok", Bool),
    ],
);

static ANDROID_NOTIFICATION: Schema = schema(
    Part::Inherit,
    &[
        ("title", Counted),
        ("body", Counted),
        ("icon", Counted),
        ("color", Counted),
        ("sound", Counted),
        ("tag", Counted),
        ("click_action", Counted),
        ("body_loc_key", Counted),
        ("body_loc_args", Texts),
        ("title_loc_key", Counted),
        ("title_loc_args", Texts),
        ("channel_id", Counted),
        ("ticker", Counted),
        ("sticky", Bool),
        ("event_time", Text),
        ("local_only", Bool),
        (
            "notification_priority",
            Enum(&[
                "PRIORITY_UNSPECIFIED",
                "PRIORITY_MIN",
                "PRIORITY_LOW",
                "PRIORITY_DEFAULT",
                "PRIORITY_HIGH",
                "PRIORITY_MAX",
            ]),
        ),
        ("default_sound", Bool),
        ("default_vibrate_timings", Bool),
        ("default_light_settings", Bool),
        ("vibrate_timings", Durations),
        (
            "visibility",
            Enum(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"]),
        ),
        ("notification_count", Int),
        ("light_settings", Message(&LIGHT)),
        ("image", Counted),
        ("bypass_proxy_notification", Bool),
        (
            "proxy",
            Enum(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"]),
        ),
    ],
);

static LIGHT: Schema = schema(
    Part::Inherit,
    &[
        ("color", Message(&COLOR)),
        ("light_on_duration", Duration),
        ("light_off_duration", Duration),
    ],
);

static COLOR: Schema = schema(
    Part::Inherit,
    &[
        ("red", Number),
        ("green", Number),
        ("blue", Number),
        ("alpha", Number),
    ],
);

static WEBPUSH: Schema = schema(
    Part::Webpush,
    &[
        ("headers", Headers),
        ("data", Data),
        ("notification", Struct),
        ("fcm_options", Message(&WEBPUSH_OPTIONS)),
    ],
);

static WEBPUSH_OPTIONS: Schema = schema(Part::Inherit, &[("link", Text), ("analytics_label", Text)]);

static APNS: Schema = schema(
    Part::Apns,
    &[
        ("headers", Headers),
        ("payload", ApnsPayload),
        ("fcm_options", Message(&APNS_OPTIONS)),
        ("live_activity_token", Text),
    ],
);

static APNS_OPTIONS: Schema = schema(Part::Inherit, &[("analytics_label", Text), ("image", Text)]);
