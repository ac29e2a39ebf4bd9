use serde_json::json;

use super::ConditionErrorCode as Code;
use super::*;

fn parse(tree: Value) -> Result<Condition, ConditionError> {
    Condition::parse(&tree, Limits::default())
}

fn leaf() -> Value {
    json!({"key": "age", "operator": "int_gt", "value": "30"})
}

fn test_of(operator: &str, value: Value) -> Result<Test, ConditionError> {
    let key = if operator.starts_with("version") {
        "device.app_version"
    } else {
        "k"
    };
    match parse(json!({"key": key, "operator": operator, "value": value}))? {
        Condition::Compare { test, .. } => Ok(test),
        other => panic!("{other:?} is no comparison"),
    }
}

#[test]
fn the_tree_of_the_contract_parses_with_values_as_text() {
    let tree = parse(json!({"join_type": "AND", "conditions": [
        {"key": "plan", "operator": "str_eq", "value": "gold"},
        {"join_type": "OR", "conditions": [
            leaf(),
            {"key": "tags", "operator": "str_exists", "value": "vip", "conditions": null, "join_type": null},
        ]},
    ]}))
    .unwrap();
    let property = |key| Field::Property(PropertyKey::new(key).unwrap());
    let compare = |key, test| Condition::Compare {
        field: property(key),
        test,
    };
    assert_eq!(
        tree,
        Condition::All(vec![
            compare("plan", Test::TextEq("gold".into())),
            Condition::Any(vec![
                compare("age", Test::Number(Relation::Gt, Number::Int(30))),
                compare("tags", Test::ListAny(vec![Scalar::Text("vip".into())])),
            ]),
        ])
    );
    assert_eq!(tree.node_count(), 5);
}

#[test]
fn whatever_is_wrong_is_pointed_to() {
    let cases = [
        (json!(null), "", Code::NotAnObject),
        (json!({}), "", Code::UnclearNode),
        (json!([]), "", Code::NotAnObject),
        (
            json!({"key": "a", "operator": "exists", "conditions": [], "join_type": "AND"}),
            "",
            Code::UnclearNode,
        ),
        (
            json!({"key": "a", "operator": "exists", "$where": "1"}),
            "",
            Code::UnknownMember,
        ),
        (
            json!({"conditions": [], "join_type": "AND"}),
            "/conditions",
            Code::EmptyGroup,
        ),
        (
            json!({"conditions": {"a": 1}, "join_type": "AND"}),
            "/conditions",
            Code::EmptyGroup,
        ),
        (json!({"join_type": "OR"}), "/conditions", Code::EmptyGroup),
        (
            json!({"conditions": [leaf()]}),
            "/join_type",
            Code::UnknownJoinType,
        ),
        (
            json!({"conditions": [leaf()], "join_type": "XOR"}),
            "/join_type",
            Code::UnknownJoinType,
        ),
        (
            json!({"conditions": [leaf()], "join_type": {"$ne": 1}}),
            "/join_type",
            Code::UnknownJoinType,
        ),
        (
            json!({"key": "$where", "operator": "str_eq", "value": "1"}),
            "/key",
            Code::InvalidKey,
        ),
        (
            json!({"key": "a.b", "operator": "str_eq", "value": "1"}),
            "/key",
            Code::InvalidKey,
        ),
        (
            json!({"key": "device.token", "operator": "exists"}),
            "/key",
            Code::InvalidKey,
        ),
        (json!({"key": "", "operator": "exists"}), "/key", Code::InvalidKey),
        (
            json!({"key": {"a": 1}, "operator": "exists"}),
            "/key",
            Code::InvalidKey,
        ),
        (
            json!({"key": "a", "operator": "$gt", "value": 1}),
            "/operator",
            Code::UnknownOperator,
        ),
        (
            json!({"key": "a", "value": 1}),
            "/operator",
            Code::UnknownOperator,
        ),
        (
            json!({"key": "a", "operator": "version_gt", "value": "1"}),
            "/operator",
            Code::OperatorNotForField,
        ),
        (
            json!({"key": "device.locale", "operator": "int_eq", "value": 1}),
            "/operator",
            Code::OperatorNotForField,
        ),
        (
            json!({"key": "a", "operator": "int_eq", "value": {"$gt": ""}}),
            "/value",
            Code::InvalidValue,
        ),
        (
            json!({"key": "a", "operator": "int_eq"}),
            "/value",
            Code::InvalidValue,
        ),
        (
            json!({"join_type": "AND", "conditions": [leaf(), {"join_type": "NOT", "conditions": [
                leaf(), leaf(), {"key": "a", "operator": "bool_eq", "value": 1}]}]}),
            "/conditions/1/conditions/2/value",
            Code::InvalidValue,
        ),
    ];
    for (tree, pointer, code) in cases {
        let error = parse(tree.clone()).expect_err(&tree.to_string());
        assert_eq!(
            (error.pointer.as_str(), error.code),
            (pointer, code),
            "{tree}: {error}"
        );
    }
}

