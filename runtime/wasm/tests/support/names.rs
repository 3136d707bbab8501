//! A name server of the tests' own.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jobcell_wasm::{HttpSender, Resolver};

/// Answers as it was told, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// Gives these answers for a name, one after the other; the last stays. Each is a list of addresses with spaces.
    pub(crate) fn set(&self, name: &str, answers: &[&str]) {
        let parse = |answer: &&str| answer.split_whitespace().map(|ip| ip.parse().unwrap()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers.iter().map(parse).collect());
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// A sender that asks it, and trusts these authorities in PEM.
    pub(crate) fn sender(self: &Arc<Self>, authorities: &str) -> HttpSender {
        HttpSender::new(Some(Arc::clone(self) as Arc<dyn Resolver>), authorities.as_bytes()).unwrap()
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answers = answers.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}
