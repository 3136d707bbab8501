//! What a command is to lead to: what it waits for on every host, unless somebody else decides otherwise meanwhile.

use jobcell_server::Change;

use super::show;
use super::shown::{Host, Shown, short};
use crate::cli::console::visible;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// This version takes the jobs.
    Active(String),
    /// This version takes a share of the jobs; all of them where hosts have promoted it by then.
    Canary(String),
    /// These take the jobs, and a share of them.
    Both(Option<String>, Option<String>),
}

// === impl Goal ===

impl Goal {
    /// What a change led to, on what there was before. None of one that no host has to follow.
    pub(super) fn of(asked: &Change, before: &Shown, since: &Shown) -> Option<Self> {
        let as_it_is = || Self::Both(since.active.clone(), since.canary.as_ref().map(|it| it.digest.clone()));
        let meant = |version: &str| since.meant(version).map(|version| version.digest.clone());
        match asked {
            Change::Release { .. } | Change::Shadow { .. } => None,
            Change::Activate { version, .. } => Some(meant(version).map_or_else(as_it_is, Self::Active)),
            Change::Canary { version, .. } => Some(meant(version).map_or_else(as_it_is, Self::Canary)),
            Change::Promote => {
                let canary = before.canary.as_ref().map(|canary| canary.digest.clone());
                Some(canary.map_or_else(as_it_is, Self::Active))
            }
            // Where no canary was ended, one version was made active: it may be refused like any other.
            Change::Rollback if before.canary.is_none() => {
                Some(since.active.clone().map_or_else(as_it_is, Self::Active))
            }
            Change::Rollback | Change::Quarantine { .. } => Some(as_it_is()),
        }
    }

