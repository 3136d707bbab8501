//! Job `sync`: copies a chain's blocks from a node, page by page.
//!
//! Each block must hang on the one before it and have the hash that it says. After every page the place is kept, so that
//! an attempt that is cut off, by a power cut too, costs one page and no more.

use std::time::Duration;

use jobcell_sdk::http::Request;
use jobcell_sdk::kv::{self, Swap};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{config, context, time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The bucket of places.
const BUCKET: &str = "chain";
/// Blocks of a page.
const PAGE: u64 = 50;
/// What is left of the deadline when no further page is begun.
const RESERVE: Duration = Duration::from_secs(5);
/// When the job goes on that was given back for that.
const PAUSE_MS: u64 = 100;

/// What a producer puts on the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sync {
    /// Which chain.
    pub chain: String,
}

/// One block, as the node tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Block {
    /// From 1.
    pub height: u64,
    /// Hash of the one before; empty for the first.
    pub previous: String,
    /// What is in it.
    pub data: String,
    /// Its own hash.
    pub hash: String,
}

#[derive(Deserialize)]
struct Page {
    /// Height of the newest block that the node has.
    tip: u64,
    blocks: Vec<Block>,
}

/// How far a chain was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Of the last block; 0 before the first.
    pub height: u64,
    /// Its hash.
    pub hash: String,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// How far it is now.
    pub place: Place,
    /// Blocks that this attempt copied.
    pub blocks: u64,
    /// Pages that it asked for.
    pub pages: u64,
}

impl Block {
    /// The hash that a block has by rights: of its height, the hash before and its data.
    #[must_use]
    pub fn hash_of(height: u64, previous: &str, data: &str) -> String {
        hex::encode(Sha256::digest(format!("{height}\n{previous}\n{data}")))
    }

    /// Whether it comes next after this place.
    fn check(&self, place: &Place) -> Result<(), String> {
        let Self { height, previous, data, hash } = self;
        if *height != place.height + 1 {
            return Err(format!("block {height} comes after block {}", place.height));
        }
        if *previous != place.hash {
            return Err(format!(
                "block {height} hangs on {previous:?}, and block {} is {:?}",
                place.height, place.hash
            ));
        }
        let due = Self::hash_of(*height, previous, data);
        if *hash == due {
            Ok(())
        } else {
            Err(format!("block {height} says its hash is {hash:?}; it is {due:?}"))
        }
    }
}

/// Takes the jobs named `sync`.
///
/// # Errors
/// Fatal where the chain is broken, with the block: nothing behind it is copied. A retry when the node or the store cannot
/// be reached; the place stays.
#[handler]
pub fn sync(job: Job<Sync>) -> Result<Synced, Failure> {
    let chain = &job.data.chain;
    let node = config::get("node")?.ok_or_else(|| Failure::fatal("the setting `node` is missing"))?;
    let bucket = kv::open(BUCKET)?;
    let mut synced = Synced { place: Place::default(), blocks: 0, pages: 0 };
    loop {
        let kept = bucket.watch(chain)?;
        synced.place = match kept.current()? {
            None => Place::default(),
            Some(place) => serde_json::from_slice(&place).or_fatal(format!("the place of {chain}"))?,
        };
        let page = page(&node, chain, synced.place.height)?;
        synced.pages += 1;
        let mut place = synced.place.clone();
        for block in &page.blocks {
            block.check(&place).map_err(|why| Failure::fatal(format!("{chain}: {why}")))?;
            place = Place { height: block.height, hash: block.hash.clone() };
        }
        if place == synced.place {
            return Ok(synced);
        }
        let text = serde_json::to_vec(&place).or_fatal("the place")?;
        if let Swap::Lost(_) = kept.swap(&text)? {
            // Another job copies the same chain: go on from where that one is.
            continue;
        }
        synced.blocks += place.height - synced.place.height;
        synced.place = place;
        context::progress(&serde_json::json!({"height": synced.place.height, "tip": page.tip}))?;
        if synced.place.height >= page.tip {
            return Ok(synced);
        }
        if context::remaining() < RESERVE {
            context::log(format!("{chain}: at {}, going on in a moment", synced.place.height));
            return Err(Failure::DelayUntil(time::now_ms() + PAUSE_MS));
        }
    }
}

fn page(node: &str, chain: &str, after: u64) -> Result<Page, Failure> {
    let answer = Request::get(format!("{node}/{chain}/blocks?after={after}&limit={PAGE}")).send()?;
    if answer.status == 404 {
        return Err(Failure::fatal(format!("the node has no chain {chain}")));
    }
    if !answer.is_success() {
        return Err(Failure::retry(format!("the node answered {}", answer.status)));
    }
    answer.json().or_retry("the node's page")
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    use super::*;

    const NODE: &str = "http://node.example";

    fn chain(length: u64) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for height in 1..=length {
            let previous = blocks.last().map(|block| block.hash.clone()).unwrap_or_default();
            let data = format!("tip {height}");
            let hash = Block::hash_of(height, &previous, &data);
            blocks.push(Block { height, previous, data, hash });
        }
        blocks
    }

    fn host(blocks: Vec<Block>) -> Host {
        Host::new().config("node", NODE).bucket(BUCKET).on_request(move |request| {
            let after: usize =
                request.url.split("after=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
            let page: Vec<_> = blocks.iter().skip(after).take(50).collect();
            let body = serde_json::json!({"tip": blocks.len(), "blocks": page});
            Ok(jobcell_sdk::http::Response::new(200).with_json(&body))
        })
    }

    fn run(host: &Host) -> Result<Synced, Failure> {
        host.run(sync, testing::job(Sync { chain: "main".to_owned() }))
    }

    #[test]
    fn a_chain_is_copied_page_by_page_and_gone_on_with() {
        let host = host(chain(120));
        let synced = run(&host).unwrap();
        assert_eq!((synced.place.height, synced.blocks, synced.pages), (120, 120, 3));
        let asked: Vec<String> = host.requests().iter().map(|request| request.url.clone()).collect();
        assert!(asked[1].ends_with("/main/blocks?after=50&limit=50"), "{asked:?}");
        let again = run(&host).unwrap();
        assert_eq!((again.blocks, again.pages), (0, 1));
        assert_eq!(host.progress().last().unwrap(), &serde_json::json!({"height": 120, "tip": 120}));
    }

    #[test]
    fn a_broken_chain_is_copied_up_to_the_page_before() {
        for (field, break_it) in [
            ("hash", (|block: &mut Block| block.data.push('!')) as fn(&mut Block)),
            ("hangs on", |block| block.previous = "0".repeat(64)),
            ("comes after", |block| block.height += 1),
        ] {
            let mut blocks = chain(120);
            break_it(&mut blocks[69]);
            let host = host(blocks);
            let Err(Failure::Fatal(why)) = run(&host) else { panic!("{field}") };
            assert!(why.contains(field), "{why}");
            let kept: Place = serde_json::from_slice(&host.kept(BUCKET, "main").unwrap()).unwrap();
            assert_eq!(kept.height, 50, "the page with the fault is not copied at all");
        }
    }

    #[test]
    fn a_node_that_fails_is_asked_again() {
        let host = Host::new().config("node", NODE).bucket(BUCKET);
        let host = host.on_request(|_| Ok(jobcell_sdk::http::Response::new(503)));
        assert!(matches!(run(&host), Err(Failure::Retry(_))));
    }
}
