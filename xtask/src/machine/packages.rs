//! The platform's package manager.

use std::io::IsTerminal;
use std::process::Command;

use anyhow::bail;

use super::{Program, output};
use crate::step;

/// One that can install what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Apt,
    Brew,
    Dnf,
}

/// How commands of the manager become root's.
enum Rights {
    /// No prefix is needed.
    Own,
    /// Through sudo.
    Sudo,
    /// There is no way without a person.
    None,
}

impl Manager {
    /// The one this machine has.
    pub(super) fn find() -> Option<Self> {
        [Self::Apt, Self::Brew, Self::Dnf]
            .into_iter()
            .find(|manager| output(manager.name(), &["--version"]).is_some())
    }

    /// Its program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Brew => "brew",
            Self::Dnf => "dnf",
        }
    }

    fn package(self, program: &Program) -> &'static str {
        match self {
            Self::Apt => program.apt,
            Self::Brew => program.brew,
            Self::Dnf => program.dnf,
        }
    }

    /// Installs the packages of these programs in one go.
    pub(super) fn install(self, programs: &[&Program]) -> anyhow::Result<()> {
        let mut packages: Vec<&str> = programs.iter().map(|program| self.package(program)).collect();
        packages.sort_unstable();
        packages.dedup();
        let install: &[&str] = match self {
            Self::Apt => &["install", "--yes", "--no-install-recommends"],
            Self::Brew => &["install"],
            Self::Dnf => &["install", "--assumeyes"],
        };
        let rights = self.rights();
        if matches!(rights, Rights::None) {
            bail!(
                "installing needs root, and sudo cannot be used without a terminal; run this yourself, then try again:\n  \
                 sudo {} {} {}",
                self.name(),
                install.join(" "),
                packages.join(" ")
            );
        }
        if self == Self::Apt {
            let mut update = self.command(&rights, &["update"]);
            // Old lists may still do, and a machine with one broken source among many is common.
            if let Err(error) = step::run("updating apt's package lists", &mut update) {
                eprintln!("  {error:#}; going on with the lists that are there");
            }
        }
        let mut command = self.command(&rights, install);
        command.args(&packages);
        step::run(&format!("installing {} with {}", packages.join(", "), self.name()), &mut command)
    }

    fn command(self, rights: &Rights, args: &[&str]) -> Command {
        let mut command = match rights {
            Rights::Sudo => {
                let mut command = Command::new("sudo");
                // sudo drops the environment, so what apt must see is given after it.
                command.args(["env", "DEBIAN_FRONTEND=noninteractive", self.name()]);
                command
            }
            Rights::Own | Rights::None => {
                let mut command = Command::new(self.name());
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command
            }
        };
        command.args(args);
        command
    }

    fn rights(self) -> Rights {
        let is_root = output("id", &["-u"]).is_some_and(|id| id.trim() == "0");
        // brew refuses root and asks for sudo itself where it must.
        if self == Self::Brew || is_root {
            return Rights::Own;
        }
        let asks_nobody = output("sudo", &["-n", "true"]).is_some();
        let can_ask = std::io::stdin().is_terminal() && output("sudo", &["--version"]).is_some();
        if asks_nobody || can_ask { Rights::Sudo } else { Rights::None }
    }
}
