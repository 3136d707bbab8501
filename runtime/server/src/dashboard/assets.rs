//! The style, the script and the icon. Their names hold a hash of what is in them: browsers keep them for good, and a
//! new version of the program has new names.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::Site;

/// Something that pages bring along.
pub(super) struct Asset {
    /// Its path, without the prefix.
    pub(super) path: String,
    kind: &'static str,
    content: &'static str,
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css")));
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/live.js"))
});
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl Asset {
    fn new(name: &str, ending: &str, kind: &'static str, content: &'static str) -> Self {
        let hash = hex::encode(Sha256::digest(content));
        Self { path: format!("/assets/{name}-{}.{ending}", &hash[..12]), kind, content }
    }

    fn answer(&'static self) -> impl IntoResponse {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        (headers, self.content)
    }
}

/// Open to everybody: there is nothing in them.
pub(super) fn routes() -> Router<Site> {
    let mut router = Router::new();
    for asset in [&STYLE, &SCRIPT, &ICON] {
        let asset: &'static Asset = asset;
        router = router.route(&asset.path, get(async move || asset.answer()));
    }
    router
}
