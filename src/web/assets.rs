//! What pages are made with besides: a style, a script, a picture. They are part of the program, and no page takes anything from
//! elsewhere.

use std::sync::LazyLock;

use axum::{
    body::Body,
    extract::{Path, State},
};
use http::{HeaderValue, Response, StatusCode, Uri, header};
use ring::digest;
use tonic::Code;

use super::{Pages, answer, failure};

/// A file of the program.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset { name: "style.css", content_type: "text/css; charset=utf-8", bytes: include_bytes!("assets/style.css") },
    Asset {
        name: "pages.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/pages.js"),
    },
    Asset { name: "live.js", content_type: "text/javascript; charset=utf-8", bytes: include_bytes!("assets/live.js") },
    Asset { name: "key.svg", content_type: "image/svg+xml", bytes: include_bytes!("assets/key.svg") },
];

/// Where pages find them: with what they are in the address, so that browsers may keep them, and a newer program's are others.
pub(super) struct Addresses {
    pub(super) style: String,
    pub(super) script: String,
    pub(super) live: String,
    pub(super) icon: String,
}

/// The same, in the order of the files.
static AT: LazyLock<[String; 4]> = LazyLock::new(|| {
    ASSETS.map(|asset| {
        let digest = digest::digest(&digest::SHA256, asset.bytes);
        let version: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("/assets/{}?v={version}", asset.name)
    })
});

pub(super) static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| {
    let [style, script, live, icon] = AT.clone();
    Addresses { style, script, live, icon }
});

/// One of them. There are no others, whatever path is asked for. A page of a newer program, which runs beside this one, may ask here for what
/// this one has in an older version: that is nothing to be kept.
pub(super) async fn serve(State(_): State<Pages>, Path(name): Path<String>, address: Uri) -> Response<Body> {
    let Some((asset, at)) = ASSETS.iter().zip(AT.iter()).find(|(asset, _)| asset.name == name) else {
        return failure::not_found();
    };
    let mut response = answer::respond(StatusCode::OK, Code::Ok, Body::from(asset.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    let is_this_one = address.path_and_query().is_some_and(|asked| asked.as_str() == at);
    let kept = if is_this_one { "public, max-age=31536000, immutable" } else { "no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}
