//! The one stylesheet and the one script. Their names contain a hash of their content, so browsers keep them for ever.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use ring::digest::{SHA256, digest};

use crate::routes::error::{Kind, Problem};

const FOLDER: &str = "/page/assets/";

/// A file of the page.
pub(super) struct Asset {
    name: String,
    content_type: &'static str,
    text: &'static str,
}

pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_str!("style.css"),
    )
});

pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "script",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("script.js"),
    )
});

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, text: &'static str) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let [a, b, c, d, ..] = hash.as_ref() else {
            unreachable!("a hash has 32 bytes")
        };
        Self {
            name: format!("{stem}-{a:02x}{b:02x}{c:02x}{d:02x}.{extension}"),
            content_type,
            text,
        }
    }

    /// Its path, relative to the root of the service.
    pub(super) fn path(&self) -> String {
        format!("{}{}", &FOLDER[1..], self.name)
    }
}

/// Whether a path is that of a file, which needs no token: the login needs it, too.
pub(crate) fn is_asset(path: &str) -> bool {
    path.starts_with(FOLDER)
}

/// A file by its name.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let asset = [&*STYLE, &*SCRIPT]
        .into_iter()
        .find(|asset| asset.name == name);
    let Some(asset) = asset else {
        return Err(Problem::new(Kind::NotFound, "the page has no such file")
            .fix("reload the page: a newer version of the service has other files"));
    };
    let headers: [(HeaderName, HeaderValue); 2] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(asset.content_type),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    Ok((headers, asset.text).into_response())
}
