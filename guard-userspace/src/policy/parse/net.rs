//! Addresses, networks, ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Cx, shown};
use crate::policy::diag::{Code, Diagnostic};
use crate::policy::model::{AddrSet, Cidr, NetTarget, PortRange, PortTarget, Proto};
use crate::policy::source::Spanned;
use crate::policy::yaml::Node;

/// What is wrong, and what to write instead.
type Problem = (Code, String, String);

/// One item of `to:`.
pub(super) fn target(cx: &mut Cx, node: &Node) -> Option<NetTarget> {
    let text = cx.text(node, "an address", "an address such as `10.1.0.0/16:443/tcp`")?;
    match parse_target(&text) {
        Ok((addr, ports, proto)) => Some(NetTarget { span: text.span, text: text.value, addr, ports, proto }),
        Err((code, message, help)) => {
            cx.push(Diagnostic::new(code, text.span, message).help(help));
            None
        }
    }
}

/// One item of `ports:`.
pub(super) fn port_target(cx: &mut Cx, node: &Node) -> Option<PortTarget> {
    let text = cx.text(node, "a port", "a port such as `8080/tcp`")?;
    match split_proto(&text).and_then(|(ports, proto)| Ok((parse_ports(ports)?, proto))) {
        Ok((ports, proto)) => Some(PortTarget { span: text.span, text: text.value, ports, proto }),
        Err((code, message, help)) => {
            cx.push(Diagnostic::new(code, text.span, message).help(help));
            None
        }
    }
}

fn parse_target(text: &str) -> Result<(AddrSet, Vec<PortRange>, Proto), Problem> {
    let (text, proto) = split_proto(text)?;
    let (addr, ports) = split_ports(text)?;
    let addr = if addr == "*" { AddrSet::Any } else { AddrSet::Net(parse_cidr(addr)?) };
    let ports = ports.map_or_else(|| Ok(vec![PortRange::ALL]), parse_ports)?;
    Ok((addr, ports, proto))
}

/// Takes `/tcp` or `/udp` off the end. What follows the last `/` may also be a prefix length.
fn split_proto(text: &str) -> Result<(&str, Proto), Problem> {
    let Some((head, tail)) = text.rsplit_once('/') else { return Ok((text, Proto::Any)) };
    match tail {
        "tcp" => Ok((head, Proto::Tcp)),
        "udp" => Ok((head, Proto::Udp)),
        _ if tail.starts_with(|c: char| c.is_ascii_digit()) => Ok((text, Proto::Any)),
        _ => Err((
            Code::BadPort,
            format!("unknown protocol `{}`", shown(tail)),
            "write `/tcp` or `/udp`, or nothing for both".to_owned(),
        )),
    }
}

/// `addr:ports`, where an IPv6 address stands in brackets if ports follow.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), Problem> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((addr, tail)) = rest.split_once(']') else {
            return Err(bad_address(text, "close the bracket: `[2001:db8::1]:443`"));
        };
        return match tail.strip_prefix(':') {
            Some(ports) => Ok((addr, Some(ports))),
            None if tail.is_empty() => Ok((addr, None)),
            None => {
                Err(bad_address(text, "write the prefix length inside the brackets: `[2001:db8::/32]:443`"))
            }
        };
    }
    if let Some((addr, port)) = maybe_port(text) {
        let message = format!("`{}` can be read as an address, and as an address and a port", shown(text));
        let help = format!("write `[{addr}]:{port}` for the port, `[{text}]` for the address");
        return Err((Code::BadAddress, message, help));
    }
    match text.split_once(':') {
        // More than one colon and no bracket: IPv6 without ports.
        Some((_, tail)) if tail.contains(':') => Ok((text, None)),
        Some((addr, ports)) => Ok((addr, Some(ports))),
        None => Ok((text, None)),
    }
}

/// An IPv6 address whose last group is there for the port, if it can be read so.
fn maybe_port(text: &str) -> Option<(&str, u16)> {
    text.parse::<Ipv6Addr>().ok()?;
    let (addr, port) = text.rsplit_once(':')?;
    addr.parse::<Ipv6Addr>().ok()?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some((addr, port))
}

fn bad_address(text: &str, help: &str) -> Problem {
    (Code::BadAddress, format!("`{}` is not an address or network", shown(text)), help.to_owned())
}

