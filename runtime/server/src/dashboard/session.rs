//! Sessions of people who signed in with a token: kept with the fleet's documents, so that every host knows them.
//!
//! A session is named by the hash of its secret, which only the browser has; it says which token was shown, by that
//! one's hash. What the token may do is looked up at each request: a token that is taken out of the configuration ends
//! its sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobcell_core::documents::{Expect, Folder};
use jobcell_core::{Clock, Documents, Millis, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::DashboardOptions;

/// What a browser has and nobody else. Never shown or logged.
#[derive(Clone)]
pub(super) struct Secret([u8; 32]);

/// Somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The sha256 of the token that was shown, in hex.
    token: String,
    /// When it began.
    begun: Millis,
    /// When it was last written: it lasts `session_idle` from then on.
    seen: Millis,
}

/// Keeps sessions.
pub(super) struct Sessions {
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    idle: Duration,
    longest: Duration,
    /// Those of late, for while the store is away: somebody must be able to look then.
    recent: Mutex<HashMap<String, (Session, Millis)>>,
}

/// A session that is used is written again at most this often: not every page costs a write.
const SLIDE: Duration = Duration::from_secs(60);
/// How long somebody whose session was read is believed while the store is away.
const BELIEVED: Duration = Duration::from_secs(15 * 60);
/// Sessions that are remembered for that.
const RECENT_MAX: usize = 1024;

// === impl Secret ===

impl Secret {
    /// One that nobody can guess.
    pub(super) fn new() -> Self {
        Self(rand::random())
    }

    /// As a cookie has it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut secret = [0; 32];
        // Exactly so many bytes: another spelling of the same is none.
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut secret).ok()?;
        (read == secret.len()).then_some(Self(secret))
    }

    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the session is called in the store.
    fn name(&self) -> String {
        hex::encode(self.derived(b"jobcell session"))
    }

    /// What stands in this browser's forms: another site can make it send one, but does not know this.
    pub(super) fn proof(&self) -> String {
        hex::encode(self.derived(b"jobcell form"))
    }

    pub(super) fn is_proof(&self, given: &str) -> bool {
        bool::from(self.proof().as_bytes().ct_eq(given.as_bytes()))
    }

    fn derived(&self, purpose: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(purpose).chain_update([0]).chain_update(self.0).finalize().into()
    }
}

// === impl Session ===

impl Session {
    /// The hash of the token that was shown.
    pub(super) fn token(&self) -> Option<[u8; 32]> {
        let mut token = [0; 32];
        hex::decode_to_slice(&self.token, &mut token).ok()?;
        Some(token)
    }
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(
        documents: Arc<dyn Documents>,
        clock: Arc<dyn Clock>,
        options: &DashboardOptions,
    ) -> Self {
        let DashboardOptions { session_idle: idle, session_max: longest, .. } = *options;
        Self { documents, clock, idle, longest, recent: Mutex::default() }
    }

    /// How long a browser may keep the cookie.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Begins a session of whoever has shown the token of this hash, under a secret that was never used before.
    pub(super) async fn begin(&self, token: &[u8; 32]) -> Result<Secret, StoreError> {
        let secret = Secret::new();
        let now = self.clock.now();
        let session = Session { token: hex::encode(token), begun: now, seen: now };
        self.write(&secret, &session).await?;
        Ok(secret)
    }

    /// The session of this secret, unless it has ended. One that is used lasts on.
    ///
    /// # Errors
    /// When the store does not answer and the session was not read of late.
    pub(super) async fn find(&self, secret: &Secret) -> Result<Option<Session>, StoreError> {
        let name = secret.name();
        let now = self.clock.now();
        let document = match self.documents.get(Folder::Sessions, &name).await {
            Ok(document) => document,
            Err(error) => return self.remembered(&name, now).map(Some).ok_or(error),
        };
        let session = document.and_then(|document| serde_json::from_slice::<Session>(&document.content).ok());
        let Some(session) = session.filter(|session| self.lasts(session, now)) else {
            self.recent().remove(&name);
            return Ok(None);
        };
        if now.saturating_sub(session.seen) >= millis(SLIDE) {
            let slid = Session { seen: now, ..session.clone() };
            // It goes on without, until it ends by itself.
            if let Err(error) = self.write(secret, &slid).await {
                tracing::debug!(%error, "a session could not be written again");
            }
        }
        let mut recent = self.recent();
        if recent.len() >= RECENT_MAX {
            recent.clear();
        }
        recent.insert(name, (session.clone(), now));
        Ok(Some(session))
    }

