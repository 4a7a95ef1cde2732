//! The page stands alone, and shows markup in names as text.

use super::Files;

#[test]
fn the_page_stands_alone_and_escapes_names() {
    let files = Files::new();
    files
        .run(&[
            "--incidents",
            "@labels.csv",
            "--sweep=5",
            "--html",
            "@report.html",
        ])
        .unwrap();
    let page = std::fs::read_to_string(files.path("report.html")).unwrap();
    for foreign in [
        "<script", "src=", "href=", "url(", "@import", "http:", "https:", "NaN", "inf",
    ] {
        assert!(
            !page.replace("http-equiv", "").contains(foreign),
            "{foreign}"
        );
    }
    for part in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<td>false alarm, in sale</td>",
        "closest: denied = 7",
        "class=\"m\"",
        "prefers-color-scheme:dark",
        "name=\"viewport\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for tag in [
        "html", "body", "table", "details", "figure", "svg", "ul", "div", "p", "tr", "li",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert_eq!(page.matches("<svg ").count(), 2 * (5 + 1));
}