fn parse_cidr(text: &str) -> Result<Cidr, Problem> {
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text, None),
    };
    let Ok(ip) = addr.parse::<IpAddr>() else {
        let help = if addr.contains('*') {
            "write a network such as `10.1.0.0/16`, or `*` alone for every address"
        } else if addr.contains(|c: char| c.is_ascii_alphabetic()) && !addr.contains(':') {
            "write the address: names are resolved by the agent's own resolver, which could answer anything"
        } else {
            "write an address such as `10.1.2.3`, or a network such as `10.1.0.0/16` or `2001:db8::/32`"
        };
        return Err(bad_address(text, help));
    };
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.map(str::parse::<u8>) {
        None => bits,
        Some(Ok(prefix)) if prefix <= bits => prefix,
        Some(_) => return Err(bad_address(text, &format!("the prefix length is a number from 0 to {bits}"))),
    };
    normal(ip, prefix, text)
}

/// Mapped addresses as IPv4, and no host bits.
fn normal(ip: IpAddr, prefix: u8, text: &str) -> Result<Cidr, Problem> {
    let (addr, prefix) = match ip {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) if prefix >= 96 => (IpAddr::V4(v4), prefix - 96),
            Some(_) | None => (ip, prefix),
        },
        IpAddr::V4(_) => (ip, prefix),
    };
    let network = match addr {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask32(prefix))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask128(prefix))),
    };
    if network != addr {
        let help = format!("write `{network}/{prefix}` for the network, or `{addr}` for the one address");
        return Err((Code::BadAddress, format!("`{}` has bits behind its prefix", shown(text)), help));
    }
    Ok(Cidr { addr, prefix })
}

fn mask32(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

/// `443`, `8000-8999`, `80,443`. Sorted and joined.
fn parse_ports(text: &str) -> Result<Vec<PortRange>, Problem> {
    let bad = |what: &str| {
        let message = format!("`{}` is not a port or a range of ports", shown(what));
        (
            Code::BadPort,
            message,
            "write a port from 1 to 65535, a range `8000-8999`, or several `80,443`".to_owned(),
        )
    };
    if text == "*" {
        return Ok(vec![PortRange::ALL]);
    }
    let mut ranges = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (Some(first), Some(last)) = (port(first), port(last)) else { return Err(bad(item)) };
        if last < first {
            let help = format!("write `{last}-{first}`");
            return Err((Code::BadPort, format!("the range `{item}` runs backwards"), help));
        }
        ranges.push(PortRange { first, last });
    }
    ranges.sort();
    let mut joined: Vec<PortRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last)
            }
            Some(_) | None => joined.push(range),
        }
    }
    Ok(joined)
}

/// An address and a port that a gateway can be.
pub(super) fn gateway(cx: &mut Cx, node: &Node) -> Option<Spanned<SocketAddr>> {
    let text = cx.text(node, "an address and a port", "an address and a port such as `127.0.0.1:18080`")?;
    let problem = match text.parse::<SocketAddr>() {
        Ok(socket) => {
            let socket = SocketAddr::new(socket.ip().to_canonical(), socket.port());
            if socket.ip().is_unspecified() {
                (
                    "a gateway on the unspecified address would be every address of this host",
                    format!("write `127.0.0.1:{}`", socket.port()),
                )
            } else if socket.ip().is_multicast() || socket.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
                ("a gateway is one host, not a group", "write the gateway's own address".to_owned())
            } else if socket.port() == 0 {
                ("a gateway on port 0 is none", "write the port that the gateway listens on".to_owned())
            } else {
                return Some(Spanned::new(socket, text.span));
            }
        }
        Err(_) if text.parse::<IpAddr>().is_ok() => (
            "a gateway without a port would be every port of its host",
            format!("write `{}:18080`, with the port that the gateway listens on", bracketed(&text)),
        ),
        Err(_) => (
            "this is not an address and a port",
            "write one address and one port: `127.0.0.1:18080` or `[::1]:18080`".to_owned(),
        ),
    };
    cx.push(Diagnostic::new(Code::BadGateway, text.span, problem.0).help(problem.1));
    None
}

fn bracketed(addr: &str) -> String {
    if addr.contains(':') { format!("[{addr}]") } else { addr.to_owned() }
}

