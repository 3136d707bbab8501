//! Handlers from an OCI registry: a real one, which runs beside the test.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jobcell_handlers::Digest;
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::fleet::ended_on;
use super::guest::Guest;

/// `docker-registry` on a free port.
struct Registry {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Registry {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut registry = Self { folder: tempfile::tempdir().unwrap(), port, process: None };
        registry.up();
        registry
    }

    fn up(&mut self) {
        let config = json!({
            "version": 0.1,
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": self.folder.path().join("data") } },
            "http": { "addr": format!("127.0.0.1:{}", self.port) }
        });
        let file = self.folder.path().join("config.yml");
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("docker-registry, which `cargo xtask test` installs"));
        wait::until("the registry answers", || (self.http("GET", "/v2/", &[], b"")?.0 == 200).then_some(()));
    }

    fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Status, head and body.
    fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(wait::SOON)).ok()?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.port,
            body.len()
        );
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(b"\r\n").ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        let (status, answer) = self.http("POST", "/v2/team/mine/blobs/uploads/", &[], b"").unwrap();
        assert_eq!(status, 202, "{answer}");
        let location = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        let location = location.unwrap();
        let path = &location[location.find("/v2/").unwrap()..];
        let join = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{join}digest={digest}");
        let (status, answer) =
            self.http("PUT", &path, &[("content-type", "application/octet-stream")], bytes).unwrap();
        assert_eq!(status, 201, "{answer}");
        digest
    }

    /// Pushes a component in the layout for WebAssembly and returns the manifest's digest.
    fn push(&self, tag: &str, guest: &Guest) -> String {
        let config = b"{}";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": self.blob(config), "size": config.len()
            },
            "layers": [{
                "mediaType": "application/wasm",
                "digest": self.blob(&guest.bytes), "size": guest.bytes.len()
            }]
        });
        let manifest = manifest.to_string();
        let media = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
        let path = format!("/v2/team/mine/manifests/{tag}");
        let (status, answer) = self.http("PUT", &path, &media, manifest.as_bytes()).unwrap();
        assert_eq!(status, 201, "{answer}");
        Digest::of(manifest.as_bytes()).to_string()
    }

    fn config(&self, reference: &str) -> String {
        config_at(self.port, reference)
    }
}

fn config_at(port: u16, reference: &str) -> String {
    format!(
        "[queues.work]\nhandler = \"mine\"\n[handlers.mine]\nsource = \"oci://127.0.0.1:{port}/team/mine{reference}\"\n"
    )
}

/// Stands before a registry and lets so many bytes of each connection's answers through, then the connection is gone.
struct Cutter {
    port: u16,
    bytes: Arc<AtomicUsize>,
    /// Connections so far.
    asked: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = Arc::new(AtomicUsize::new(usize::MAX));
        let (most, asked) = (Arc::clone(&bytes), Arc::<AtomicUsize>::default());
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                seen.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                let (mut asks, mut hears) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut asks, &mut hears));
                let most = Arc::clone(&most);
                std::thread::spawn(move || answer(client, server, &most));
            }
        });
        Self { port, bytes, asked }
    }

    fn cut_after(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::SeqCst);
    }
}

fn answer(mut client: TcpStream, mut server: TcpStream, most: &AtomicUsize) {
    let (mut passed, mut buffer) = (0, [0; 16 << 10]);
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        passed += read;
        if passed > most.load(Ordering::SeqCst) || client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.down();
    }
}

#[test]
fn a_tag_is_pulled_and_what_it_means_is_followed_through_an_outage() {
    let redis = RedisServer::start();
    let mut registry = Registry::start();
    let (one, two) = (Guest::marked("one"), Guest::marked("two"));
    // Nothing is there yet: the host is up and says what to do.
    let site = Site::redis(&redis, &registry.config(":latest"));
    let host = Host::launch(&site, &[]);
    host.wait_log("push it there, or correct the source");
    wait::until("the host is not ready", || (host.get("/readyz")?.0 == 503).then_some(()));
    let manifest = registry.push("latest", &one);
    let ledger = Ledger::of(&redis, "work");
    let ids = ledger.push_noops(3);
    ledger.wait_completed(&ids, std::time::Duration::from_secs(60));
    assert_eq!(ended_on(&ledger, &ids[0]), (Some(one.result.clone()), Some(one.name())));
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));

    // The registry goes while hosts start: what it has is tried again, and what runs goes on.
    registry.down();
    let pinned = Site::redis(&redis, &registry.config(&format!("@{manifest}")));
    let late = Host::launch(&pinned, &[]);
    late.wait_log("is the registry 127.0.0.1");
    let ids = ledger.push_noops(3);
    ledger.wait_completed(&ids, wait::SOON);
    registry.up();
    wait::until("the late host is ready", || (late.get("/readyz")?.0 == 200).then_some(()));
    assert!(late.log().iter().any(|line| line.contains(&one.version())), "{:?}", late.log());

    // Tags are looked up every half minute; the tag moves, the digest does not.
    registry.push("latest", &two);
    wait::within(std::time::Duration::from_secs(90), "the tag's new version runs", || {
        host.log()
            .iter()
            .any(|line| line.contains("handler changed") && line.contains(&two.version()))
            .then_some(())
    });
    assert!(!late.log().iter().any(|line| line.contains(&two.version())));
}

