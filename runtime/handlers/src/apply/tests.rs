use std::collections::HashSet;

use jobcell_core::documents::DOCUMENT_BYTES_MAX;

use super::*;
use crate::desired::VERSIONS_MAX;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::trust::SecretKey;
use crate::wants::{Capability, Wants};

fn digest(n: u32) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn deployed(n: u32, wants: Wants) -> Command {
    Command::Deploy(Box::new(Deployed {
        digest: digest(n),
        size: 1,
        manifest: Manifest::unsaid("media", None),
        wants,
        signature: None,
        signed_by: None,
        is_mended: false,
    }))
}

fn activate(n: u32) -> Command {
    Command::Activate { digest: digest(n), approve: true }
}

fn canary(n: u32, percent: u8) -> Command {
    Command::Canary { digest: digest(n), percent, rules: CanaryRules::default(), approve: true }
}

fn quarantine(n: u32) -> Command {
    Command::Quarantine { digest: digest(n), why: "it broke".to_owned() }
}

fn refuse(n: u32) -> Command {
    Command::Refuse { digest: digest(n), why: "wrong world".to_owned() }
}

const ROLLBACK: Command = Command::Rollback { why: None };

/// A handler, and time that goes on by itself.
#[derive(Default)]
struct Rig {
    desired: Desired,
    now: Millis,
}

impl Rig {
    /// With the versions 1 to `count` known.
    fn with(count: u32) -> Self {
        let mut rig = Self::default();
        for n in 1..=count {
            rig.does(deployed(n, Wants::default()));
        }
        rig
    }

    fn tries(&mut self, command: Command) -> Result<Vec<Change>, Refusal> {
        self.now += 1;
        let changes = apply(&mut self.desired, command, "me", self.now);
        check(&self.desired);
        changes
    }

    #[track_caller]
    fn does(&mut self, command: Command) -> Vec<Change> {
        self.tries(command).unwrap()
    }

    /// The command is refused, and nothing has changed.
    #[track_caller]
    fn refuses(&mut self, command: Command) -> Refusal {
        let before = self.desired.clone();
        let refusal = self.tries(command).unwrap_err();
        assert_eq!(self.desired, before);
        refusal
    }

    fn state(&self, n: u32) -> State {
        self.desired.version(&digest(n)).unwrap().state
    }
}

/// What holds after every command, see the module.
#[track_caller]
fn check(desired: &Desired) {
    let Desired { active, previous, canary, shadow, versions, last, generation: _ } = desired;
    let of = |state: State| -> Vec<Digest> {
        versions.iter().filter(|version| version.state == state).map(|version| version.digest).collect()
    };
    assert_eq!(of(State::Active), Vec::from_iter(*active), "the active version is the one in that state");
    let running = canary.as_ref().map(|canary| canary.digest);
    assert_eq!(of(State::Canary), Vec::from_iter(running), "the canary is the one in that state");
    if let Some(previous) = previous {
        assert_ne!(Some(*previous), *active);
        let state = desired.version(previous).expect("a known version").state;
        assert!(state.is_restorable(), "{state}");
    }
    if let Some(shadow) = shadow {
        assert!(can_shadow(desired.version(&shadow.digest).expect("a known version").state));
    }
    let distinct: HashSet<Digest> = versions.iter().map(|version| version.digest).collect();
    assert_eq!(distinct.len(), versions.len());
    assert!(versions.len() <= VERSIONS_MAX);
    assert!(versions.is_empty() || last.is_some());
    for version in versions {
        assert!(!version.why.is_empty() && !version.by.is_empty() && version.at > 0);
    }
}

#[test]
fn a_version_goes_its_way_and_every_step_says_who_when_and_why() {
    let mut rig = Rig::with(2);
    rig.does(Command::Admitted { digest: digest(1) });
    rig.does(activate(1));
    let changes = rig.does(activate(2));
    let steps: Vec<_> =
        changes.iter().map(|change| (change.digest, change.from.unwrap(), change.to)).collect();
    let expected = [(digest(1), State::Active, State::Draining), (digest(2), State::Staged, State::Active)];
    assert_eq!(steps, expected);
    assert!(changes.iter().all(|change| change.by == "me" && change.at == rig.now));
    assert!(changes[0].why.contains(&digest(2).short()), "{}", changes[0].why);
    rig.does(Command::Drained { digest: digest(1) });
    assert_eq!(rig.state(1), State::Retired);
}

