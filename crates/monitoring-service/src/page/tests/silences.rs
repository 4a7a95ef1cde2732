//! Silences by forms: hostile texts, and forms of other sites.

use axum::http::{StatusCode, header};

use super::{HTML, get, submit};
use crate::routes::harness::{Api, NOW_MS, now};

#[tokio::test]
async fn a_hostile_reason_is_shown_as_text() {
    let api = Api::new();
    let reason = "<script>alert(1)</script>\u{202e}\"'&";
    let form: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("stream", ""),
            ("minutes", "60"),
            ("weekly", ""),
            ("reason", reason),
        ])
        .finish();
    let answer = submit(&api, "/page/silences", &form, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(answer.headers[header::LOCATION], "../page/silences");
    let text = api.get("/page/silences").await.text;
    assert!(
        text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{text}"
    );
    assert!(!text.contains("<script>alert"), "{text}");
    let hostile = get(&api, "/page/streams/%3Cscript%3E", &[HTML]).await;
    assert_eq!(hostile.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!hostile.text.contains("<script>"), "{}", hostile.text);
}

#[tokio::test]
async fn a_silence_is_made_and_ended_by_forms() {
    let mut api = Api::new();
    api.consume_usual("day-1", now(), 3);
    submit(
        &api,
        "/page/silences",
        "stream=day*&status=denied&minutes=15&reason=test",
        &[],
    )
    .await;
    let silences = api.state.store.silences(NOW_MS).await.unwrap();
    assert!(silences[0].silence.covers_stream("day-1"));
    let end = format!("/page/silences/{}/end", silences[0].silence.id);
    assert!(api.get("/page/silences").await.text.contains(&end[1..]));
    assert_eq!(
        submit(&api, &end, "", &[]).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(api.state.store.silences(NOW_MS).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_form_of_another_site_is_refused() {
    let api = Api::new();
    for headers in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let form = "minutes=15&reason=none";
        let answer = submit(
            &api,
            "/page/silences",
            form,
            &[headers, ("host", "pay.example")],
        )
        .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    assert!(api.state.store.silences(NOW_MS).await.unwrap().is_empty());
}
