//! Where pages are. Every address on a page is made here, so that a prefix stands before all of them.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands as it is in a part of a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Makes addresses.
#[derive(Debug, Clone)]
pub(super) struct Links(Arc<str>);

impl Links {
    /// Below this root: nothing, or a path that begins with a slash and ends with none.
    pub(super) fn new(root: &str) -> Self {
        Self(root.into())
    }

    /// What cookies are for.
    pub(super) fn cookie_path(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    /// A page by its path, which begins with a slash and is written as it is.
    pub(super) fn to(&self, path: &str) -> String {
        if path == "/" && !self.0.is_empty() {
            return self.0.to_string();
        }
        format!("{}{path}", self.0)
    }

    pub(super) fn queue(&self, queue: &str) -> String {
        self.to(&format!("/queues/{}", part(queue)))
    }

    /// The jobs of a queue in one state.
    pub(super) fn state(&self, queue: &str, state: &str) -> String {
        format!("{}?state={}", self.queue(queue), part(state))
    }

    /// Something that is done to a queue.
    pub(super) fn queue_act(&self, queue: &str, action: &str) -> String {
        format!("{}/do/{action}", self.queue(queue))
    }

    pub(super) fn job(&self, queue: &str, id: &str) -> String {
        format!("{}/jobs/{}", self.queue(queue), part(id))
    }

    /// Something that is done to a job.
    pub(super) fn job_act(&self, queue: &str, id: &str, action: &str) -> String {
        format!("{}/do/{action}", self.job(queue, id))
    }

    pub(super) fn handler(&self, handler: &str) -> String {
        self.to(&format!("/handlers/{}", part(handler)))
    }

    pub(super) fn handler_act(&self, handler: &str, action: &str) -> String {
        format!("{}/do/{action}", self.handler(handler))
    }

    pub(super) fn host_act(&self, host: &str, action: &str) -> String {
        self.to(&format!("/hosts/{}/do/{action}", part(host)))
    }

    /// Updates of these queues, as they happen.
    pub(super) fn live<'a>(&self, queues: impl IntoIterator<Item = &'a str>) -> String {
        let queues: Vec<String> = queues.into_iter().map(part).collect();
        self.to(&format!("/live?queue={}", queues.join(",")))
    }

    /// A place on this site that somebody wants to go back to; anything else is the first page. Never another site.
    pub(super) fn back(&self, asked: &str) -> String {
        let is_path =
            asked.starts_with('/') && !asked.starts_with("//") && !asked.contains(['\\', '\n', '\r', '\t']);
        let is_ours =
            asked.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let is_plain = asked.bytes().all(|byte| byte.is_ascii_graphic());
        if is_path && is_ours && is_plain { asked.to_owned() } else { self.to("/") }
    }
}

/// A name as a part of a path or the value of a parameter. `.` and `..` alone would be taken out by browsers.
pub(super) fn part(name: &str) -> String {
    match name {
        "." | ".." => name.replace('.', "%252E"),
        _ => utf8_percent_encode(name, PLAIN).to_string(),
    }
}

/// The name in a path, as it was before [`part`].
pub(super) fn name(part: String) -> String {
    match part.as_str() {
        "%2E" => ".".to_owned(),
        "%2E%2E" => "..".to_owned(),
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_the_prefix_and_names_are_encoded() {
        let links = Links::new("/jobs");
        assert_eq!(links.to("/"), "/jobs");
        assert_eq!(links.job("a b/ü", "x?y"), "/jobs/queues/a%20b%2F%C3%BC/jobs/x%3Fy");
        assert_eq!(links.queue(".."), "/jobs/queues/%252E%252E");
        assert_eq!(name("%2E%2E".to_owned()), "..");
        assert_eq!(Links::new("").to("/"), "/");
        assert_eq!(Links::new("").live(["a,b", "c"]), "/live?queue=a%2Cb,c");
    }

    #[test]
    fn nobody_is_sent_to_another_site() {
        let links = Links::new("/jobs");
        assert_eq!(links.back("/jobs/queues?state=failed"), "/jobs/queues?state=failed");
        for bad in
            ["//evil.example", "https://evil.example", "/\\evil", "/jobsworth", "/other", "", "/jobs\r\nx: y"]
        {
            assert_eq!(links.back(bad), "/jobs", "{bad:?}");
        }
        assert_eq!(Links::new("").back("//evil.example"), "/");
    }
}