#[test]
fn a_value_is_its_type_or_text_that_parses_to_it() {
    let number = |relation, number| Ok(Test::Number(relation, number));
    assert_eq!(test_of("int_eq", json!(7)), number(Relation::Eq, Number::Int(7)));
    assert_eq!(
        test_of("int_eq", json!("-7")),
        number(Relation::Eq, Number::Int(-7))
    );
    assert_eq!(
        test_of("int_in", json!([1, "2"])),
        Ok(Test::NumberIn(vec![Number::Int(1), Number::Int(2)]))
    );
    assert_eq!(
        test_of("int_in", json!("[1,2]")),
        Ok(Test::NumberIn(vec![Number::Int(1), Number::Int(2)]))
    );
    assert_eq!(
        test_of("float_lt", json!("1.5e3")),
        number(Relation::Lt, Number::Float(1500.0))
    );
    assert_eq!(test_of("bool_eq", json!("false")), Ok(Test::BoolEq(false)));
    assert_eq!(test_of("exists", json!({"ignored": []})), Ok(Test::Exists));
    assert!(matches!(test_of("date_gt", json!("now-7d")), Ok(Test::Date(..))));
    assert!(matches!(
        test_of("version_gte", json!("1.2")),
        Ok(Test::Version(..))
    ));
    let large = i64::MAX - 1;
    match test_of("float_eq", json!(large)) {
        Ok(Test::Number(_, Number::Int(int))) => assert_eq!(int, large, "a large integer is not rounded"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_of_another_type_are_refused_at_the_value() {
    let cases = [
        ("int_eq", json!(1.5)),
        ("int_eq", json!(u64::MAX)),
        ("int_eq", json!("1.0")),
        ("int_eq", json!(" 1")),
        ("int_eq", json!(true)),
        ("int_in", json!(["1", "x"])),
        ("int_in", json!([])),
        ("int_in", json!("1,2")),
        ("float_eq", json!("NaN")),
        ("float_eq", json!("inf")),
        ("float_eq", json!("1e999")),
        ("str_eq", json!(1)),
        ("str_eq", json!(null)),
        ("str_in", json!([1])),
        ("str_exists", json!(["a"])),
        ("list_any", json!([null])),
        ("list_any", json!([{"$gt": 1}])),
        ("list_all", json!("vip")),
        ("bool_eq", json!("yes")),
        ("date_gt", json!(1_700_000_000)),
        ("date_gt", json!("2026-02-30")),
        ("version_eq", json!("latest")),
    ];
    for (operator, value) in cases {
        let error = test_of(operator, value.clone()).expect_err(&format!("{operator} {value}"));
        assert_eq!(
            (error.pointer.as_str(), error.code),
            ("/value", Code::InvalidValue),
            "{operator} {value}"
        );
    }
}

#[test]
fn every_operator_parses_with_a_value_of_its_type() {
    use crate::audience::Operand;
    for operator in Operator::ALL {
        let value = match operator.operand() {
            Operand::Integer | Operand::Float => json!(1),
            Operand::Text => json!("a"),
            Operand::Bool => json!(true),
            Operand::Nothing => json!(null),
            Operand::Date => json!("2026-11-21"),
            Operand::Version => json!("1.2"),
            Operand::IntegerList | Operand::FloatList => json!([1]),
            Operand::TextList | Operand::ScalarList => json!(["a"]),
        };
        assert!(test_of(operator.name(), value).is_ok(), "{}", operator.name());
    }
}

#[test]
fn trees_over_a_limit_are_refused() {
    let group = |children: Vec<Value>| json!({"join_type": "AND", "conditions": children});
    let nested = |groups: usize| (0..groups).fold(leaf(), |tree, _| group(vec![tree]));
    assert!(parse(nested(7)).is_ok());
    let error = parse(nested(8)).unwrap_err();
    assert_eq!(error.code, Code::TooLarge);
    assert_eq!(error.pointer, "/conditions/0".repeat(8));

    assert!(parse(group(vec![leaf(); 32])).is_ok());
    assert_eq!(parse(group(vec![leaf(); 33])).unwrap_err().pointer, "/conditions");

    // 1 + 3 * (1 + 32) = 100 nodes, and one more.
    let full = group(vec![group(vec![leaf(); 32]); 3]);
    assert!(parse(full).is_ok());
    let over = group(vec![
        group(vec![leaf(); 32]),
        group(vec![leaf(); 32]),
        group(vec![leaf(); 32]),
        leaf(),
    ]);
    assert_eq!(parse(over).unwrap_err().code, Code::TooLarge);

    for (operator, value) in [
        ("str_eq", json!("x".repeat(1025))),
        ("str_in", json!(["x".repeat(257)])),
        ("int_in", json!(vec![1; 1001])),
    ] {
        assert_eq!(
            test_of(operator, value).unwrap_err().code,
            Code::TooLarge,
            "{operator}"
        );
    }
}
