//! Networks, as people write them.

use core::net::IpAddr;

use ipnet::IpNet;

/// Networks in CIDR form, or single addresses.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let is_mapped = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some());
    let parsed = texts
        .iter()
        .map(|text| parse(text).map_err(|_| format!("{text:?} is no network: write it as 10.0.0.0/8 or 10.1.2.3")))
        // Clients are known by their IPv4 address, however their packets are written.
        .map(|net| match net {
            Ok(net) if is_mapped(&net) => Err(format!("{net} is IPv4 written as IPv6: write it as 10.0.0.0/8")),
            net => net,
        });
    parsed.collect()
}
