//! The requests of the network's rows. One guest sends them all; what differs is in its job.

use crate::guest::{Guest, Holds, Payload, Wasm};
use crate::receivers::Addresses;

/// What the guest `fetch` is asked to send. `${shut}` in a text is the address of the listener that must not be
/// reached, `${shut-port}` its port, `${open}` the address of the one that is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    authority: &'static str,
    path: &'static str,
    /// A header, none when its name is empty.
    header: (&'static str, &'static str),
    times: u16,
    flags: u16,
}

/// Timeouts of zero.
const NO_TIME: u16 = 1;
/// Read each answer's body to its end.
const READ: u16 = 2;
/// Send all before waiting for one.
const ALL_AT_ONCE: u16 = 4;
/// The method CONNECT.
const CONNECT: u16 = 8;
/// A scheme that is neither HTTP nor HTTPS.
const SCHEME: u16 = 16;

const GET: Asked = Asked { authority: "", path: "/", header: ("", ""), times: 1, flags: 0 };

const fn to(authority: &'static str) -> Asked {
    Asked { authority, ..GET }
}

const fn path(path: &'static str) -> Asked {
    Asked { authority: "${open}", path, ..GET }
}

const fn header(name: &'static str, value: &'static str) -> Asked {
    Asked { authority: "${open}", header: (name, value), ..GET }
}

/// One request: row, name, what it is, what it may come to, and what is sent.
type Line =
    (&'static str, &'static str, &'static str, Option<&'static str>, &'static [&'static str], Holds, Asked);

const FAILS: &[&str] = &["failed"];
const EITHER: &[&str] = &["failed", "completed"];
const WAITS: &[&str] = &["failed", "deadline"];