#[test]
fn what_hosts_note_down_leaves_the_generation_and_who_decided_last() {
    let mut rig = Rig::with(2);
    assert_eq!(rig.desired.generation, 2);
    rig.does(activate(1));
    rig.does(activate(2));
    let (generation, last) = (rig.desired.generation, rig.desired.last.clone());
    assert_eq!(generation, 4);
    rig.does(Command::Admitted { digest: digest(2) });
    rig.does(Command::Drained { digest: digest(1) });
    assert_eq!((rig.desired.generation, &rig.desired.last), (generation, &last));
    rig.does(activate(2));
    assert_eq!(rig.desired.generation, generation, "nothing changed");
    rig.does(quarantine(2));
    assert_eq!(rig.desired.generation, generation + 1);
    // As an older release wrote it.
    assert_eq!(Desired::decode(b"{}").unwrap().generation, 0);
}

#[test]
fn a_rollback_goes_back_as_far_as_there_are_versions() {
    let mut rig = Rig::with(3);
    for n in 1..=3 {
        rig.does(activate(n));
    }
    assert_eq!(rig.desired.previous, Some(digest(2)));
    rig.does(ROLLBACK);
    assert_eq!((rig.desired.active, rig.desired.previous), (Some(digest(2)), Some(digest(1))));
    rig.does(ROLLBACK);
    assert_eq!((rig.desired.active, rig.desired.previous), (Some(digest(1)), None));
    assert_eq!(rig.refuses(ROLLBACK), Refusal::NothingBefore);
}

#[test]
fn a_rollback_with_a_canary_ends_the_canary_alone() {
    let mut rig = Rig::with(3);
    rig.does(activate(1));
    rig.does(activate(2));
    rig.does(canary(3, 10));
    rig.does(ROLLBACK);
    assert_eq!((rig.desired.active, rig.state(3)), (Some(digest(2)), State::Draining));
    assert_eq!(rig.desired.canary, None);
}

#[test]
fn versions_that_were_active_in_turns_are_gone_back_to_in_turns() {
    let mut rig = Rig::with(2);
    for n in [1, 2, 1] {
        rig.does(activate(n));
    }
    for n in [2, 1, 2] {
        rig.does(ROLLBACK);
        assert_eq!(rig.desired.active, Some(digest(n)));
    }
}

#[test]
fn a_canary_keeps_its_jobs_when_its_share_grows_and_makes_way_for_another() {
    let mut rig = Rig::with(3);
    assert_eq!(rig.refuses(canary(2, 10)), Refusal::NothingActive);
    rig.does(activate(1));
    for percent in [0, 101] {
        assert_eq!(rig.refuses(canary(2, percent)), Refusal::NoShare(percent));
    }
    rig.does(canary(2, 10));
    let seed = rig.desired.canary.as_ref().unwrap().seed;
    rig.does(canary(2, 50));
    let grown = rig.desired.canary.clone().unwrap();
    assert_eq!((grown.seed, grown.percent, grown.since), (seed, 50, rig.now));
    rig.does(canary(3, 10));
    assert_eq!((rig.state(2), rig.state(3)), (State::Draining, State::Canary));
    rig.does(Command::Promote { why: None });
    assert_eq!((rig.desired.active, rig.desired.previous), (Some(digest(3)), Some(digest(1))));
    assert_eq!(rig.refuses(Command::Promote { why: None }), Refusal::NoCanary);
    assert!(matches!(rig.refuses(canary(3, 10)), Refusal::WrongState { state: State::Active, .. }));
}

#[test]
fn rules_that_decide_nothing_begin_no_canary() {
    let mut rig = Rig::with(2);
    rig.does(activate(1));
    let rules = CanaryRules { max_latency: f64::NAN, ..CanaryRules::default() };
    let refusal = rig.refuses(Command::Canary { digest: digest(2), percent: 10, rules, approve: true });
    assert!(refusal.to_string().contains("max-latency"), "{refusal}");
}

