//! The printed document: current, complete, and about exactly the paths of the contract.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;

use serde_yaml_ng::Value;

fn document() -> Value {
    serde_yaml_ng::from_str(&jraze_openapi::spec::yaml()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_mapping().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_mapping()
                .unwrap()
                .iter()
                .map(move |(method, operation)| {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    (text(path), text(method), operation)
                })
        })
        .collect()
}

#[test]
fn the_committed_document_is_current() {
    let committed = include_str!("../openapi.yaml");
    assert!(
        committed == jraze_openapi::spec::yaml(),
        "openapi/openapi.yaml is stale: run `jraze openapi > openapi/openapi.yaml` or `make generate`"
    );
}

#[test]
fn the_paths_are_exactly_those_of_the_contract() {
    let expected = BTreeSet::from([
        "put /devices",
        "put /devices/",
        "get /devices/{external_id}",
        "delete /devices/{external_id}",
        "post /devices/{external_id}/properties/:add",
        "post /devices/{external_id}/secret/:rotate",
        "get /devices/{external_id}/notifications",
        "post /devices/-/:search",
        "post /devices/-/:import",
        "get /devices/-/:export",
        "get /devices/-/properties",
        "post /notifications",
        "get /notifications",
        "get /notifications/{notification_id}",
        "put /notifications/{notification_id}",
        "delete /notifications/{notification_id}",
        "post /notifications/{notification_id}/:launch",
        "put /notifications/{notification_id}/status",
        "post /internal/devices/logs/notification:add",
        "post /internal/notifications/{notification_uuid}/sent:increase",
        "get /health/live",
        "get /health/ready",
    ]);
    let document = document();
    let printed: BTreeSet<String> = operations(&document)
        .iter()
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(
        printed.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn every_operation_has_an_id_a_tag_a_summary_security_failures_and_an_example() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let name = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{name}"
        );
        assert_eq!(operation["tags"].as_sequence().unwrap().len(), 1, "{name}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        let open = path.starts_with("/health/");
        assert_eq!(operation.get("security").is_none(), open, "{name}");
        let responses = operation["responses"].as_mapping().unwrap();
        for status in ["500", "503"].into_iter().chain((!open).then_some("401")) {
            assert!(responses.contains_key(status), "{name}: {status}");
        }
        for (status, response) in responses {
            for (_, media) in response["content"].as_mapping().unwrap() {
                assert!(has_example(&document, &media["schema"]), "{name}: {status:?}");
            }
        }
        if let Some(body) = operation.get("requestBody") {
            for status in ["400", "413", "415"] {
                assert!(responses.contains_key(status), "{name}: {status}");
            }
            for (_, media) in body["content"].as_mapping().unwrap() {
                assert!(has_example(&document, &media["schema"]), "{name}: body");
            }
        }
    }
}

fn has_example(document: &Value, schema: &Value) -> bool {
    let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    document["components"]["schemas"][name].get("example").is_some()
}

#[test]
fn component_names_are_legal_and_the_text_is_the_same_each_time() {
    let document = document();
    for name in document["components"]["schemas"].as_mapping().unwrap().keys() {
        let name = name.as_str().unwrap();
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            "{name}"
        );
    }
    assert_eq!(jraze_openapi::spec::yaml(), jraze_openapi::spec::yaml());
}

#[test]
fn the_docs_page_shows_the_document_and_cannot_be_broken_by_it() {
    let page = jraze_openapi::spec::docs_html();
    assert!(page.contains("/devices/-/:search"));
    assert_eq!(page.matches("</script>").count(), 2);
}
