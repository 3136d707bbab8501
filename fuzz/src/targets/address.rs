//! The address filter: however an address is written or wrapped, it is one address with one verdict.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jobcell_wasm::fuzzing::reach;
use url::{Host, Url};

/// The first sixteen bytes are an address, the next choose how its parts are written.
pub fn address(data: &[u8]) {
    let byte = |at: usize| data.get(at).copied().unwrap_or_default();
    let v4 = Ipv4Addr::new(byte(0), byte(1), byte(2), byte(3));
    let octets: [u8; 16] = std::array::from_fn(byte);
    check_v4(v4, byte(16));
    check_wrapped(v4);
    check_v6(Ipv6Addr::from(octets));
}

fn check_v4(ip: Ipv4Addr, style: u8) {
    let verdict = reach(IpAddr::V4(ip));
    for text in spellings(ip, style) {
        let url = Url::parse(&format!("http://{text}/")).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let Some(Host::Ipv4(found)) = url.host() else { panic!("{text} is not seen as an address: {url}") };
        assert_eq!((found, reach(IpAddr::V4(found))), (ip, verdict), "{text}");
    }
    let is_special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_unspecified();
    assert!(!(is_special && verdict == "public"), "{ip} is public");
}

/// The forms that a URL may write an IPv4 address in.
fn spellings(ip: Ipv4Addr, style: u8) -> Vec<String> {
    let number = u32::from(ip);
    let [a, b, c, d] = ip.octets();
    let part = |n: u32, bit: u8| match (style >> bit) & 3 {
        0 => n.to_string(),
        1 => format!("0{n:o}"),
        2 => format!("0x{n:x}"),
        _ => format!("0X{n:X}"),
    };
    let (a, b) = (u32::from(a), u32::from(b));
    vec![
        ip.to_string(),
        format!("{ip}."),
        number.to_string(),
        format!("0{number:o}"),
        format!("0x{number:08x}"),
        format!("{}.{}.{}.{}", part(a, 0), part(b, 2), part(u32::from(c), 4), part(u32::from(d), 6)),
        format!("{}.{}", part(a, 0), part(number & 0xff_ffff, 2)),
        format!("{}.{}.{}", part(a, 0), part(b, 2), part(number & 0xffff, 4)),
        ip.to_string().replace('.', "%2e"),
        ip.to_string().replace('1', "\u{ff11}").replace('.', "\u{3002}"),
    ]
}

/// An IPv4 address inside an IPv6 one is never more reachable than by itself.
fn check_wrapped(ip: Ipv4Addr) {
    let plain = reach(IpAddr::V4(ip));
    assert_eq!(reach(IpAddr::V6(ip.to_ipv6_mapped())), plain, "{ip} mapped");
    let [a, b, c, d] = ip.octets();
    let high = u16::from_be_bytes([a, b]);
    let low = u16::from_be_bytes([c, d]);
    for (what, wrapped) in [
        ("compatible", Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low)),
        ("translated", Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low)),
        ("NAT64", Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)),
        ("local NAT64", Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low)),
        ("6to4", Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 0)),
        ("Teredo", Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low)),
    ] {
        assert_ne!(reach(IpAddr::V6(wrapped)), "public", "{ip} as {what}: {wrapped}");
    }
}

fn check_v6(ip: Ipv6Addr) {
    let verdict = reach(IpAddr::V6(ip));
    let segments = ip.segments();
    let full = segments.map(|segment| format!("{segment:04X}")).join(":");
    let [a, b, c, d] = [ip.octets()[12], ip.octets()[13], ip.octets()[14], ip.octets()[15]];
    let dotted = segments[..6].iter().map(|segment| format!("{segment:x}:")).collect::<String>()
        + &Ipv4Addr::new(a, b, c, d).to_string();
    for text in [ip.to_string(), full, dotted] {
        let url = Url::parse(&format!("http://[{text}]/")).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let Some(Host::Ipv6(found)) = url.host() else { panic!("{text} is not seen as an address: {url}") };
        assert_eq!((found, reach(IpAddr::V6(found))), (ip, verdict), "{text}");
    }
    if verdict == "public" {
        let is_global = (0x2000..=0x3fff).contains(&segments[0]) || ip.to_ipv4_mapped().is_some();
        assert!(is_global, "{ip} is public");
    }
}