#[test]
fn what_is_damaged_or_no_component_is_not_taken() {
    let redis = RedisServer::start();
    let registry = Registry::start();
    let guest = Guest::marked("one");
    registry.push("cut", &guest);
    // What the registry has on its disk breaks: the bytes are others than their name says.
    let hex = guest.name()["sha256:".len()..].to_owned();
    let data = registry.folder.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex);
    let mut bytes = std::fs::read(data.join("data")).unwrap();
    bytes[100] ^= 1;
    std::fs::write(data.join("data"), &bytes).unwrap();
    let site = Site::redis(&redis, &registry.config(":cut"));
    let host = Host::launch(&site, &[]);
    host.wait_log("nothing new can be taken from the handler's source");
    let told = host.wait_log("oci://127.0.0.1");
    assert!(told.contains("igest") || told.contains("changed on its way"), "{told}");
    let (status, page) = wait::until("the host answers", || host.get("/readyz"));
    assert!(status == 503 && page.contains("oci://127.0.0.1"), "{page}");
}

#[test]
fn what_is_not_believed_is_told_until_something_else_is_there() {
    let redis = RedisServer::start();
    let registry = Registry::start();
    let cutter = Cutter::before(registry.port);
    registry.push("latest", &Guest::marked("one"));
    let trust = "[trust]\nrequire-signature = true\nkeys = [\"ed25519:EqppI24mviW2gr4A8lUaeyj1oxznfJ8RBZcdl8kK+Eo=\"]\n";
    let site = Site::redis(&redis, &format!("{}{trust}", config_at(cutter.port, ":latest")));
    let host = Host::launch(&site, &[]);
    host.wait_log("nothing new can be taken from the handler's source");
    let told =
        || host.get("/readyz").is_some_and(|(status, page)| status == 503 && page.contains("is not signed"));
    wait::until("it is told", || told().then_some(()));
    let asked = cutter.asked.load(Ordering::SeqCst);
    // The next look, half a minute later, finds the same.
    wait::within(std::time::Duration::from_secs(90), "the tag is looked up again", || {
        assert!(told(), "{:?}", host.get("/readyz"));
        (cutter.asked.load(Ordering::SeqCst) > asked).then_some(())
    });
    let shown = site.cli(&["handler", "ls"]);
    assert!(told(), "{shown}");
}

#[test]
fn a_registry_that_vanishes_in_the_middle_of_a_pull_leaves_what_runs() {
    let redis = RedisServer::start();
    let registry = Registry::start();
    let cutter = Cutter::before(registry.port);
    let (one, mut two) = (Guest::marked("one"), Guest::marked("two"));
    registry.push("latest", &one);
    let site = Site::redis(&redis, &config_at(cutter.port, ":latest"));
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    let runs = |guest: &Guest| {
        let ids = ledger.push_noops(3);
        ledger.wait_completed(&ids, wait::SOON);
        assert_eq!(ended_on(&ledger, &ids[2]), (Some(guest.result.clone()), Some(guest.name())));
    };
    runs(&one);
    // Large enough that its layer is far from over when the connection goes.
    two.bytes.extend([0, 0x80, 0x80, 0x40, 1, b'x']);
    two.bytes.resize(two.bytes.len() + (1 << 20) - 2, 7);
    registry.push("latest", &two);
    cutter.cut_after(200 << 10);
    // Looked up at once, instead of half a minute later.
    host.signal(Signal::HUP);
    let told = host.wait_log("nothing new can be taken from the handler's source; what runs goes on");
    assert!(told.contains("oci://127.0.0.1") && told.contains("is tried again"), "{told}");
    runs(&one);
    let (status, page) = host.get("/readyz").unwrap();
    assert_eq!(status, 200, "{page}");
    cutter.cut_after(usize::MAX);
    wait::within(
        std::time::Duration::from_secs(90),
        "the new version is taken as soon as it can be had",
        || {
            let taken = |line: &String| line.contains("handler changed") && line.contains(&two.version());
            host.log().iter().any(taken).then_some(())
        },
    );
    runs(&two);
    host.stop();
}
