//! Turns names into addresses that may be dialled.
//!
//! A name is looked up once for each connection, every address of the answer is judged, and only what passed is handed
//! to the connector, which dials nothing else. A second answer of the name server cannot change the way.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::{Barred, Reachable};

/// Finds the addresses of a name. What it answers is filtered afterwards, so it need not be trusted.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of this name, best first. Names are in lower case and ASCII; what is an address already is never
    /// asked for.
    ///
    /// # Errors
    /// When the name has no addresses or nobody answers.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver, with its hosts file and name servers.
pub struct SystemResolver {
    places: Arc<Semaphore>,
}

/// Look-ups of the process at one time: each holds a thread until the name server has answered or been given up.
const LOOKUPS_MAX: usize = 64;
/// Look-ups of one handler at one time, so that slow names of one take few of the threads.
pub(crate) const LOOKUPS_PER_HANDLER_MAX: usize = 8;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

// === impl SystemResolver ===

impl Default for SystemResolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let look_up = move || {
            let _place: OwnedSemaphorePermit = place;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        };
        tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
    }
}

/// The resolver of one client: looks up, and leaves only what may be dialled.
#[derive(Clone)]
pub(crate) struct Filter {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) reachable: Reachable,
    /// Places for the handler's look-ups.
    pub(crate) places: Arc<Semaphore>,
}

// === impl Filter ===

impl Filter {
    async fn find(self, name: Name) -> Result<Vec<SocketAddr>, Unreached> {
        let unresolved = |cause| Unreached::Unresolved { cause };
        let place = self.places.acquire_owned().await.map_err(|_| unresolved(io::Error::other("closed")))?;
        // In a task of its own, which keeps the place for as long as the look-up really takes: whoever asked may give
        // up earlier and ask again.
        let found = tokio::spawn(async move {
            let found = self.resolver.resolve(name.as_str()).await;
            drop(place);
            found
        });
        let found = found.await.map_err(|_| unresolved(io::Error::other("the resolver failed")))?;
        let found = found.map_err(unresolved)?;
        let mut refused = None;
        let mut allowed = Vec::new();
        for ip in found {
            match self.reachable.check(ip) {
                // The connector fills in the port of the URL.
                Ok(()) if allowed.len() < ADDRESSES_MAX => allowed.push(SocketAddr::new(ip, 0)),
                Ok(()) => {}
                Err(barred) => refused = Some(barred),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(barred)) => Err(Unreached::Prohibited(barred)),
            (true, None) => Err(unresolved(io::Error::other("the name has no addresses"))),
        }
    }
}

impl Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let filter = self.clone();
        Box::pin(async move {
            let found = filter.find(name).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    /// All its addresses are of a kind that may not be dialled.
    #[error("the name leads to {0}")]
    Prohibited(Barred),
    /// It has no address.
    #[error("the name cannot be resolved: {cause}")]
    Unresolved {
        /// What the resolver said.
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// Gives its answers one after the other; the last stays.
    struct Fixed(Mutex<Vec<Vec<&'static str>>>);

    #[async_trait]
    impl Resolver for Fixed {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            Ok(answer.into_iter().map(|ip| ip.parse().unwrap()).collect())
        }
    }

    fn filter(reachable: Reachable, answers: &[&[&'static str]]) -> Filter {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        let places = Arc::new(Semaphore::new(LOOKUPS_PER_HANDLER_MAX));
        Filter { resolver: Arc::new(Fixed(Mutex::new(answers))), reachable, places }
    }

    async fn found(filter: &Filter) -> Result<Vec<String>, Unreached> {
        let found = filter.clone().find("some.name".parse().unwrap()).await?;
        Ok(found.iter().map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn of_mixed_answers_only_what_may_be_dialled_is_left() {
        let table: [(&[&str], &[&str], &[&str]); 5] = [
            (&["127.0.0.1", "1.1.1.1"], &["1.1.1.1"], &["127.0.0.1", "1.1.1.1"]),
            (&["1.1.1.1", "169.254.169.254"], &["1.1.1.1"], &["1.1.1.1"]),
            (
                &["::ffff:10.0.0.1", "2606:4700::1", "64:ff9b::101:101"],
                &["2606:4700::1"],
                &["::ffff:10.0.0.1", "2606:4700::1"],
            ),
            (&["0.0.0.0", "100.64.0.1", "fd12::1"], &[], &["100.64.0.1", "fd12::1"]),
            (&["2002:7f00:1::", "2001::1", "fe80::1", "fd00:ec2::254"], &[], &[]),
        ];
        for (answer, public, private) in table {
            for (reachable, expected) in [(Reachable::Public, public), (Reachable::PublicAndPrivate, private)]
            {
                match found(&filter(reachable, &[answer])).await {
                    Ok(left) => assert_eq!(left, expected, "{answer:?} {reachable:?}"),
                    Err(Unreached::Prohibited(_)) => assert!(expected.is_empty(), "{answer:?} {reachable:?}"),
                    Err(error) => panic!("{answer:?}: {error}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_changes_is_judged_again() {
        let rebound = filter(Reachable::Public, &[&["1.1.1.1"], &["127.0.0.1"]]);
        assert_eq!(found(&rebound).await.unwrap(), ["1.1.1.1"]);
        let refused = found(&rebound).await.unwrap_err().to_string();
        assert!(refused.contains("loopback") && refused.contains("private = true"), "{refused}");
    }

    #[tokio::test]
    async fn no_answer_and_far_too_long_a_one() {
        let nothing = found(&filter(Reachable::Public, &[&[]])).await.unwrap_err();
        assert!(matches!(nothing, Unreached::Unresolved { .. }), "{nothing}");
        let many = ["1.1.1.1"; 1000];
        assert_eq!(found(&filter(Reachable::Public, &[&many])).await.unwrap().len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn a_look_up_keeps_its_place_even_when_nobody_waits_for_it() {
        struct Never;
        #[async_trait]
        impl Resolver for Never {
            async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
                std::future::pending().await
            }
        }
        let places = Arc::new(Semaphore::new(2));
        let filter =
            Filter { resolver: Arc::new(Never), reachable: Reachable::Public, places: Arc::clone(&places) };
        for _ in 0..5 {
            let asked = filter.clone().find("slow.name".parse().unwrap());
            assert!(tokio::time::timeout(Duration::from_millis(20), asked).await.is_err());
        }
        assert_eq!(places.available_permits(), 0);
    }

    #[tokio::test]
    async fn the_machine_knows_itself() {
        let found = SystemResolver::default().resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
    }
}