#[test]
fn activating_another_version_or_the_active_one_ends_a_canary() {
    for chosen in [1, 2, 3] {
        let mut rig = Rig::with(3);
        rig.does(activate(1));
        rig.does(canary(2, 10));
        rig.does(activate(chosen));
        assert_eq!((rig.desired.active, &rig.desired.canary), (Some(digest(chosen)), &None));
    }
    let mut rig = Rig::with(1);
    rig.does(activate(1));
    assert_eq!(rig.does(activate(1)), [], "nothing to do");
}

#[test]
fn a_quarantined_version_hands_its_jobs_back_and_stays_out_until_it_is_released() {
    let mut rig = Rig::with(2);
    rig.does(activate(1));
    let refusal = rig.refuses(quarantine(1));
    assert!(refusal.to_string().contains("no version to take its jobs"), "{refusal}");
    rig.does(activate(2));
    rig.does(quarantine(2));
    assert_eq!((rig.desired.active, rig.state(2)), (Some(digest(1)), State::Quarantined));
    assert_eq!(rig.does(quarantine(2)), [], "said by every host");
    for command in [activate(2), canary(2, 10), Command::Shadow { digest: digest(2), percent: 10 }] {
        assert!(matches!(rig.refuses(command), Refusal::WrongState { state: State::Quarantined, .. }));
    }
    assert_eq!(rig.does(deployed(2, Wants::default())), [], "the same bytes are no mended build");
    assert_eq!(rig.does(Command::Admitted { digest: digest(2) }), []);
    assert_eq!(rig.state(2), State::Quarantined);
    rig.does(Command::Release { digest: digest(2) });
    rig.does(activate(2));
    assert!(matches!(rig.refuses(Command::Release { digest: digest(1) }), Refusal::WrongState { .. }));
}

#[test]
fn a_quarantined_canary_ends_and_the_active_version_goes_on() {
    let mut rig = Rig::with(2);
    rig.does(activate(1));
    rig.does(canary(2, 10));
    rig.does(quarantine(2));
    assert_eq!((rig.desired.active, &rig.desired.canary), (Some(digest(1)), &None));
}

#[test]
fn what_no_host_can_run_is_refused_before_a_host_admitted_it_and_never_after() {
    let mut rig = Rig::with(3);
    rig.does(activate(1));
    rig.does(Command::Admitted { digest: digest(1) });
    assert!(rig.refuses(refuse(1)).to_string().contains("a host has admitted it"));
    rig.does(activate(2));
    rig.does(refuse(2));
    assert_eq!((rig.desired.active, rig.state(2)), (Some(digest(1)), State::Refused));
    assert_eq!(rig.does(refuse(2)), [], "said by every host");
    rig.does(canary(3, 10));
    rig.does(refuse(3));
    assert_eq!(rig.desired.canary, None);
    rig.does(deployed(3, Wants::default()));
    assert_eq!(rig.state(3), State::Staged, "another host may be able to");

    let mut first = Rig::with(1);
    first.does(activate(1));
    first.does(refuse(1));
    assert_eq!(first.desired.active, None);
}

#[test]
fn only_the_first_host_that_admits_a_version_changes_something() {
    let mut rig = Rig::with(1);
    assert_eq!(rig.does(Command::Admitted { digest: digest(1) }).len(), 1);
    assert_eq!(rig.does(Command::Admitted { digest: digest(1) }), []);
    let mut rig = Rig::with(1);
    rig.does(activate(1));
    let since = rig.desired.versions[0].at;
    assert_eq!(rig.does(Command::Admitted { digest: digest(1) }).len(), 1);
    let version = &rig.desired.versions[0];
    assert_eq!((version.state, version.at, version.admitted_at), (State::Active, since, Some(rig.now)));
}

