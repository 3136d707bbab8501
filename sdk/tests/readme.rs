//! The README's program, which must compile, pass its own tests, and stand here as it stands there.

use jobcell_sdk::prelude::*;
use jobcell_sdk::{cache, context};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

/// Takes the jobs named `say-hello`.
#[handler]
fn say_hello(job: Job<Greet>) -> Result<Greeting, Failure> {
    let name = job.data.name;
    if name.is_empty() {
        return Err(Failure::invalid("name: must not be empty"));
    }
    if !cache::set_if_absent(&name, b"", None)? {
        context::log(format!("{name} was greeted before"));
    }
    Ok(Greeting { text: format!("Hello, {name}!") })
}

plugin!(say_hello);

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    #[test]
    fn greets() {
        let host = Host::new().cache().at(1_700_000_000_000);
        let job = testing::job(super::Greet { name: "Ada".into() });
        assert_eq!(host.run(super::say_hello, job).unwrap().text, "Hello, Ada!");
        assert!(host.cached("Ada").is_some());
    }

    #[test]
    fn refuses_another_payload() {
        let job = testing::bytes(*br#"{"name": 7}"#).name("say-hello");
        let failure = Host::new().dispatch(&super::PLUGIN, job).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "invalid: payload: name: invalid type: integer `7`, expected a string at line 1 column 10"
        );
    }
}

#[test]
fn the_readme_shows_this_program() {
    let (readme, program) = (include_str!("../README.md"), include_str!("readme.rs"));
    let blocks: Vec<&str> =
        readme.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2, "the handler and its tests");
    for block in blocks {
        assert!(program.contains(block), "the README's program differs from tests/readme.rs:\n{block}");
    }
}
