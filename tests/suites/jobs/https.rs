//! A handler's request over https to a service with a certificate of one's own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use jobcell_tests::Site;
use jobcell_tests::fleet::Certificates;
use serde_json::json;

use crate::stage::capable;

/// A server of another make, which answers with the authorization that it was sent, backwards.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn start(certificates: &Certificates) -> Self {
        let identity = certificates.identity("service", &["localhost"]);
        let script = format!(
            "const fs = require('fs'); const [key, cert] = [{:?}, {:?}].map(name => fs.readFileSync(name));
             const backwards = text => [...text].reverse().join('');
             const answer = (asked, answered) => answered.end(backwards(asked.headers.authorization ?? ''));
             const server = require('https').createServer({{ key, cert }}, answer);
             server.listen(0, '127.0.0.1', () => console.log(server.address().port));",
            identity.key, identity.cert
        );
        let mut child = Command::new("node").args(["-e", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().parse().unwrap() }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_authority_of_ones_own_is_named_in_the_configuration() {
    let certificates = Certificates::new();
    let service = Service::start(&certificates);
    let url = format!("https://localhost:{}", service.port);
    let fetch = |more: &str| {
        let site = Site::embedded(&format!("{}{more}", capable(&url))).env("TEST_KEY", "k3y of the tests");
        site.write("open.txt", "sesame");
        site.write("files/.keep", "");
        let id = site.enqueue("work", "fetch", &json!({"url": format!("{url}/"), "bearer": "key"}), &[]);
        let _ = site.burst();
        (site.job("work", &id), site.logs("work", &id).join("\n"))
    };
    let (job, log) = fetch(&format!("[http]\nca = {:?}\n", certificates.ca()));
    assert_eq!(job["state"], "completed", "{job} {log}");
    assert_eq!(job["returnvalue"]["body"], "stset eht fo y3k reraeB");
    let (job, log) = fetch("");
    assert_ne!(job["state"], "completed", "{job}");
    assert!(log.contains("invalid peer certificate"), "{log}");
    assert!(!format!("{job} {log}").contains("k3y"), "{job} {log}");
}