#[test]
fn what_goes_beyond_the_active_version_is_approved_once() {
    let mut rig = Rig::default();
    let kv = || Wants::of(&[Capability::Kv]);
    let more = || Wants::of(&[Capability::Kv, Capability::Http]);
    rig.does(deployed(1, kv()));
    let unapproved = |n| Command::Activate { digest: digest(n), approve: false };
    let Refusal::NeedsApproval { wider, .. } = rig.refuses(unapproved(1)) else { panic!("not refused") };
    assert_eq!(wider, ["kv *"], "nothing is active: everything is new");
    rig.does(activate(1));
    rig.does(deployed(2, more()));
    let unapproved_canary =
        Command::Canary { digest: digest(2), percent: 10, rules: CanaryRules::default(), approve: false };
    let Refusal::NeedsApproval { wider, .. } = rig.refuses(unapproved_canary) else { panic!("not refused") };
    assert_eq!(wider, ["http *"]);
    rig.does(canary(2, 10));
    rig.does(Command::Promote { why: None });
    assert_eq!(rig.desired.version(&digest(2)).unwrap().approved_by.as_deref(), Some("me"));
    rig.does(deployed(3, kv()));
    rig.does(unapproved(3));
    rig.does(unapproved(2));
    rig.does(deployed(4, Wants::of(&[Capability::Http])));
    rig.does(unapproved(4));
    assert_eq!(rig.desired.version(&digest(4)).unwrap().approved_by, None, "narrower needs nobody");
}

#[test]
fn deploying_again_attaches_a_signature_and_nothing_else() {
    let mut rig = Rig::with(1);
    assert_eq!(rig.does(deployed(1, Wants::of(&[Capability::Http]))), []);
    assert_eq!(rig.desired.versions[0].wants, Wants::default());
    let key = SecretKey::from_seed([1; 32]);
    let Command::Deploy(mut signed) = deployed(1, Wants::default()) else { unreachable!("made above") };
    signed.signature = Some(key.sign(&digest(1), b""));
    signed.signed_by = Some(key.public().id());
    assert_eq!(rig.does(Command::Deploy(signed.clone())).len(), 1);
    assert_eq!(rig.does(Command::Deploy(signed)), []);
    assert_eq!(rig.desired.versions[0].signed_by, Some(key.public().id()));
    assert_eq!(rig.does(deployed(1, Wants::default())), [], "without one the signature stays");
}

#[test]
fn a_shadow_ends_when_its_version_takes_jobs() {
    let mut rig = Rig::with(3);
    let shadow = |n| Command::Shadow { digest: digest(n), percent: 5 };
    assert_eq!(rig.refuses(shadow(2)), Refusal::NothingActive);
    rig.does(activate(1));
    assert!(matches!(rig.refuses(shadow(1)), Refusal::WrongState { .. }));
    rig.does(shadow(2));
    rig.does(shadow(3));
    assert_eq!(rig.desired.shadow.as_ref().unwrap().digest, digest(3));
    rig.does(canary(3, 10));
    assert_eq!(rig.desired.shadow, None);
    rig.does(shadow(2));
    rig.does(Command::EndShadow);
    assert_eq!(rig.desired.shadow, None);
    assert_eq!(rig.does(Command::EndShadow), []);
}

#[test]
fn the_oldest_that_are_over_are_forgotten_first_and_what_is_needed_never() {
    let mut rig = Rig::with(3);
    rig.does(activate(1));
    rig.does(activate(2));
    rig.does(canary(3, 10));
    rig.does(deployed(4, Wants::default()));
    rig.does(quarantine(4));
    for n in 100..300 {
        rig.does(deployed(n, Wants::default()));
    }
    assert_eq!(rig.desired.versions.len(), VERSIONS_MAX);
    assert_eq!(rig.desired.versions[0].digest, digest(299));
    for needed in 1..=4 {
        assert!(rig.desired.version(&digest(needed)).is_some(), "{needed}");
    }
    rig.does(ROLLBACK);
    rig.does(ROLLBACK);
    assert_eq!(rig.desired.active, Some(digest(1)));
}