    /// Ends a session; fine when there is none.
    pub(super) async fn end(&self, secret: &Secret) -> Result<(), StoreError> {
        let name = secret.name();
        self.recent().remove(&name);
        self.documents.remove(Folder::Sessions, &name, Expect::Anything).await.map(drop)
    }

    fn lasts(&self, session: &Session, now: Millis) -> bool {
        now < session.seen.saturating_add(millis(self.idle))
            && now < session.begun.saturating_add(millis(self.longest))
    }

    fn remembered(&self, name: &str, now: Millis) -> Option<Session> {
        let (session, at) = self.recent().get(name).cloned()?;
        (now.saturating_sub(at) < millis(BELIEVED) && self.lasts(&session, now)).then_some(session)
    }

    async fn write(&self, secret: &Secret, session: &Session) -> Result<(), StoreError> {
        let content = serde_json::to_vec(session).map_err(|error| StoreError::Other(error.to_string()))?;
        let left = session.begun.saturating_add(millis(self.longest)).saturating_sub(session.seen);
        let expires = self.idle.min(Duration::from_millis(left.max(1)));
        let name = secret.name();
        let (folder, expect) = (Folder::Sessions, Expect::Anything);
        self.documents.put(folder, &name, content.into(), expect, Some(expires)).await.map(drop)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Session, Millis)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use jobcell_core::clock::ManualClock;
    use jobcell_core::documents::MemoryDocuments;

    use super::*;

    fn sessions() -> (Arc<ManualClock>, Arc<MemoryDocuments>, Sessions) {
        let (clock, documents) =
            (Arc::new(ManualClock::new(1_000_000)), Arc::new(MemoryDocuments::default()));
        let options = DashboardOptions {
            session_idle: Duration::from_secs(600),
            session_max: Duration::from_secs(3600),
            ..DashboardOptions::default()
        };
        let sessions = Sessions::new(Arc::clone(&documents) as _, Arc::clone(&clock) as _, &options);
        (clock, documents, sessions)
    }

    #[tokio::test]
    async fn a_session_slides_while_it_is_used_and_ends_in_any_case() {
        let (clock, _, sessions) = sessions();
        let secret = sessions.begin(&[7; 32]).await.unwrap();
        for _ in 0..7 {
            clock.advance(500_000);
            let found = sessions.find(&secret).await.unwrap();
            assert_eq!(found.and_then(|session| session.token()), Some([7; 32]));
        }
        clock.advance(500_000);
        assert_eq!(sessions.find(&secret).await.unwrap(), None, "an hour is over, though it was used");
        let idle = sessions.begin(&[7; 32]).await.unwrap();
        clock.advance(600_001);
        assert_eq!(sessions.find(&idle).await.unwrap(), None, "nobody used it for ten minutes");
    }

    #[tokio::test]
    async fn the_store_has_no_secret_and_a_name_is_none() {
        let (_, documents, sessions) = sessions();
        let secret = sessions.begin(&[7; 32]).await.unwrap();
        let kept = documents.list(Folder::Sessions).await.unwrap();
        assert_eq!(kept.len(), 1);
        let (name, document) = &kept[0];
        let content = String::from_utf8_lossy(&document.content).into_owned();
        assert!(!name.contains(&secret.text()) && !content.contains(&secret.text()), "{content}");
        assert!(!content.contains(&secret.proof()) && *name != secret.proof());
        // Whoever reads the store cannot sign in with what is there.
        let mut stolen = [0; 32];
        hex::decode_to_slice(name, &mut stolen).unwrap();
        assert_eq!(sessions.find(&Secret(stolen)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_ended_session_is_gone_everywhere() {
        let (_, _, sessions) = sessions();
        let secret = sessions.begin(&[7; 32]).await.unwrap();
        sessions.end(&secret).await.unwrap();
        assert_eq!(sessions.find(&secret).await.unwrap(), None);
        sessions.end(&secret).await.unwrap();
    }

    #[test]
    fn a_secret_has_one_spelling() {
        let secret = Secret::new();
        assert!(Secret::read(&secret.text()).is_some_and(|read| read.proof() == secret.proof()));
        for wrong in ["", "abc", &format!("{}=", secret.text()), &"A".repeat(44)] {
            assert!(Secret::read(wrong).is_none(), "{wrong}");
        }
        assert!(
            secret.is_proof(&secret.proof())
                && !secret.is_proof("")
                && !secret.is_proof(&Secret::new().proof())
        );
    }
}
