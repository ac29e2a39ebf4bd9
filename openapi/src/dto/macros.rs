//! Glue between serde and poem-openapi, written once.
//!
//! Bodies are read and written by serde (it reports the path of a mistake and is more than twice as
//! fast); poem-openapi only needs to know the schema. A type whose schema `derive(Object)` cannot
//! say correctly names it through one of these macros.

/// Gives a type that serde reads and writes the three traits that poem-openapi asks of a field.
macro_rules! described {
    ($type:ident, inline: $schema:expr) => {
        impl poem_openapi::types::Type for $type {
            described!(@common $type);
            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                poem_openapi::registry::MetaSchemaRef::Inline(Box::new($schema))
            }
        }
        described!(@json $type);
    };
    ($type:ident, component: $component:expr, |$registry:ident| $schema:expr) => {
        impl poem_openapi::types::Type for $type {
            described!(@common $type);
            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                poem_openapi::registry::MetaSchemaRef::Reference($component.to_owned())
            }
            fn register($registry: &mut poem_openapi::registry::Registry) {
                $registry.create_schema::<Self, _>($component.to_owned(), |$registry| {
                    let _ = &$registry;
                    $schema
                });
            }
        }
        described!(@json $type);
    };
    (@common $type:ident) => {
        const IS_REQUIRED: bool = true;
        type RawValueType = Self;
        type RawElementValueType = Self;
        fn name() -> std::borrow::Cow<'static, str> {
            stringify!($type).into()
        }
        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }
        fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
            Box::new(std::iter::once(self))
        }
    };
    (@json $type:ident) => {
        impl poem_openapi::types::ParseFromJSON for $type {
            fn parse_from_json(
                value: Option<serde_json::Value>,
            ) -> poem_openapi::types::ParseResult<Self> {
                serde_json::from_value(value.unwrap_or_default())
                    .map_err(poem_openapi::types::ParseError::custom)
            }
        }
        impl poem_openapi::types::ToJSON for $type {
            fn to_json(&self) -> Option<serde_json::Value> {
                serde_json::to_value(self).ok()
            }
        }
    };
}

/// An enum whose wire form is an integer; `derive(Enum)` of poem-openapi only does texts.
macro_rules! integer_enum {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $number:literal),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant = $number),+
        }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The value behind a number, if there is one.
            #[must_use]
            pub const fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn expected() -> String {
                format!("expected one of {:?}", [$($number),+])
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i32(self.number())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(deserializer)
                    .map_err(|_| serde::de::Error::custom(Self::expected()))?;
                Self::from_number(number)
                    .ok_or_else(|| serde::de::Error::custom(Self::expected()))
            }
        }

        described!($name, component: stringify!($name), |_registry| {
            poem_openapi::registry::MetaSchema {
                description: Some(concat!(
                    $("`", stringify!($number), "` ", stringify!($variant), ":", $($doc,)+ "\n\n"),+
                )),
                enum_items: vec![$(serde_json::json!($number)),+],
                ..poem_openapi::registry::MetaSchema::new_with_format("integer", "int32")
            }
        });

        impl poem_openapi::types::ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> poem_openapi::types::ParseResult<Self> {
                value
                    .parse::<i64>()
                    .ok()
                    .and_then(Self::from_number)
                    .ok_or_else(|| poem_openapi::types::ParseError::custom(Self::expected()))
            }
        }
    };
}

pub(crate) use {described, integer_enum};
