//! The web as the test tells it: answers by URL, then a responder, then refusal.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::{secrets::stand_in, state};
use crate::http::target::{check, missing_grant, without_query};
use crate::http::{HttpError, Request, Response};

type Answer = Result<Response, HttpError>;
type Responder = dyn Fn(&Request) -> Answer;

/// What answers, and what was asked.
#[derive(Default)]
pub(in crate::testing) struct Web {
    /// In order for each URL; the last one is kept.
    pub(in crate::testing) answers: BTreeMap<String, VecDeque<Answer>>,
    pub(in crate::testing) responder: Option<Rc<Responder>>,
    pub(in crate::testing) requests: Vec<Request>,
}

impl Web {
    /// The answer set for the URL, if one was.
    fn answer(&mut self, url: &str) -> Option<Answer> {
        let answers = self.answers.get_mut(url)?;
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    }
}

pub(crate) fn send(request: Request) -> Answer {
    check(&request)?;
    let max_body = request.max_body;
    let (sent, answer, responder) = state::with("http::Request::send", |state| {
        let request = substitute(request, state);
        state.web.requests.push(request.clone());
        let answer = state.web.answer(&request.url);
        (request, answer, state.web.responder.clone())
    });
    // Outside of `with`: the responder may look at the host itself.
    let answer = match (answer, responder) {
        (Some(answer), _) => answer,
        (None, Some(responder)) => responder(&sent),
        (None, None) => Err(missing_grant(sent.method, &check(&sent)?)),
    };
    let response = answer?;
    if response.body.len() > max_body {
        let about = without_query(&sent.url);
        return Err(HttpError::TooLarge(format!(
            "{} {about}: the answer is over {max_body} bytes",
            sent.method
        )));
    }
    Ok(response)
}

/// Puts the secrets where their stand-ins are, as the real host does on the way out.
fn substitute(mut request: Request, state: &state::State) -> Request {
    for (name, secret) in &state.secrets {
        let stand_in = stand_in(name);
        request.url = request.url.replace(&stand_in, &secret.value);
        for (_, value) in &mut request.headers {
            *value = value.replace(&stand_in, &secret.value);
        }
        if let Ok(text) = std::str::from_utf8(&request.body)
            && text.contains(&stand_in)
        {
            request.body = text.replace(&stand_in, &secret.value).into_bytes();
        }
    }
    request
}
