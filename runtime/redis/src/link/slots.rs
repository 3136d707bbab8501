//! Which node of a cluster a command belongs to.

use redis::{Arg, Cmd, Value};

use crate::connect::Address;
use crate::reply;

/// Slots of every cluster.
pub(crate) const SLOTS: u16 = 16384;

/// A range of slots and the master that owns it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) owner: Address,
}

/// Commands without a key: any node answers them.
const KEYLESS: [&[u8]; 17] = [
    b"ACL", b"CLIENT", b"CLUSTER", b"COMMAND", b"CONFIG", b"DBSIZE", b"ECHO", b"EXEC", b"INFO", b"MULTI",
    b"PING", b"PUBLISH", b"ROLE", b"SCAN", b"SCRIPT", b"TIME", b"WAIT",
];

/// The slot of a key: of what stands in its first pair of braces, unless that is empty or there is none.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key).unwrap_or(key)) % SLOTS
}

/// What a key has in its first pair of braces.
pub(crate) fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let rest = &key[key.iter().position(|byte| *byte == b'{')? + 1..];
    let tag = &rest[..rest.iter().position(|byte| *byte == b'}')?];
    (!tag.is_empty()).then_some(tag)
}

/// A prefix of keys with all of it in braces, for advice. What has nothing to put there becomes the default.
pub(crate) fn in_braces(prefix: &str) -> String {
    match prefix.replace(['{', '}'], "") {
        bare if bare.is_empty() => "{bull}".to_owned(),
        bare => format!("{{{bare}}}"),
    }
}

/// The first key of a command of ours; those of a command are all in one slot, or the node refuses it.
pub(super) fn key_of(cmd: &Cmd) -> Option<&[u8]> {
    let args = || {
        cmd.args_iter().filter_map(|arg| match arg {
            Arg::Simple(bytes) => Some(bytes),
            _ => None,
        })
    };
    let name = args().next()?;
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if KEYLESS.iter().any(|keyless| is(keyless)) {
        return None;
    }
    if [&b"EVALSHA"[..], b"EVAL", b"EVALSHA_RO", b"EVAL_RO", b"FCALL"].into_iter().any(is) {
        return args().nth(2).filter(|count| *count != b"0").and_then(|_| args().nth(3));
    }
    if [&b"XREAD"[..], b"XREADGROUP"].into_iter().any(is) {
        return args().skip_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS")).nth(1);
    }
    if [&b"OBJECT"[..], b"MEMORY", b"XINFO", b"XGROUP"].into_iter().any(is) {
        return args().nth(2);
    }
    args().nth(1)
}

/// What `CLUSTER SLOTS` answers; `asked` is the node that did.
pub(super) fn ranges(reply: Value, asked: &Address) -> Option<Vec<Range>> {
    let range = |value: Value| {
        let mut parts = reply::array(value).ok()?.into_iter();
        let (first, last) = (slot(&parts.next()?)?, slot(&parts.next()?)?);
        let mut master = reply::array(parts.next()?).ok()?.into_iter();
        // An address that the node does not know is the one that it was reached by.
        let host = reply::text(master.next()?).ok()?.unwrap_or_default();
        let port = u16::try_from(reply::int(&master.next()?).ok()?).ok()?;
        Some(Range { first, last, owner: Address::Tcp { host, port }.or_host_of(asked) })
    };
    reply::array(reply).ok()?.into_iter().map(range).collect()
}

fn slot(value: &Value) -> Option<u16> {
    reply::int(value).ok().and_then(|slot| u16::try_from(slot).ok()).filter(|slot| *slot < SLOTS)
}

/// CRC-16/XMODEM, which Redis Cluster prescribes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the cluster's specification, and `CLUSTER KEYSLOT`.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in
            [("foo", 12182), ("{user1000}.following", 3443), ("foo{}{bar}", 8363), ("foo{{bar}}zap", 4015)]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"{bull}:a:wait"), slot_of(b"{bull}:b:meta"));
        assert_ne!(slot_of(b"bull:a:wait"), slot_of(b"bull:a:meta"));
    }

    #[test]
    fn advice_for_a_prefix_changes_something() {
        for (prefix, advised) in [("bull", "{bull}"), ("{}", "{bull}"), ("", "{bull}"), ("{a", "{a}")] {
            assert_eq!(in_braces(prefix), advised);
            assert!(tag_of(prefix.as_bytes()).is_none() && tag_of(advised.as_bytes()).is_some());
        }
    }

    #[test]
    fn the_key_is_found_wherever_it_stands() {
        let cmd = |line: &str| {
            let mut words = line.split(' ');
            let mut cmd = redis::cmd(words.next().unwrap());
            words.for_each(|word| {
                cmd.arg(word);
            });
            cmd
        };
        for (line, key) in [
            ("GET k", Some("k")),
            ("EVALSHA x 2 k l a", Some("k")),
            ("EVALSHA x 0 a", None),
            ("XREAD COUNT 1 BLOCK 5 STREAMS k 0-0", Some("k")),
            ("xread streams k 0", Some("k")),
            ("BZPOPMIN k 1", Some("k")),
            ("OBJECT ENCODING k", Some("k")),
            ("INFO", None),
            ("SCRIPT LOAD x", None),
            ("SCAN 0 MATCH k", None),
            ("PUBLISH c m", None),
        ] {
            let cmd = cmd(line);
            assert_eq!(key_of(&cmd).map(|key| std::str::from_utf8(key).unwrap()), key, "{line}");
        }
    }

    #[test]
    fn a_map_of_the_cluster_is_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: Value, port: i64| {
            Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])])
        };
        let asked = Address::Tcp { host: "me".to_owned(), port: 1 };
        let reply = Value::Array(vec![
            Value::Array(vec![
                Value::Int(0),
                Value::Int(99),
                node(text("10.0.0.1"), 7),
                node(text("10.0.0.9"), 8),
            ]),
            Value::Array(vec![Value::Int(100), Value::Int(16383), node(Value::Nil, 9)]),
        ]);
        let owners: Vec<_> =
            ranges(reply, &asked).unwrap().iter().map(|range| range.owner.to_string()).collect();
        assert_eq!(owners, ["10.0.0.1:7", "me:9"]);
        let beyond =
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16384), node(text("h"), 7)])]);
        assert_eq!(ranges(beyond, &asked), None);
    }
}