#[test]
fn fifty_versions_with_the_longest_of_everything_fit_into_a_document() {
    let mut rig = Rig::default();
    let key = SecretKey::from_seed([1; 32]);
    let quotes = "\"".repeat(4_000);
    for n in 0..50 {
        let mut manifest = Manifest { version: Some("1.2.3".to_owned()), ..Manifest::unsaid("media", None) };
        let mut wants = Wants::default();
        while manifest.encode().is_ok_and(|text| text.len() < MANIFEST_BYTES_MAX - 64) {
            wants.kv.push(format!("bucket-{}", wants.kv.len()));
            manifest.wants = Some(wants.clone());
        }
        manifest.wants = None;
        let deployed = Deployed {
            digest: digest(n),
            size: u64::MAX,
            manifest,
            wants,
            signature: Some(key.sign(&digest(n), b"")),
            signed_by: Some(key.public().id()),
            is_mended: false,
        };
        apply(&mut rig.desired, Command::Deploy(Box::new(deployed)), &quotes, u64::MAX).unwrap();
        rig.now = 1;
        apply(&mut rig.desired, activate(n), &quotes, u64::MAX).unwrap();
        let why = quotes.clone();
        if n > 0 {
            apply(&mut rig.desired, Command::Quarantine { digest: digest(n), why }, &quotes, 1).unwrap();
        }
    }
    let size = rig.desired.encode().unwrap().len();
    assert!(size < DOCUMENT_BYTES_MAX, "{size}");
}

/// Numbers that depend on the seed alone (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % u64::from(bound)).unwrap()
    }

    fn command(&mut self) -> Command {
        let n = self.below(70);
        let digest = digest(n);
        let percent = u8::try_from(self.below(103)).unwrap();
        let approve = self.below(4) > 0;
        let wants = Wants::of(&[Capability::Kv, Capability::Http][..self.below(3) as usize]);
        match self.below(24) {
            0..=5 => deployed(n, wants),
            6..=9 => Command::Activate { digest, approve },
            10..=12 => Command::Canary { digest, percent, rules: CanaryRules::default(), approve },
            13 => Command::Promote { why: None },
            14..=15 => ROLLBACK,
            16 => quarantine(n),
            17 => Command::Release { digest },
            18 => Command::Admitted { digest },
            19 => refuse(n),
            20..=21 => Command::Drained { digest },
            22 => Command::Shadow { digest, percent },
            _ => Command::EndShadow,
        }
    }
}

#[test]
fn whatever_is_asked_in_whatever_order_the_promises_hold() {
    let (mut done, mut restored) = (HashSet::new(), 0);
    for seed in 1..=40 {
        let (mut rig, mut dice) = (Rig::default(), Dice(seed * 0x9e37_79b9));
        for _ in 0..400 {
            let command = dice.command();
            let before = rig.desired.clone();
            match rig.tries(command.clone()) {
                Err(_) => assert_eq!(rig.desired, before, "{command:?}"),
                Ok(changes) => {
                    done.insert(std::mem::discriminant(&command));
                    assert_eq!(changes.is_empty(), rig.desired == before, "{command:?}");
                    let raised = u64::from(command.is_decision() && !changes.is_empty());
                    assert_eq!(rig.desired.generation, before.generation + raised, "{command:?}");
                    for Change { digest, from, to, .. } in changes.iter().rev().take(1) {
                        let state = rig.desired.version(digest).map(|version| version.state);
                        assert!(state.is_none_or(|state| state == *to), "{command:?} {from:?}");
                    }
                }
            }
            restored += u32::from(activating_is_undone_exactly(&rig, dice.below(70)));
        }
        let read = Desired::decode(&rig.desired.encode().unwrap()).unwrap();
        assert_eq!(read, rig.desired);
    }
    assert_eq!(done.len(), 12, "every command was followed at least once");
    assert!(restored > 1_000, "{restored}");
}

/// Activates the version and rolls back: what is active and what a rollback leads to is as before, and so is every other
/// version.
fn activating_is_undone_exactly(rig: &Rig, n: u32) -> bool {
    let before = &rig.desired;
    let mut after = before.clone();
    if before.canary.is_some() || before.active.is_none() || before.active == Some(digest(n)) {
        return false;
    }
    if apply(&mut after, activate(n), "me", rig.now + 1).is_err() {
        return false;
    }
    assert_eq!(after.previous, before.active);
    apply(&mut after, ROLLBACK, "me", rig.now + 2).unwrap();
    assert_eq!((after.active, after.previous), (before.active, before.previous));
    for version in before.versions.iter().filter(|version| version.digest != digest(n)) {
        let now = after.version(&version.digest).unwrap();
        assert_eq!((now.state, now.replaced), (version.state, version.replaced));
    }
    true
}
