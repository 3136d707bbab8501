//! How a command changes what is wanted of a handler. Pure: who and when are passed in, and whoever applies the same
//! commands to the same state comes to the same one.
//!
//! What holds after every command:
//!
//! - at most one version is active and at most one is the canary, and their states say so;
//! - the active version and the canary are neither refused nor quarantined;
//! - where a rollback leads can take the jobs at once, and is not the active version;
//! - no more than [`VERSIONS_MAX`](crate::desired::VERSIONS_MAX) versions are known, among them all of these;
//! - a command that is refused has changed nothing.

mod settle;

use jobcell_core::Millis;

use crate::canary::{self, Canary, CanaryRules};
use crate::desired::{Command, Deployed, Desired, Refusal, Shadow};
use crate::digest::Digest;
use crate::version::{Change, Event, State, Version, kept_who, kept_why};
use crate::wants::Diff;
use settle::can_shadow;

/// Does what the command says. Returns every step that a version took, in their order; none where all was so already.
///
/// # Errors
/// When it cannot be followed; then nothing was changed.
pub fn apply(
    desired: &mut Desired,
    command: Command,
    who: &str,
    now: Millis,
) -> Result<Vec<Change>, Refusal> {
    let mut steps = Steps { desired: desired.clone(), who, now, changes: Vec::new() };
    let is_decision = command.is_decision();
    steps.follow(command)?;
    let Steps { desired: mut after, changes, .. } = steps;
    if let Some(last) = changes.last() {
        after.settle();
        if is_decision {
            after.generation += 1;
            after.last = Some(last.clone());
        }
        *desired = after;
    }
    Ok(changes)
}

/// A command being followed.
struct Steps<'a> {
    desired: Desired,
    who: &'a str,
    now: Millis,
    changes: Vec<Change>,
}

// === impl Steps ===