/// A peer as tests and `explain` name it: `10.1.2.3:443/tcp`; TCP if no protocol is written.
pub(super) fn parse_peer(text: &str) -> Result<(SocketAddr, Proto), String> {
    let (socket, proto) = split_proto(text).map_err(|(_, message, help)| format!("{message}: {help}"))?;
    let socket = socket.parse::<SocketAddr>().map_err(|_| {
        format!("`{}` is not an address and a port: write `10.1.2.3:443` or `[2001:db8::1]:443`", shown(text))
    })?;
    let proto = if proto == Proto::Any { Proto::Tcp } else { proto };
    Ok((SocketAddr::new(socket.ip().to_canonical(), socket.port()), proto))
}

/// A local port as tests and `explain` name it: `8080/tcp`; TCP if no protocol is written.
pub(super) fn parse_port(text: &str) -> Result<(u16, Proto), String> {
    let (port, proto) = split_proto(text).map_err(|(_, message, help)| format!("{message}: {help}"))?;
    let port =
        port.parse::<u16>().map_err(|_| format!("`{}` is not a port: write `8080/tcp`", shown(text)))?;
    Ok((port, if proto == Proto::Any { Proto::Tcp } else { proto }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> (String, Vec<(u16, u16)>, Proto) {
        let (addr, ports, proto) = parse_target(text).unwrap();
        let addr = match addr {
            AddrSet::Any => "*".to_owned(),
            AddrSet::Net(cidr) => format!("{}/{}", cidr.addr, cidr.prefix),
        };
        (addr, ports.iter().map(|range| (range.first, range.last)).collect(), proto)
    }

    #[test]
    fn targets_are_read_in_all_their_spellings() {
        let all = vec![(0, 65535)];
        assert_eq!(net("127.0.0.1:5432/tcp"), ("127.0.0.1/32".into(), vec![(5432, 5432)], Proto::Tcp));
        assert_eq!(net("10.0.0.0/8"), ("10.0.0.0/8".into(), all.clone(), Proto::Any));
        assert_eq!(net("10.0.0.0/8/udp"), ("10.0.0.0/8".into(), all.clone(), Proto::Udp));
        assert_eq!(net("2001:db8::/32"), ("2001:db8::/32".into(), all.clone(), Proto::Any));
        assert_eq!(
            net("[2001:db8::/32]:443,80-81/udp"),
            ("2001:db8::/32".into(), vec![(80, 81), (443, 443)], Proto::Udp)
        );
        assert_eq!(net("*:443"), ("*".into(), vec![(443, 443)], Proto::Any));
        assert_eq!(net("0.0.0.0/0:1-3,2-9,10"), ("0.0.0.0/0".into(), vec![(1, 10)], Proto::Any));
    }

    #[test]
    fn an_address_that_may_end_in_a_port_is_told_with_both_spellings() {
        let (_, _, help) = parse_target("::1:443").unwrap_err();
        assert_eq!(help, "write `[::1]:443` for the port, `[::1:443]` for the address");
        assert_eq!(net("[::1]:443"), ("::1/128".into(), vec![(443, 443)], Proto::Any));
        assert_eq!(net("[::1:443]").0, "::1:443/128");
        for plain in ["::1", "2001:db8::1", "fe80::1:ab", "1:2:3:4:5:6:7:8", "::1:443/128", "::ffff:10.1.2.3"]
        {
            assert!(parse_target(plain).is_ok(), "{plain}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        assert_eq!(net("[::ffff:10.1.0.0/112]:443").0, "10.1.0.0/16");
        assert_eq!(net("::ffff:10.1.2.3").0, "10.1.2.3/32");
        assert_eq!(parse_peer("[::ffff:10.1.2.3]:1").unwrap().0.to_string(), "10.1.2.3:1");
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for bad in [
            "",
            "10.1.2.3/8",
            "10.0.0.0/33",
            "example.com:443",
            "10.0.*:1",
            "1.2.3.4:0",
            "1.2.3.4:70000",
            "1.2.3.4:9-8",
            "[::1",
            "[::1]/64:1",
            "1.2.3.4:80/sctp",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4:",
            "fe80::1%eth0",
            "::1:443",
            "fe80::1:80/tcp",
        ] {
            assert!(parse_target(bad).is_err(), "{bad:?}");
        }
    }
}
