//! What a host tells systemd, over a socket as systemd has one.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use jobcell_tests::{Host, Site, wait};
use rustix::process::Signal;

use crate::stage::{BASIC, Stage};

struct Notified(UnixDatagram);

impl Notified {
    fn listen(site: Site) -> (Self, Site) {
        let path = site.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(wait::SOON)).unwrap();
        let site = site.env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "400000");
        (Self(socket), site)
    }

    /// The next message that has this line.
    #[track_caller]
    fn wait_for(&self, line: &str) -> String {
        let end = Instant::now() + wait::SOON;
        let mut bytes = [0; 4096];
        while Instant::now() < end {
            let count = self.0.recv(&mut bytes).expect("a message in time");
            let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if message.lines().any(|found| found.starts_with(line)) {
                return message;
            }
        }
        panic!("no {line} in time");
    }
}

#[test]
fn it_hears_ready_reloading_stopping_and_that_the_host_lives() {
    let stage = Stage::redis();
    let (notified, site) = Notified::listen(stage.site(BASIC));
    let host = Host::launch(&site, &[]);
    let ready = notified.wait_for("READY=1");
    assert!(ready.contains("STATUS=taking jobs of work; http://127.0.0.1:"), "{ready}");
    assert_eq!(host.get("/readyz").unwrap().0, 200, "ready means ready");
    for _ in 0..3 {
        let _ = notified.wait_for("WATCHDOG=1");
    }
    host.signal(Signal::HUP);
    assert!(notified.wait_for("RELOADING=1").contains("MONOTONIC_USEC="));
    let _ = notified.wait_for("READY=1");
    host.signal(Signal::TSTP);
    let _ = notified.wait_for("STATUS=quiet");
    host.signal(Signal::CONT);
    let _ = notified.wait_for("STATUS=taking jobs");
    host.terminate();
    let _ = notified.wait_for("STOPPING=1");
    host.stop();
}

#[test]
fn the_watchdog_is_fed_while_the_store_is_away_and_cells_are_busy() {
    let stage = Stage::redis();
    let (notified, site) = Notified::listen(stage.site(BASIC));
    let host = Host::start(&site);
    for _ in 0..4 {
        site.enqueue("work", "spin", &serde_json::json!(null), &["--attempts", "1"]);
    }
    wait::until("cells burn the processor", || {
        let page = host.get("/metrics")?.1;
        page.lines().any(|line| line == "jobcell_cells_active 4").then_some(())
    });
    drop(stage);
    let end = Instant::now() + Duration::from_secs(4);
    let mut beats = 0;
    while Instant::now() < end {
        let _ = notified.wait_for("WATCHDOG=1");
        beats += 1;
    }
    assert!(beats >= 8, "{beats} beats in four seconds, of 200 ms each");
    host.kill();
}

#[test]
fn a_host_without_a_supervisor_tells_nobody() {
    let stage = Stage::embedded();
    let (notified, _) = Notified::listen(stage.site(BASIC));
    notified.0.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let host = Host::start(&stage.site(BASIC));
    host.stop();
    assert!(notified.0.recv(&mut [0; 16]).is_err());
}
