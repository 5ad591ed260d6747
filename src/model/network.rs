//! Networks, as people write them.

use core::net::IpAddr;

use ipnet::IpNet;

/// Networks in CIDR form, or single addresses.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let parsed = texts
        .iter()
        .map(|text| parse(text).map_err(|_| format!("{text:?} is no network: write it as 10.0.0.0/8 or 10.1.2.3")));
    parsed.collect()
}
