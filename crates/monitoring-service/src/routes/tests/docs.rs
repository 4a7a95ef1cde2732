//! The served contract. `tests/it/contract.rs` compares its examples.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use super::harness::Api;
use crate::config::ApiToken;

const TOKEN: &str = "correct-horse-battery-staple";

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
async fn every_reference_of_the_document_resolves() {
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
async fn every_answer_and_problem_has_an_example() {
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
async fn members_of_answers_are_required() {
    let document = Api::new().ok("/openapi.json").await;
    let schemas = &document["components"]["schemas"];
    let alert = &schemas["AlertView"]["allOf"];
    let objects = [&schemas["EvidenceView"], &alert[1]];
    assert_eq!(alert[0]["$ref"], "#/components/schemas/EvidenceView");
    for object in objects {
        let required = object["required"].as_array().unwrap().len();
        let members = object["properties"].as_object().unwrap().len();
        assert_eq!(required, members, "{object}");
    }
    assert_eq!(
        schemas["Problem"]["required"],
        json!(["type", "title", "status", "detail", "request_id"])
    );
}

#[tokio::test]
async fn the_page_loads_only_its_own_files() {
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
    assert_eq!(assets.len(), 3, "{assets:?}");
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

#[tokio::test]
async fn an_open_server_declares_no_token() {
    let document = Api::new().ok("/openapi.json").await;
    let text = document.to_string();
    for absent in ["security", "securitySchemes", "401", "unauthorized"] {
        assert!(!text.contains(&format!(r#""{absent}""#)), "{absent}");
    }
}

#[tokio::test]
async fn a_server_with_a_token_declares_it() {
    let api = Api::new().with(|state| state.api_token = Some(ApiToken::parse(TOKEN).unwrap()));
    let request = Request::get("/openapi.json").header("authorization", format!("Bearer {TOKEN}"));
    let document = api.send(request.body(Body::empty()).unwrap()).await.json;
    assert_eq!(document["security"], json!([{"token": []}]));
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    let paths = &document["paths"];
    assert!(paths["/alerts"]["get"]["responses"]["401"].is_object());
    assert_eq!(paths["/health/live"]["get"]["security"], json!([{}]));
}

#[tokio::test]
async fn links_are_relative_unless_an_address_is_set() {
    let api = Api::new();
    assert_eq!(
        api.ok("/openapi.json").await["servers"],
        json!([{"url": "."}])
    );
    assert_eq!(api.get("/docs").await.headers["location"], "docs/");
    let script = api.get("/docs/start.js").await.text;
    assert!(script.contains("../openapi.json"), "{script}");
    let url = "https://pay.example/monitor/";
    let api = Api::new().with(|state| state.public_url = Some(url.to_owned()));
    let servers = &api.ok("/openapi.json").await["servers"];
    assert_eq!(*servers, json!([{"url": "https://pay.example/monitor"}]));
}

#[tokio::test]
async fn example_ranges_are_not_empty() {
    let document = Api::new().ok("/openapi.json").await;
    let mut ranges = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array();
        let example = |name: &str| {
            let named = |parameter: &&Value| parameter["name"] == name;
            parameters?.iter().find(named)?["example"].as_str()
        };
        if let (Some(from), Some(to)) = (example("from"), example("to")) {
            assert!(from < to, "{path}: {from} to {to}");
            ranges += 1;
        }
    }
    assert_eq!(ranges, 7);
}
