//! What the refusals of a remote store mean for its operator: what is wrong, and what to change.

use std::error::Error as _;

use object_store::Error;

/// What went wrong, with the fix where the cause is known. For operators: it may name hosts and buckets.
pub(crate) fn told(error: &Error, url: &str) -> String {
    let text = whole(error);
    let code = code(&text);
    let (bucket, variables) = terms(url);
    if is_missing_bucket(error) {
        return format!("there is no such {bucket}; make it, or correct the url: {text}");
    }
    if let Some(cause) = code.filter(|code| is_about_credentials(code)) {
        return format!(
            "the store refuses these credentials ({cause}); correct {variables}, or the options of this store where it has them: {text}"
        );
    }
    if is_refused(error) {
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        return format!(
            "the store lets these credentials do nothing here{code}; allow them to read, write, delete and list, or \
             correct {variables}, or the options of this store where it has them: {text}"
        );
    }
    if text.contains("URL scheme is not allowed") {
        return format!(
            "its endpoint is http://; to send requests without TLS set AWS_ALLOW_HTTP=true, or allow_http = true in the \
             options of this store: {text}"
        );
    }
    text
}

/// Did the store say no, rather than fail?
pub(crate) fn is_refused(error: &Error) -> bool {
    // Listings have no kinds of errors.
    matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
        || error.to_string().contains("403 Forbidden")
}

/// Is it not the object that is missing, but all of them?
pub(crate) fn is_missing_bucket(error: &Error) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]
        .iter()
        .any(|code| error.to_string().contains(code))
}

/// With the causes that it does not repeat itself: the last one often is the only one that says anything.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

/// The store's own word for the fault: S3 and Azure answer XML.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "InvalidAccessKeyId"
            | "NotSignedUp"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "AuthorizationHeaderMalformed"
            | "RequestTimeTooSkewed"
            | "AuthenticationFailed"
    )
}

/// What the store calls its largest part, and where its credentials come from.
fn terms(url: &str) -> (&'static str, &'static str) {
    match url.split(':').next() {
        Some("gs") => ("bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
        Some("az") => ("container", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
        _ => ("bucket", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn each_refusal_names_what_to_change() {
        let answer = |code: &str| format!("403 Forbidden: <Error><Code>{code}</Code></Error>");
        for (text, url, hints) in [
            (answer("SignatureDoesNotMatch"), "s3://b", ["(SignatureDoesNotMatch)", "AWS_SECRET_ACCESS_KEY"]),
            (answer("AccessDenied"), "s3://b", ["(AccessDenied)", "AWS_ACCESS_KEY_ID"]),
            (answer("AuthenticationFailed"), "az://b", ["refuses", "AZURE_STORAGE_ACCOUNT_KEY"]),
            ("404: <Code>NoSuchBucket</Code>".to_owned(), "s3://b", ["no such bucket", "correct the url"]),
            ("404: <Code>ContainerNotFound</Code>".to_owned(), "az://b", ["no such container", "make it"]),
            (
                "builder error: URL scheme is not allowed".to_owned(),
                "s3://b",
                ["http://", "AWS_ALLOW_HTTP=true"],
            ),
            ("connection refused".to_owned(), "s3://b", ["connection refused", "S3"]),
        ] {
            let told = told(&generic(&text), url);
            assert!(hints.iter().all(|hint| told.contains(hint)), "{told}");
        }
    }
}
