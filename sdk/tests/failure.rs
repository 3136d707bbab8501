//! How ordinary errors become failures.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jobcell_sdk::HostError;
use jobcell_sdk::http::HttpError;
use jobcell_sdk::prelude::*;

/// An error of a handler's own, around another one.
#[derive(Debug)]
struct Step<E>(&'static str, E);

impl<E> fmt::Display for Step<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<E: Error + 'static> Error for Step<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.1)
    }
}

/// What `?` makes of the error.
fn question_mark<E: Error + 'static>(error: E) -> Failure {
    let handler = || -> Result<Infallible, Failure> { Err(error)? };
    match handler() {
        Err(failure) => failure,
    }
}

#[test]
fn an_ordinary_error_is_retried_with_its_whole_chain() {
    let error = Step("cannot read the order", Step("line 3", "x".parse::<u8>().unwrap_err()));
    assert_eq!(
        question_mark(error),
        Failure::retry("cannot read the order: line 3: invalid digit found in string")
    );
}

#[test]
fn a_source_that_is_already_in_the_text_is_not_repeated() {
    let error = Step("upload failed: not found", HostError::NotFound);
    assert_eq!(question_mark(error), Failure::retry("upload failed: not found"));
}

#[test]
fn what_the_host_refuses_is_fatal_and_what_it_cannot_do_now_is_retried() {
    let text = || "x".to_owned();
    for fatal in [HostError::Denied(text()), HostError::Invalid(text()), HostError::TooLarge(9)] {
        assert!(matches!(question_mark(fatal.clone()), Failure::Fatal(_)), "{fatal}");
    }
    let passing = [
        HostError::NotFound,
        HostError::Quota(text()),
        HostError::Unavailable(text()),
        HostError::Other(text()),
    ];
    for retry in passing {
        assert!(matches!(question_mark(retry.clone()), Failure::Retry(_)), "{retry}");
    }
    for fatal in [HttpError::Denied(text()), HttpError::Invalid(text()), HttpError::TooLarge(text())] {
        assert!(matches!(question_mark(fatal.clone()), Failure::Fatal(_)), "{fatal}");
    }
    let passing = [
        HttpError::Timeout,
        HttpError::Dns(text()),
        HttpError::Connect(text()),
        HttpError::Broken(text()),
        HttpError::Tls(text()),
        HttpError::Protocol(text()),
        HttpError::Other(text()),
    ];
    for retry in passing {
        assert!(matches!(question_mark(retry.clone()), Failure::Retry(_)), "{retry}");
    }
}

#[test]
fn only_what_never_left_is_safe_to_send_again() {
    let text = || "x".to_owned();
    for unsent in [
        HttpError::Denied(text()),
        HttpError::Invalid(text()),
        HttpError::Dns(text()),
        HttpError::Connect(text()),
    ] {
        assert!(unsent.is_unsent(), "{unsent}");
    }
    for doubtful in [
        HttpError::Timeout,
        HttpError::Broken(text()),
        HttpError::Tls(text()),
        HttpError::Protocol(text()),
        HttpError::TooLarge(text()),
        HttpError::Other(text()),
    ] {
        assert!(!doubtful.is_unsent(), "{doubtful}");
    }
}

#[test]
fn a_refusal_is_fatal_however_deep_it_lies() {
    let error =
        Step("cannot send the receipt", Step("channel", HostError::Denied("no `publish`".to_owned())));
    assert_eq!(
        question_mark(error),
        Failure::fatal("cannot send the receipt: channel: denied: no `publish`")
    );
}

#[test]
fn a_failure_passes_through_as_it_is() {
    fn inner() -> Result<(), Failure> {
        Err(Failure::Requeue)
    }
    fn outer() -> Result<(), Failure> {
        inner()?;
        Ok(())
    }
    assert_eq!(outer(), Err(Failure::Requeue));
}

#[test]
fn the_handler_can_say_what_an_error_means() {
    let fault = || "x".parse::<u8>();
    let said = "the amount: invalid digit found in string";
    assert_eq!(fault().or_fatal("the amount"), Err(Failure::fatal(said)));
    assert_eq!(fault().or_retry("the amount"), Err(Failure::retry(said)));
    assert_eq!(fault().or_invalid("the amount"), Err(Failure::invalid(said)));
    assert_eq!("7".parse::<u8>().or_fatal("the amount"), Ok(7));

    assert_eq!(None::<u8>.or_fatal("no amount"), Err(Failure::fatal("no amount")));
    assert_eq!(None::<u8>.or_retry("no amount"), Err(Failure::retry("no amount")));
    assert_eq!(None::<u8>.or_invalid("no amount"), Err(Failure::invalid("no amount")));
    assert_eq!(Some(7).or_invalid("no amount"), Ok(7));

    let refused: Result<(), HostError> = Err(HostError::Denied("x".to_owned()));
    assert_eq!(refused.or_retry("later"), Err(Failure::retry("later: denied: x")));
}

#[test]
fn times_become_milliseconds_of_the_epoch() {
    let when = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    assert_eq!(Failure::delay_until(when), Failure::DelayUntil(1_700_000_000_123));
    assert_eq!(Failure::delay_until(UNIX_EPOCH - Duration::from_secs(1)), Failure::DelayUntil(0));
    assert!(
        matches!(Failure::delay_until(SystemTime::now()), Failure::DelayUntil(ms) if ms > 1_600_000_000_000)
    );
}