impl Steps<'_> {
    fn follow(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Deploy(deployed) => self.deploy(*deployed),
            Command::Admitted { digest } => self.admitted(&digest),
            Command::Refuse { digest, why } => self.refuse(&digest, &why),
            Command::Activate { digest, approve } => self.activate(&digest, approve),
            Command::Canary { digest, percent, rules, approve } => {
                self.begin_canary(&digest, percent, rules, approve)
            }
            Command::Promote { why } => self.promote(why.as_deref()),
            Command::Rollback { why } => self.roll_back(why.as_deref()),
            Command::Quarantine { digest, why } => self.quarantine(&digest, &why),
            Command::Release { digest } => self.release(&digest),
            Command::Drained { digest } => self.drained(&digest),
            Command::Shadow { digest, percent } => self.begin_shadow(&digest, percent),
            Command::EndShadow => {
                self.end_shadow();
                Ok(())
            }
        }
    }

    fn deploy(&mut self, deployed: Deployed) -> Result<(), Refusal> {
        let Deployed { digest, size, manifest, wants, signature, signed_by, is_mended } = deployed;
        let Some(known) = self.desired.version_mut(&digest) else {
            let version = Version {
                digest,
                size,
                manifest,
                wants,
                signature,
                signed_by,
                state: State::Staged,
                at: self.now,
                by: kept_who(self.who),
                why: "deployed".to_owned(),
                deployed_at: self.now,
                deployed_by: kept_who(self.who),
                admitted_at: None,
                approved_by: None,
                approved_over: None,
                replaced: None,
            };
            self.changes.push(Change {
                at: self.now,
                by: version.by.clone(),
                digest,
                from: None,
                to: State::Staged,
                why: version.why.clone(),
            });
            self.desired.versions.insert(0, version);
            return Ok(());
        };
        let (is_refused, is_signed) = (known.state == State::Refused, signature != known.signature);
        if signature.is_some() && is_signed {
            (known.signature, known.signed_by) = (signature, signed_by);
            if !is_refused {
                self.note(&digest, "deployed again with another signature");
            }
        }
        if is_refused {
            return self.step(&digest, Event::Deploy, "deployed again");
        }
        if is_mended {
            // Hosts that could not have it hear by this that they can.
            self.note(&digest, "deployed again: its bytes were lost or damaged");
        }
        Ok(())
    }

    fn admitted(&mut self, digest: &Digest) -> Result<(), Refusal> {
        let now = self.now;
        let version = self.known(digest)?;
        let is_first = version.admitted_at.is_none();
        match version.state {
            // Whoever judged it otherwise had a reason that outlasts a host which can load it.
            State::Refused | State::Quarantined => Ok(()),
            _ if !is_first => Ok(()),
            State::Staged => {
                version.admitted_at = Some(now);
                self.step(digest, Event::Admit, "a host has compiled and linked it")
            }
            State::Admitted | State::Active | State::Canary | State::Draining | State::Retired => {
                version.admitted_at = Some(now);
                self.note(digest, "a host has compiled and linked it");
                Ok(())
            }
        }
    }

    fn refuse(&mut self, digest: &Digest, why: &str) -> Result<(), Refusal> {
        let version = self.known(digest)?;
        if version.state == State::Refused {
            return Ok(());
        }
        if version.admitted_at.is_some() {
            let fix =
                "a host has admitted it; look at the host that cannot run it, which keeps its old version";
            return Err(wrong_state(version, "be refused", fix));
        }
        self.step(digest, Event::Refuse, why)?;
        self.end_canary_of(digest);
        if self.desired.active == Some(*digest) {
            self.desired.active = None;
            if let Some(before) = self.before(digest) {
                self.restore(&before, "the version after it was refused")?;
            }
        }
        Ok(())
    }

    fn activate(&mut self, digest: &Digest, approve: bool) -> Result<(), Refusal> {
        self.known(digest)?;
        if self.desired.active != Some(*digest) {
            self.check_can(digest, Event::Activate, "become active")?;
            self.check_approved(digest, approve)?;
            return self.make_active(digest, "activated");
        }
        match self.desired.canary.take() {
            Some(canary) => {
                self.step(&canary.digest, Event::Undo, "the active version was activated over its canary")
            }
            None => Ok(()),
        }
    }

    /// Puts the version in the place of the active one and of any canary.
    fn make_active(&mut self, digest: &Digest, why: &str) -> Result<(), Refusal> {
        let before = self.desired.active;
        let canary = self.desired.canary.take().map(|canary| canary.digest);
        let instead = format!("version {} took its place", digest.short());
        for replaced in [before, canary.filter(|canary| canary != digest)].into_iter().flatten() {
            self.step(&replaced, Event::Supersede, &instead)?;
        }
        self.step(digest, Event::Activate, why)?;
        self.known(digest)?.replaced = before;
        self.desired.active = Some(*digest);
        Ok(())
    }

    fn begin_canary(
        &mut self,
        digest: &Digest,
        percent: u8,
        rules: CanaryRules,
        approve: bool,
    ) -> Result<(), Refusal> {
        check_share(percent)?;
        rules.check()?;
        self.known(digest)?;
        if self.desired.active.is_none() {
            return Err(Refusal::NothingActive);
        }
        self.check_can(digest, Event::Begin, "run as canary")?;
        self.check_approved(digest, approve)?;
        let mut seed = canary::seed(digest, self.now);
        if let Some(running) = self.desired.canary.take() {
            if running.digest == *digest {
                // The jobs it has had stay its own when its share grows.
                seed = running.seed;
            } else {
                self.step(&running.digest, Event::Supersede, "another canary took its place")?;
            }
        }
        self.step(digest, Event::Begin, &format!("canary of {percent} %"))?;
        let by = kept_who(self.who);
        self.desired.canary = Some(Canary { digest: *digest, percent, since: self.now, by, rules, seed });
        Ok(())
    }

    fn promote(&mut self, why: Option<&str>) -> Result<(), Refusal> {
        let canary = self.desired.canary.as_ref().ok_or(Refusal::NoCanary)?;
        let digest = canary.digest;
        self.make_active(&digest, why.unwrap_or("promoted"))
    }

    fn roll_back(&mut self, why: Option<&str>) -> Result<(), Refusal> {
        let why = why.unwrap_or("rolled back");
        if let Some(canary) = self.desired.canary.take() {
            return self.step(&canary.digest, Event::Undo, why);
        }
        let active = self.desired.active.ok_or(Refusal::NothingBefore)?;
        let before = self.before(&active).ok_or(Refusal::NothingBefore)?;
        self.step(&active, Event::Undo, why)?;
        self.restore(&before, why)
    }

    fn quarantine(&mut self, digest: &Digest, why: &str) -> Result<(), Refusal> {
        let before = self.before(digest);
        let is_active = self.desired.active == Some(*digest);
        let version = self.known(digest)?;
        if version.state == State::Quarantined {
            return Ok(());
        }
        if is_active && before.is_none() {
            let fix = "there is no version to take its jobs; activate another one, or pause the queue";
            return Err(wrong_state(version, "be quarantined", fix));
        }
        self.check_can(digest, Event::Quarantine, "be quarantined")?;
        self.step(digest, Event::Quarantine, why)?;
        self.end_canary_of(digest);
        match before {
            Some(before) if is_active => self.restore(&before, "the version after it was quarantined"),
            _ => Ok(()),
        }
    }

    fn release(&mut self, digest: &Digest) -> Result<(), Refusal> {
        self.known(digest)?;
        self.check_can(digest, Event::Release, "be released")?;
        self.step(digest, Event::Release, "released")?;
        // Whether hosts can run it is found out anew.
        self.known(digest)?.admitted_at = None;
        Ok(())
    }

    fn drained(&mut self, digest: &Digest) -> Result<(), Refusal> {
        match self.known(digest)?.state {
            State::Draining => self.step(digest, Event::Drain, "its last job has ended"),
            // Taken back meanwhile, or said twice.
            _ => Ok(()),
        }
    }

    fn begin_shadow(&mut self, digest: &Digest, percent: u8) -> Result<(), Refusal> {
        check_share(percent)?;
        let version = self.known(digest)?;
        if !can_shadow(version.state) {
            let fix = "a shadow is a version that takes no jobs and may take some";
            return Err(wrong_state(version, "run as shadow", fix));
        }
        if self.desired.active.is_none() {
            return Err(Refusal::NothingActive);
        }
        self.end_shadow();
        let by = kept_who(self.who);
        self.desired.shadow = Some(Shadow { digest: *digest, percent, since: self.now, by });
        self.note(digest, &format!("shadow of {percent} %"));
        Ok(())
    }

    fn end_shadow(&mut self) {
        if let Some(shadow) = self.desired.shadow.take() {
            self.note(&shadow.digest, "shadow ended");
        }
    }

    // --- what the commands are made of

    fn known(&mut self, digest: &Digest) -> Result<&mut Version, Refusal> {
        self.desired.version_mut(digest).ok_or(Refusal::NoSuchVersion(*digest))
    }

    /// One step of one version.
    fn step(&mut self, digest: &Digest, event: Event, why: &str) -> Result<(), Refusal> {
        let (who, now) = (self.who, self.now);
        let version = self.known(digest)?;
        match version.step(event, who, now, why) {
            Some(change) => {
                self.changes.push(change);
                Ok(())
            }
            None => Err(impossible(version, "do that")),
        }
    }

    /// Something worth telling that leaves the version in its state.
    fn note(&mut self, digest: &Digest, why: &str) {
        let (at, by) = (self.now, kept_who(self.who));
        if let Some(Version { state, .. }) = self.desired.version(digest) {
            let (from, to) = (Some(*state), *state);
            self.changes.push(Change { at, by, digest: *digest, from, to, why: kept_why(why) });
        }
    }

    fn check_can(&self, digest: &Digest, event: Event, what: &'static str) -> Result<(), Refusal> {
        match self.desired.version(digest) {
            Some(version) if version.state.after(event).is_none() => Err(impossible(version, what)),
            Some(_) => Ok(()),
            None => Err(Refusal::NoSuchVersion(*digest)),
        }
    }

    /// What goes beyond the active version has to be approved by somebody, once.
    fn check_approved(&mut self, digest: &Digest, approve: bool) -> Result<(), Refusal> {
        let (who, over) = (kept_who(self.who), self.desired.active);
        let active = self.desired.active_version().map(|active| active.wants.clone());
        let version = self.known(digest)?;
        let Diff { wider, .. } = Diff::between(active.as_ref(), &version.wants);
        if wider.is_empty() || version.approved_by.is_some() {
            return Ok(());
        }
        if !approve {
            return Err(Refusal::NeedsApproval { digest: *digest, wider });
        }
        (version.approved_by, version.approved_over) = (Some(who), over);
        self.note(digest, &format!("approved what it wants beyond the active version: {}", wider.join("; ")));
        Ok(())
    }

    /// The version that would take this one's jobs.
    fn before(&self, digest: &Digest) -> Option<Digest> {
        self.desired.before(digest)
    }

    fn restore(&mut self, digest: &Digest, why: &str) -> Result<(), Refusal> {
        if self.desired.canary.as_ref().is_some_and(|canary| canary.digest == *digest) {
            self.desired.canary = None;
        }
        self.step(digest, Event::Activate, why)?;
        self.desired.active = Some(*digest);
        Ok(())
    }

    fn end_canary_of(&mut self, digest: &Digest) {
        self.desired.canary.take_if(|canary| canary.digest == *digest);
    }
}

fn check_share(percent: u8) -> Result<(), Refusal> {
    if (1..=100).contains(&percent) { Ok(()) } else { Err(Refusal::NoShare(percent)) }
}

fn wrong_state(version: &Version, what: &'static str, fix: &str) -> Refusal {
    Refusal::WrongState { digest: version.digest, state: version.state, what, fix: fix.to_owned() }
}

/// That a version cannot do this, with the way out of the state that it is in.
fn impossible(version: &Version, what: &'static str) -> Refusal {
    let why = &version.why;
    let fix = match version.state {
        State::Refused => format!("no host can run it ({why}); mend that and deploy it"),
        State::Quarantined => format!("it broke jobs ({why}); deploy a mended build, or release it"),
        State::Active => "it takes the jobs already".to_owned(),
        State::Canary => "it is the canary; promote it or roll it back".to_owned(),
        State::Staged | State::Admitted | State::Draining | State::Retired => {
            "only a quarantined version is released".to_owned()
        }
    };
    wrong_state(version, what, &fix)
}

#[cfg(test)]
mod tests;
