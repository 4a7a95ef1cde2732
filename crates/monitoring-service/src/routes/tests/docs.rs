//! The contract as it is served; what it shows is compared by `tests/it/contract.rs`.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::Value;

use super::harness::Api;

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(
                members
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(ToOwned::to_owned),
            );
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(entries) => entries.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole_and_names_nothing_that_is_not_in_it() {
    let document = Api::new().ok("/openapi.json").await;
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&"3.1.0".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let lost: Vec<_> = found
        .iter()
        .filter(|name| document.pointer(name.trim_start_matches('#')).is_none())
        .collect();
    assert!(!found.is_empty() && lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn every_answer_and_every_problem_has_an_example() {
    let document = Api::new().ok("/openapi.json").await;
    let mut without = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let answer = answer["$ref"]
                    .as_str()
                    .map_or(answer, |name| document.pointer(&name[1..]).unwrap());
                let contents = answer["content"]
                    .as_object()
                    .into_iter()
                    .flat_map(serde_json::Map::values);
                for content in contents
                    .filter(|content| content["example"].is_null() && content["examples"].is_null())
                {
                    without.push(format!("{method} {path} {status}: {content}"));
                }
            }
        }
    }
    assert!(without.is_empty(), "{without:#?}");
}

#[tokio::test]
async fn members_of_answers_are_always_there_and_those_of_problems_may_be_left_out() {
    let document = Api::new().ok("/openapi.json").await;
    let schemas = &document["components"]["schemas"];
    let required = |name: &str| schemas[name]["required"].as_array().unwrap().len();
    assert_eq!(
        required("AlertView"),
        schemas["AlertView"]["properties"]
            .as_object()
            .unwrap()
            .len()
    );
    assert_eq!(
        schemas["Problem"]["required"],
        serde_json::json!(["type", "title", "status", "detail", "request_id"])
    );
}

#[tokio::test]
async fn the_page_brings_all_it_needs_and_lets_nothing_else_in() {
    let api = Api::new();
    let page = api.get("/docs/").await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert_eq!(page.headers["x-frame-options"], "DENY");
    assert!(!page.text.contains("https://"), "{}", page.text);
    let quoted = page
        .text
        .split('"')
        .map(|text| text.trim_start_matches("./"));
    let assets: Vec<_> = quoted
        .filter(|text| text.contains(".js") || text.contains(".css"))
        .collect();
    assert_eq!(assets.len(), 5, "{assets:?}");
    for asset in assets {
        assert_eq!(
            api.get(&format!("/docs/{asset}")).await.status,
            StatusCode::OK,
            "{asset}"
        );
    }
    assert_eq!(api.get("/docs").await.status, StatusCode::SEE_OTHER);
    let unknown = api.get("/docs/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(
        (unknown.status, &unknown.json["type"]),
        (StatusCode::NOT_FOUND, &"/problems/not-found".into())
    );
}
