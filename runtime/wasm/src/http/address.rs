//! Which network addresses a guest's request may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How an address stands to the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Anyone's.
    Public,
    /// This machine or its own network: only for rules that say `private = true`.
    Private(&'static str),
    /// Link-local, or what gives away the host's own identity (instance metadata): only for a rule that spells this very
    /// address and says `private = true`, never through a name.
    Guarded(&'static str),
    /// Never: it leads to nobody, or to another address in disguise.
    Never(&'static str),
}

/// What the operator's rule lets a request reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reachable {
    /// Public addresses.
    Public,
    /// Public and private ones.
    PublicAndPrivate,
    /// This guarded address and no other.
    Only(IpAddr),
}

/// An address that a request may not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Barred {
    /// Unless its rule says so.
    #[error("{article} {0}, which only a rule for this one host with private = true may reach", article = article(.0))]
    Private(&'static str),
    /// Unless a rule spells it.
    #[error("{article} {0}, which only a rule for this very address with private = true may reach", article = article(.0))]
    Guarded(&'static str),
    /// Whatever rules say.
    #[error("{article} {0}, which handlers never reach", article = article(.0))]
    Never(&'static str),
}

// === impl Reachable ===

impl Reachable {
    /// Whether this address may be dialled.
    ///
    /// # Errors
    /// The kind of address it is, when it may not.
    pub(crate) fn check(self, ip: IpAddr) -> Result<(), Barred> {
        match (reach(ip), self) {
            (Reach::Public, Self::Public | Self::PublicAndPrivate)
            | (Reach::Private(_), Self::PublicAndPrivate) => Ok(()),
            (Reach::Guarded(_), Self::Only(granted)) if granted == ip => Ok(()),
            (Reach::Private(kind), Self::Public) => Err(Barred::Private(kind)),
            (Reach::Guarded(kind) | Reach::Private(kind), _) => Err(Barred::Guarded(kind)),
            (Reach::Public, Self::Only(_)) => Err(Barred::Guarded("public address")),
            (Reach::Never(kind), _) => Err(Barred::Never(kind)),
        }
    }
}

/// How this address stands to the public internet.
pub(crate) fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

/// For a kind of address in a sentence.
pub(crate) fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e', 'i', 'o', 'u', 'I']) { "an" } else { "a" }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    use Reach::{Guarded, Never, Private, Public};
    match ip.octets() {
        [0, ..] => Never("this-network address"),
        [127, ..] => Private("loopback address"),
        [10, ..] | [192, 168, ..] => Private("private address"),
        [172, b, ..] if (16..32).contains(&b) => Private("private address"),
        [100, b, ..] if (64..128).contains(&b) => {
            if ip == Ipv4Addr::new(100, 100, 100, 200) {
                Guarded("metadata address")
            } else {
                Private("carrier-grade NAT address")
            }
        }
        [169, 254, ..] => Guarded("link-local or metadata address"),
        [168, 63, 129, 16] => Guarded("metadata address"),
        [192, 0, 0, _] => Never("protocol assignment address"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Never("documentation address"),
        [192, 88, 99, _] => Never("6to4 relay address"),
        [198, 18 | 19, ..] => Never("benchmarking address"),
        [224..=239, ..] => Never("multicast address"),
        [240..=255, ..] => Never("reserved or broadcast address"),
        _ => Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    use Reach::{Guarded, Never, Private, Public};
    if let Some(v4) = ip.to_ipv4_mapped() {
        return reach_v4(v4);
    }
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Never("unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Private("loopback address"),
        [0, 0, 0, 0, 0, 0, ..] => Never("IPv4-compatible address"),
        [0x64, 0xff9b, ..] => Never("NAT64 address"),
        [0x100, 0, 0, 0, ..] => Never("discard address"),
        // Amazon, Scaleway, Akamai and Google serve theirs out of the unique local range.
        [0xfd00, 0x0ec2 | 0x0042, ..] | [0xfd00, 0xa9fe, 0xa9fe, ..] | [0xfd20, 0x00ce, ..] => {
            Guarded("metadata address")
        }
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Never("documentation address"),
        // Teredo, ORCHID, benchmarking and other protocol assignments.
        [0x2001, 0..=0x01ff, ..] => Never("protocol assignment address"),
        [0x2002, ..] => Never("6to4 address"),
        [0xfc00..=0xfdff, ..] => Private("unique local address"),
        [0xfe80..=0xfebf, ..] => Guarded("link-local address"),
        [0xfec0..=0xfeff, ..] => Never("site-local address"),
        [0xff00..=0xffff, ..] => Never("multicast address"),
        // Only this block has been given out for the public internet.
        [0x2000..=0x3fff, ..] => Public,
        _ => Never("reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(ip: &str) -> char {
        match reach(ip.parse().unwrap()) {
            Reach::Public => 'o',
            Reach::Private(_) => 'p',
            Reach::Guarded(_) => 'g',
            Reach::Never(_) => 'x',
        }
    }

    #[test]
    fn every_special_range_is_known() {
        let cases = [
            (
                'o',
                "1.1.1.1 93.184.216.34 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.0.1.1 2606:4700::1111",
            ),
            (
                'p',
                "127.0.0.1 127.255.0.1 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 ::1 fd12::1 fc00::1",
            ),
            ('g', "169.254.169.254 169.254.170.2 168.63.129.16 100.100.100.200 fe80::1 fe80::a9fe:a9fe"),
            ('x', "0.0.0.0 0.1.2.3 192.0.0.192 192.0.2.1"),
            (
                'x',
                "198.51.100.1 203.0.113.9 198.18.0.1 198.19.255.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255",
            ),
            (
                'x',
                ":: ::7f00:1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:db8::1 fec0::1 ff02::1",
            ),
            ('g', "fd00:ec2::254 fd00:ec2::23 fd00:42::42 fd00:a9fe:a9fe::1 fd20:ce::254"),
            ('x', "100::1 4000::1 3fff::1 192.88.99.1 5f00::1"),
            // An IPv4 address inside an IPv6 one: NAT64 of both prefixes, 6to4, Teredo, IPv4-compatible, SIIT.
            (
                'x',
                "64:ff9b::169.254.169.254 64:ff9b::1.1.1.1 64:ff9b:1::7f00:1 2002:a9fe:a9fe::1 2002:101:101::1",
            ),
            ('x', "2001:0:4136:e378:8000:63bf:3fff:fdd2 ::169.254.169.254 ::ffff:0:127.0.0.1"),
            ('o', "2001:4860:4860::8888 2a00:1450:4001::1"),
            ('p', "::ffff:127.0.0.1 ::ffff:10.1.2.3"),
            ('g', "::ffff:169.254.169.254"),
            ('o', "::ffff:1.1.1.1"),
        ];
        for (expected, ips) in cases {
            for ip in ips.split(' ') {
                assert_eq!(kind(ip), expected, "{ip}");
            }
        }
    }

    #[test]
    fn private_opens_the_own_network_and_metadata_only_where_it_is_spelt() {
        let check = |reachable: Reachable, ip: &str| reachable.check(ip.parse().unwrap()).is_ok();
        assert!(!check(Reachable::Public, "127.0.0.1") && check(Reachable::PublicAndPrivate, "127.0.0.1"));
        assert!(!check(Reachable::PublicAndPrivate, "169.254.169.254"));
        let metadata = Reachable::Only("169.254.169.254".parse().unwrap());
        assert!(check(metadata, "169.254.169.254"));
        for other in ["169.254.170.2", "10.0.0.1", "1.1.1.1", "0.0.0.0", "::ffff:169.254.169.254"] {
            assert!(!check(metadata, other), "{other}");
        }
        assert!(check(Reachable::Public, "1.1.1.1"));
    }
}