    /// The version that is to take jobs, where the command was about one.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::Active(digest) | Self::Canary(digest) => Some(digest),
            Self::Both(..) => None,
        }
    }

    /// Whether a host has done what the command asked for. A host that cannot run the active version may run a canary all
    /// the same, and that is all that was asked.
    pub(super) fn is_followed(&self, shown: &Shown, host: &Host) -> bool {
        match self {
            Self::Canary(digest) if host.canary.as_ref() == Some(digest) => !host.refuses.contains(digest),
            _ => show::follows(shown, host),
        }
    }

    /// Whether it also runs that on the code that it is to stay on: what runs on baseline code may be refused yet. Canaries
    /// never begin on it.
    pub(super) fn is_settled(&self, shown: &Shown, host: &Host) -> bool {
        let is_canary = matches!(self, Self::Canary(digest) if host.canary.as_ref() == Some(digest));
        self.is_followed(shown, host) && (is_canary || !host.baseline)
    }

    /// By what and whom, when somebody has decided otherwise since.
    pub(super) fn overtaken(&self, now: &Shown) -> Option<String> {
        let active = now.active.as_deref();
        let canary = now.canary.as_ref().map(|canary| canary.digest.as_str());
        let (own, is_other_canary) = match self {
            Self::Active(digest) if active == Some(digest) => return None,
            Self::Canary(digest) if [active, canary].contains(&Some(digest)) => return None,
            Self::Both(wanted, share) if (wanted.as_deref(), share.as_deref()) == (active, canary) => {
                return None;
            }
            Self::Active(digest) => (Some(digest), false),
            Self::Canary(digest) => (Some(digest), canary.is_some()),
            Self::Both(wanted, _) => (wanted.as_ref(), wanted.as_deref() == active && canary.is_some()),
        };
        let what = own.map_or_else(|| "this".to_owned(), |digest| format!("version {}", short(digest)));
        let by = match (if is_other_canary { canary } else { active }).and_then(|digest| now.version(digest))
        {
            Some(version) => format!("{} of {}", short(&version.digest), visible(&version.by)),
            None => "somebody who left no version active".to_owned(),
        };
        // What became of the version itself says more, where it is still known.
        let became = own.and_then(|digest| now.version(digest)).map_or_else(String::new, |version| {
            format!(
                " (it is {}: {}, by {})",
                visible(&version.state),
                visible(&version.why),
                visible(&version.by)
            )
        });
        Some(format!("{what} was overtaken by {by}{became}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shown::{Share, Version};
    use super::*;

    /// Versions `a` of ann, and so on.
    fn now(active: &str, canary: Option<&str>) -> Shown {
        let version = |(digest, by): (&str, &str)| Version {
            digest: digest.to_owned(),
            by: by.to_owned(),
            state: "draining".to_owned(),
            why: "why".to_owned(),
            ..Version::default()
        };
        Shown {
            active: Some(active.to_owned()),
            canary: canary.map(|digest| Share { digest: digest.to_owned(), ..Share::default() }),
            versions: [("a", "ann"), ("b", "bob"), ("c", "cyd")].map(version).into(),
            ..Shown::default()
        }
    }

    #[test]
    fn another_decision_overtakes_what_was_asked_for() {
        let active = Goal::Active("a".to_owned());
        assert_eq!(active.overtaken(&now("a", None)), None);
        assert_eq!(active.overtaken(&now("a", Some("b"))), None);
        let told = active.overtaken(&now("b", None)).unwrap();
        assert!(told.starts_with("version a was overtaken by b of bob"), "{told}");

        let canary = Goal::Canary("b".to_owned());
        assert_eq!(canary.overtaken(&now("a", Some("b"))), None);
        assert_eq!(canary.overtaken(&now("b", None)), None, "promoted");
        assert!(canary.overtaken(&now("a", Some("c"))).unwrap().contains("by c of cyd"));
        assert!(canary.overtaken(&now("a", None)).unwrap().contains("it is draining: why, by bob"));

        let both = Goal::Both(Some("a".to_owned()), None);
        assert_eq!(both.overtaken(&now("a", None)), None);
        assert!(both.overtaken(&now("c", None)).unwrap().contains("by c of cyd"));
        assert!(both.overtaken(&now("a", Some("b"))).unwrap().contains("by b of bob"));
    }

    #[test]
    fn a_canary_is_there_whatever_becomes_of_the_active_version() {
        let shown = now("a", Some("b"));
        let of = |canary: &str, refuses: &str| Host {
            active: Some("c".to_owned()),
            canary: Some(canary.to_owned()),
            lag: Some("it cannot run a".to_owned()),
            refuses: vec![refuses.to_owned()],
            baseline: true,
            ..Host::default()
        };
        let (canary, active) = (Goal::Canary("b".to_owned()), Goal::Active("a".to_owned()));
        assert!(canary.is_settled(&shown, &of("b", "a")) && !active.is_settled(&shown, &of("b", "a")));
        assert!(!canary.is_settled(&shown, &of("d", "b")) && !canary.is_settled(&shown, &of("b", "b")));
        // Promoted by the hosts meanwhile, it is one like any other.
        let promoted = Host { active: Some("b".to_owned()), baseline: false, ..Host::default() };
        assert!(canary.is_settled(&now("b", None), &promoted));
        assert!(!canary.is_settled(&now("b", None), &Host { baseline: true, ..promoted }));
    }

    #[test]
    fn a_command_waits_for_the_version_that_it_named() {
        let (before, since) = (now("a", Some("b")), now("c", None));
        let activate = |version: &str| Change::Activate { version: version.to_owned(), approve: false };
        assert_eq!(Goal::of(&activate("B"), &before, &since), Some(Goal::Active("b".to_owned())));
        assert_eq!(Goal::of(&Change::Promote, &before, &since), Some(Goal::Active("b".to_owned())));
        assert_eq!(
            Goal::of(&Change::Rollback, &before, &since),
            Some(Goal::Both(Some("c".to_owned()), None))
        );
        let before = now("a", None);
        assert_eq!(Goal::of(&Change::Rollback, &before, &since), Some(Goal::Active("c".to_owned())));
        assert_eq!(Goal::of(&Change::Release { version: "a".to_owned() }, &before, &since), None);
    }
}
