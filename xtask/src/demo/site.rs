//! The folder of the demo: configuration, uploads, store and log. It stays afterwards, to be looked at.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;

use crate::workspace::Workspace;

/// What the provider signs with; the host reads it from its environment, the handler never does.
pub(super) const STRIPE_SECRET: &str = "whsec_demo_only";
/// What our own notifications are signed with.
pub(super) const NOTIFICATION_SECRET: &str = "shared with the receiver";

/// Where the host listens unless something else does.
const PORT: u16 = 8787;

/// See the module.
pub(super) struct Site {
    folder: PathBuf,
    program: PathBuf,
    port: u16,
    redis: Option<String>,
}

impl Site {
    /// Makes it anew: what an earlier run left is removed.
    pub(super) fn make(workspace: &Workspace, receiver: u16, redis: Option<&str>) -> anyhow::Result<Self> {
        let folder = workspace.target.join("demo");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        let site =
            Self { program: workspace.host(), port: free_port()?, redis: redis.map(str::to_owned), folder };
        fs::create_dir_all(site.uploads()).with_context(|| format!("making {}", site.uploads().display()))?;
        let config = site.config(workspace, receiver);
        fs::write(site.folder.join("jobcell.toml"), config).context("writing the demo's jobcell.toml")?;
        Ok(site)
    }

    fn config(&self, workspace: &Workspace, receiver: u16) -> String {
        // A prefix of its own: the demo may run on a Redis that has other queues.
        let store = match &self.redis {
            Some(url) => format!("[redis]\nurl = {url:?}\nprefix = \"jobcell-demo\"\n"),
            None => "[embedded]\npath = \"store\"\n".to_owned(),
        };
        let port = self.port;
        let uploads = self.uploads();
        let uploads = uploads.display();
        let [media, payment, notification] =
            ["media", "payment", "notification"].map(|name| workspace.guest(name).display().to_string());
        format!(
            r#"# Written by `cargo xtask demo`.
{store}
[server]
listen = "127.0.0.1:{port}"

[queues.donations]
handlers = {{ "verify-payment" = "payment" }}
[queues.media]
handlers = {{ "thumbnails" = "media" }}
[queues.notifications]
handlers = {{ "notify" = "notification" }}

[queues.thanks]
handler = "thanks"
concurrency = 4

[handlers.thanks]
source = "store"
limits = {{ memory = "64MiB", deadline = "30s" }}
[handlers.thanks.grants]
secrets = ["notification-webhook"]
publish = ["thanks"]
http = [{{ url = "http://127.0.0.1:{receiver}", methods = ["POST"], private = true }}]

[handlers.payment]
source = {payment:?}
limits = {{ memory = "64MiB", deadline = "30s" }}
[handlers.payment.grants]
cache = true
secrets = ["stripe-webhook"]
http = [{{ url = "https://api.stripe.com", methods = ["GET"] }}]

[handlers.media]
source = {media:?}
limits = {{ memory = "128MiB", deadline = "30s" }}
[handlers.media.grants]
blobs = ["uploads"]
http = [{{ url = "https://images.example.com", methods = ["GET"] }}]

[handlers.notification]
source = {notification:?}
limits = {{ memory = "64MiB", deadline = "30s" }}
[handlers.notification.grants]
secrets = ["notification-webhook"]
publish = ["job_updates"]
http = [{{ url = "http://127.0.0.1:{receiver}", methods = ["POST"], private = true }}]

[secrets]
stripe-webhook = {{ env = "STRIPE_WEBHOOK_SECRET" }}
notification-webhook = {{ env = "NOTIFICATION_WEBHOOK_SECRET" }}

[blobs.uploads]
url = "file://{uploads}"
"#
        )
    }

    /// The host's program with its environment and its log, ready for arguments.
    pub(super) fn command(&self) -> anyhow::Result<Command> {
        let log =
            File::options().create(true).append(true).open(self.log()).context("opening the host's log")?;
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .env("STRIPE_WEBHOOK_SECRET", STRIPE_SECRET)
            .env("NOTIFICATION_WEBHOOK_SECRET", NOTIFICATION_SECRET)
            .env_remove("REDIS_URL")
            .env_remove("REDIS_HOST")
            .env_remove("REDIS_PORT")
            .env_remove("REDIS_USERNAME")
            .env_remove("REDIS_PASSWORD")
            .env_remove("REDIS_DB")
            .env_remove("REDIS_TLS")
            .stdin(Stdio::null())
            .stderr(log);
        Ok(command)
    }

    /// Goes on as the host itself, in the foreground.
    pub(super) fn serve(&self) -> anyhow::Result<ExitCode> {
        println!("The host is on http://127.0.0.1:{} (/health, /metrics); Ctrl-C ends it.\n", self.port);
        let mut command = self.command()?;
        let error = command.arg("run").stderr(Stdio::inherit()).exec();
        Err(error).with_context(|| format!("running {}", self.program.display()))
    }

    /// Which store, in words.
    pub(super) fn store(&self) -> String {
        match &self.redis {
            Some(url) => format!("Redis at {} (keys begin with jobcell-demo:)", without_password(url)),
            None => "the embedded store".to_owned(),
        }
    }

    /// Is there a Redis, so that others can reach the queues while a host runs?
    pub(super) fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.folder.join("uploads")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("host.log")
    }
}

/// The usual port, or any when that is taken.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let address =
        listener.and_then(|listener| listener.local_addr()).context("finding a free loopback port")?;
    Ok(address.port())
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        assert_eq!(without_password("redis://u:p@ss@h:1/0"), "redis://h:1/0");
        assert_eq!(without_password("redis://h:1"), "redis://h:1");
    }
}
