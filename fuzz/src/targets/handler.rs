//! What is handed in with a version: its manifest inside of bytes that nobody has checked, keys and signatures as text,
//! and what it wants, beside what is granted.

use http::Uri;
use jobcell_handlers::manifest::{self, Manifest, ManifestError};
use jobcell_handlers::trust::{KeyId, PublicKey, SecretKey, Signature, Trust};
use jobcell_handlers::wants::{HttpWant, Wants};
use jobcell_handlers::{Digest, DigestStart};
use jobcell_wasm::HttpRule;
use jobcell_wasm::fuzzing::{covers, request_url};

/// Characters that a message has at most, whatever it is about.
const MESSAGE_MAX: usize = 2_000;

/// A component, or something that begins as one.
pub fn manifest(data: &[u8]) {
    let section = match manifest::section(data) {
        Ok(section) => section,
        Err(fault) => {
            check_message(&fault);
            assert!(manifest::embed(data, &Manifest::unsaid("x", None)).is_err() || !is_cut_off(&fault));
            return;
        }
    };
    if let Some(content) = section {
        // What is malformed behind a manifest on the outermost level is not looked at.
        check_manifest(content);
    }
    let mine = Manifest::unsaid("x", Some("0.1.0".to_owned()));
    let Ok(embedded) = manifest::embed(data, &mine) else { return };
    let read = Manifest::read(&embedded).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(read.as_ref(), Some(&mine), "the outermost counts");
    let again = manifest::embed(&embedded, &mine).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(again, embedded, "embedding replaces");
}

fn is_cut_off(fault: &ManifestError) -> bool {
    matches!(fault, ManifestError::Malformed { at: 0, .. })
}

fn check_manifest(content: &[u8]) {
    match Manifest::parse(content) {
        Err(fault) => check_message(&fault),
        Ok(manifest) => {
            // Written again it may be longer, where it was written without its defaults.
            let Ok(encoded) = manifest.encode() else { return };
            let read = Manifest::parse(&encoded).unwrap_or_else(|fault| panic!("{fault}"));
            assert_eq!(read, manifest);
            for line in manifest.wants.iter().flat_map(Wants::lines) {
                assert!(!line.chars().any(char::is_control), "{line:?} would move the cursor of a terminal");
            }
        }
    }
}

fn check_message(fault: &impl std::fmt::Display) {
    let message = fault.to_string();
    assert!(!message.is_empty() && message.chars().count() <= MESSAGE_MAX, "{message}");
}

/// A text where a key, a signature or a digest is expected.
pub fn signature(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = SecretKey::from_seed([1; 32]);
    if let Ok(public) = text.parse::<PublicKey>() {
        assert_eq!(public.to_string().parse(), Ok(public));
    }
    if let Ok(secret) = text.parse::<SecretKey>() {
        let exposed = secret.expose();
        assert!(text.trim() == exposed && !format!("{secret:?}").contains(&exposed));
    }
    if let Ok(signature) = text.parse::<Signature>() {
        assert_eq!(signature.to_string().parse(), Ok(signature));
        let digest = Digest::of(b"component");
        let trust = Trust::new(true, vec![key.public()]);
        if let Ok(by) = trust.verify("x", &digest, b"", Some(&signature)) {
            assert_eq!((by, signature), (Some(key.public().id()), key.sign(&digest, b"")));
        }
    }
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let start: DigestStart = text.parse().unwrap_or_else(|fault| panic!("{fault}"));
        assert!(start.begins(&digest));
    }
    for fault in [text.parse::<Digest>().err(), text.parse::<DigestStart>().err()].into_iter().flatten() {
        check_message(&fault);
    }
}

/// The first line is the URL of a grant, the second that of a want, every other one the URL of a request: what is both
/// granted and wanted is what both rules let pass.
pub fn wants(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (granted, wanted) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Some((rule, _)) = read(granted) else { return };
    let Some((want_rule, want)) = read(wanted) else { return };
    let wants = Wants { http: vec![want], ..Wants::default() };
    let narrowed = wants.narrow_http(granted, None).unwrap_or_else(|fault| panic!("{fault}"));
    let narrowed: Vec<HttpRule> = narrowed.iter().map(|(url, _)| rule_of(url)).collect();
    for line in lines {
        let Some(url) = line.parse::<Uri>().ok().and_then(|uri| request_url(&uri)) else { continue };
        let of_both = covers(&rule, &url) && covers(&want_rule, &url);
        let left = narrowed.iter().any(|rule| covers(rule, &url));
        assert_eq!(left, of_both, "{granted} and {wanted}: {url}");
    }
}

/// The rule of a URL, with the want of it. A rule that is one for the host is one for the wants, unless its path leads to
/// `/` in a roundabout way.
fn read(url: &str) -> Option<(HttpRule, HttpWant)> {
    let rule = HttpRule::new(url, None, Vec::new(), false).ok()?;
    let want = match HttpWant::new(url, &[]) {
        Ok(want) => want,
        Err(fault) => {
            assert!(fault.why.contains("roundabout"), "{fault}");
            return None;
        }
    };
    let again = HttpWant::new(&want.url(), &[]).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(again, want);
    Some((rule, want))
}

fn rule_of(url: &str) -> HttpRule {
    HttpRule::new(url, None, Vec::new(), false).unwrap_or_else(|fault| panic!("{fault}"))
}
