//! The table of operators: one row each, from which parser, documents and forms are made.

use super::condition::FieldKind;

/// The type of an operator's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A 64-bit integer.
    Integer,
    /// A finite number.
    Float,
    /// A text.
    Text,
    /// `true` or `false`.
    Bool,
    /// None; whatever is sent is ignored.
    Nothing,
    /// A day, an instant, or a relative date.
    Date,
    /// A version such as `4.2.0`.
    Version,
    /// A list of integers.
    IntegerList,
    /// A list of finite numbers.
    FloatList,
    /// A list of texts.
    TextList,
    /// A list of texts, numbers and truth values.
    ScalarList,
}

macro_rules! operators {
    ($($(#[$doc:meta])* $variant:ident $name:literal $operand:ident,)*) => {
        /// Every operator of the condition tree.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operator { $($(#[$doc])* $variant,)* }

        impl Operator {
            /// Every operator, as the reference lists them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in a condition.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The operator of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// The type of its value.
            pub fn operand(self) -> Operand {
                match self { $(Self::$variant => Operand::$operand,)* }
            }
        }
    };
}

operators! {
    /// A number equal to the value.
    IntEq "int_eq" Integer,
    /// The negation of `int_eq`.
    IntNe "int_ne" Integer,
    /// A number greater than the value.
    IntGt "int_gt" Integer,
    /// A number greater than the value or equal.
    IntGte "int_gte" Integer,
    /// A number less than the value.
    IntLt "int_lt" Integer,
    /// A number less than the value or equal.
    IntLte "int_lte" Integer,
    /// A number equal to one of the values.
    IntIn "int_in" IntegerList,
    /// As `int_eq`, with a fraction.
    FloatEq "float_eq" Float,
    /// As `int_ne`, with a fraction.
    FloatNe "float_ne" Float,
    /// As `int_gt`, with a fraction.
    FloatGt "float_gt" Float,
    /// As `int_gte`, with a fraction.
    FloatGte "float_gte" Float,
    /// As `int_lt`, with a fraction.
    FloatLt "float_lt" Float,
    /// As `int_lte`, with a fraction.
    FloatLte "float_lte" Float,
    /// As `int_in`, with fractions.
    FloatIn "float_in" FloatList,
    /// Exactly that text.
    StrEq "str_eq" Text,
    /// The negation of `str_eq`.
    StrNe "str_ne" Text,
    /// One of those texts.
    StrIn "str_in" TextList,
    /// A text that starts so.
    StrPrefix "str_prefix" Text,
    /// A list that holds that text.
    StrExists "str_exists" Text,
    /// A list that holds one of the values.
    ListAny "list_any" ScalarList,
    /// A list that holds each of the values.
    ListAll "list_all" ScalarList,
    /// That truth value.
    BoolEq "bool_eq" Bool,
    /// Any value.
    Exists "exists" Nothing,
    /// No value.
    NotExists "not_exists" Nothing,
    /// A date after the value.
    DateGt "date_gt" Date,
    /// A date after the value, or within it.
    DateGte "date_gte" Date,
    /// A date before the value.
    DateLt "date_lt" Date,
    /// A date before the value, or within it.
    DateLte "date_lte" Date,
    /// The same version.
    VersionEq "version_eq" Version,
    /// The negation of `version_eq`.
    VersionNe "version_ne" Version,
    /// A later version.
    VersionGt "version_gt" Version,
    /// A later version or the same.
    VersionGte "version_gte" Version,
    /// An earlier version.
    VersionLt "version_lt" Version,
    /// An earlier version or the same.
    VersionLte "version_lte" Version,
}

impl Operator {
    /// Whether the operator can be asked of such a field. Anything may be asked of a property but
    /// its version; a field of known type takes the operators of that type only, because any other
    /// would silently never match.
    pub fn applies_to(self, kind: FieldKind) -> bool {
        use Operand as O;
        let operand = self.operand();
        if operand == O::Nothing {
            return true;
        }
        match kind {
            FieldKind::Property => operand != O::Version,
            FieldKind::Number => {
                matches!(operand, O::Integer | O::IntegerList | O::Float | O::FloatList)
            }
            FieldKind::Text => self.is_text(),
            FieldKind::Version => self.is_text() || operand == O::Version,
            FieldKind::Instant => operand == O::Date,
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Self::StrEq | Self::StrNe | Self::StrIn | Self::StrPrefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_found_by_its_name() {
        for operator in Operator::ALL {
            assert_eq!(Operator::from_name(operator.name()), Some(*operator));
        }
        assert_eq!(Operator::from_name("$where"), None);
    }

    #[test]
    fn a_field_of_known_type_takes_the_operators_of_that_type_only() {
        assert!(Operator::IntEq.applies_to(FieldKind::Number));
        assert!(!Operator::StrEq.applies_to(FieldKind::Number));
        assert!(Operator::VersionGt.applies_to(FieldKind::Version));
        assert!(!Operator::VersionGt.applies_to(FieldKind::Property));
        assert!(!Operator::StrExists.applies_to(FieldKind::Text));
        assert!(Operator::DateLt.applies_to(FieldKind::Instant));
        for kind in [FieldKind::Number, FieldKind::Instant, FieldKind::Property] {
            assert!(Operator::NotExists.applies_to(kind));
        }
    }
}