const LINES: &[Line] = &[
    ("N1", "to_loopback", "asks a listener on this machine", None, FAILS, Holds::Shut, to("${shut}")),
    (
        "N1",
        "to_metadata",
        "asks the cloud's metadata service",
        None,
        FAILS,
        Holds::Shut,
        to("169.254.169.254"),
    ),
    (
        "N1",
        "to_metadata_v6",
        "asks the metadata service by IPv6",
        None,
        FAILS,
        Holds::Shut,
        to("[fd00:ec2::254]"),
    ),
    (
        "N1",
        "to_private_net",
        "asks an address of a private network",
        None,
        FAILS,
        Holds::Shut,
        to("10.0.0.1:80"),
    ),
    (
        "N1",
        "to_carrier_net",
        "asks an address behind a carrier's NAT",
        None,
        FAILS,
        Holds::Shut,
        to("100.64.0.1"),
    ),
    (
        "N1",
        "to_any",
        "asks the address that means every address of this machine",
        None,
        FAILS,
        Holds::Shut,
        to("0.0.0.0:${shut-port}"),
    ),
    (
        "N1",
        "to_mapped",
        "asks loopback as IPv4 within IPv6",
        None,
        FAILS,
        Holds::Shut,
        to("[::ffff:127.0.0.1]:${shut-port}"),
    ),
    (
        "N1",
        "to_compatible",
        "asks loopback in the old form within IPv6",
        None,
        FAILS,
        Holds::Shut,
        to("[::127.0.0.1]:${shut-port}"),
    ),
    (
        "N1",
        "to_nat64",
        "asks loopback through NAT64",
        None,
        FAILS,
        Holds::Shut,
        to("[64:ff9b::7f00:1]:${shut-port}"),
    ),
    (
        "N1",
        "to_6to4",
        "asks loopback through 6to4",
        None,
        FAILS,
        Holds::Shut,
        to("[2002:7f00:1::]:${shut-port}"),
    ),
    ("N1", "to_loopback_v6", "asks loopback of IPv6", None, FAILS, Holds::Shut, to("[::1]:${shut-port}")),
    (
        "N2",
        "to_localhost",
        "asks a name that resolves to this machine",
        None,
        FAILS,
        Holds::Shut,
        to("localhost:${shut-port}"),
    ),
    (
        "N2",
        "to_localhost_dot",
        "asks the same name with a dot at its end",
        None,
        FAILS,
        Holds::Shut,
        to("localhost.:${shut-port}"),
    ),
    (
        "N3",
        "redirected",
        "is redirected to what it may not reach",
        None,
        EITHER,
        Holds::Shut,
        Asked { flags: READ, ..path("/redirect") },
    ),
    (
        "N4",
        "decimal_address",
        "writes loopback as one number",
        None,
        FAILS,
        Holds::Shut,
        to("2130706433:${shut-port}"),
    ),
    (
        "N4",
        "octal_address",
        "writes loopback in octal",
        None,
        FAILS,
        Holds::Shut,
        to("0177.0.0.1:${shut-port}"),
    ),
    (
        "N4",
        "hex_address",
        "writes loopback in hex with a part left out",
        None,
        FAILS,
        Holds::Shut,
        to("0x7f.1:${shut-port}"),
    ),
    (
        "N4",
        "userinfo",
        "puts the granted host where the user's name belongs",
        None,
        FAILS,
        Holds::Shut,
        to("granted.example@${shut}"),
    ),
    (
        "N4",
        "two_hosts",
        "writes two hosts with a backslash between",
        None,
        FAILS,
        Holds::Shut,
        to("granted.example\\@${shut}"),
    ),
    (
        "N4",
        "absolute_form",
        "puts another URL where the path belongs",
        Some("GHSA-5qpp"),
        EITHER,
        Holds::Shut,
        path("http://${shut}/"),
    ),
    (
        "N4",
        "path_of_two_hosts",
        "begins the path with a second host",
        None,
        EITHER,
        Holds::Shut,
        path("//${shut}/x"),
    ),
    (
        "N4",
        "path_climbs",
        "climbs out of the granted path by dots and encoded slashes",
        None,
        EITHER,
        Holds::Shut,
        path("/a/..%2f..%5c../%2e%2e/secret"),
    ),
    (
        "N4",
        "line_breaks",
        "breaks lines in the path to add a request of its own",
        Some("GHSA-r8xh"),
        EITHER,
        Holds::OpenAtMost(1),
        path("/ HTTP/1.1\r\nhost: x\r\n\r\nGET /smuggled"),
    ),
    (
        "N4",
        "long_url",
        "sends a URL of sixty thousand bytes",
        Some("GHSA-w36r"),
        EITHER,
        Holds::Nothing,
        path("${long}"),
    ),
    (
        "N4",
        "no_time",
        "allows no time at all",
        Some("GHSA-w4qr"),
        EITHER,
        Holds::Nothing,
        Asked { flags: NO_TIME, ..path("/hang") },
    ),
    (
        "N4",
        "content_length",
        "names a length that its body does not have",
        Some("GHSA-r8xh"),
        EITHER,
        Holds::OpenAtMost(1),
        header("content-length", "5"),
    ),
    (
        "N4",
        "two_lengths",
        "names two lengths of its body in one header",
        Some("GHSA-h4wp"),
        EITHER,
        Holds::OpenAtMost(1),
        header("content-length", "0, 44"),
    ),
    (
        "N4",
        "tunnel",
        "asks the granted host for a tunnel to another",
        None,
        FAILS,
        Holds::Shut,
        Asked { flags: CONNECT, ..path("/") },
    ),
    (
        "N4",
        "other_scheme",
        "asks by a scheme that is no HTTP",
        None,
        FAILS,
        Holds::Shut,
        Asked { flags: SCHEME, ..to("file") },
    ),
    (
        "N5",
        "host_header",
        "names another host in its header",
        None,
        FAILS,
        Holds::OpenAtMost(0),
        header("host", "internal"),
    ),
    (
        "N5",
        "transfer_encoding",
        "says that its body comes in chunks",
        None,
        FAILS,
        Holds::OpenAtMost(0),
        header("transfer-encoding", "chunked"),
    ),
    (
        "N5",
        "connection",
        "says how the connection goes on",
        None,
        FAILS,
        Holds::OpenAtMost(0),
        header("connection", "upgrade"),
    ),
    (
        "N5",
        "forwarded",
        "says whom the request was forwarded for",
        None,
        EITHER,
        Holds::Nothing,
        header("x-forwarded-for", "127.0.0.1"),
    ),
    (
        "N5",
        "proxy",
        "carries credentials for a proxy",
        None,
        EITHER,
        Holds::Nothing,
        header("proxy-authorization", "Basic eDp4"),
    ),
    (
        "N5",
        "header_breaks",
        "breaks lines in a header",
        None,
        FAILS,
        Holds::OpenAtMost(0),
        header("x-a", "b\r\nhost: internal"),
    ),
    (
        "N6",
        "many_requests",
        "sends requests without end",
        None,
        FAILS,
        Holds::Nothing,
        Asked { times: 5000, ..path("/") },
    ),
    (
        "N6",
        "many_at_once",
        "sends a hundred requests before it waits for one",
        None,
        WAITS,
        Holds::Nothing,
        Asked { times: 100, flags: ALL_AT_ONCE, ..path("/hang") },
    ),
    (
        "N6",
        "endless_body",
        "reads an answer that never ends",
        None,
        &["completed", "failed", "deadline", "cpu"],
        Holds::Nothing,
        Asked { flags: READ, ..path("/endless") },
    ),
    (
        "N6",
        "compressed_body",
        "reads an answer that says it is compressed",
        None,
        EITHER,
        Holds::Nothing,
        Asked { flags: READ, ..path("/compressed") },
    ),
    (
        "T4",
        "silent_peer",
        "asks a peer that accepts and says nothing",
        None,
        WAITS,
        Holds::Nothing,
        path("/hang"),
    ),
    (
        "T4",
        "slow_drip",
        "reads an answer that comes a byte at a time",
        None,
        &["completed", "failed", "deadline"],
        Holds::Nothing,
        Asked { flags: READ, ..path("/drip") },
    ),
];

/// The guests of these rows, all with this component.
pub(crate) fn of(client: Wasm) -> impl Iterator<Item = Guest> {
    LINES.iter().map(move |&(row, name, what, advisory, ends, holds, asked)| Guest {
        row,
        name,
        what,
        advisory,
        ends,
        needs: &["http"],
        holds,
        payload: Payload::Requests(asked),
        at_once: 1,
        wasm: client,
    })
}

/// Bytes of the longest URL.
const LONG: usize = 60_000;

impl Asked {
    /// As the guest reads it.
    pub(crate) fn bytes(&self, addresses: &Addresses) -> Vec<u8> {
        let text = |text: &str| {
            text.replace("${shut}", &addresses.shut.to_string())
                .replace("${shut-port}", &addresses.shut.port().to_string())
                .replace("${open}", &addresses.open.to_string())
                .replace("${long}", &format!("/{}", "a".repeat(LONG)))
        };
        let texts =
            [text(self.authority), text(self.path), self.header.0.to_owned(), self.header.1.to_owned()];
        let lengths = texts.iter().map(|text| u16::try_from(text.len()).unwrap_or(u16::MAX));
        let numbers = lengths.chain([self.times, self.flags]);
        let mut bytes: Vec<u8> = numbers.flat_map(u16::to_le_bytes).collect();
        for text in &texts {
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}
