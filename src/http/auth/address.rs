//! From where a request comes.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use hyper::http::request::Parts;
use ipnet::IpNet;

use crate::http::Face;
use crate::model::Result;

impl Face {
    /// Who asks: as another server of this vault tells it, or the peer, or the address that a named proxy gives as the one it
    /// serves.
    pub(in crate::http) fn client_address(&self, parts: &Parts) -> Result<Option<IpAddr>> {
        match self.peers.passed_on_for(parts, self.clock.now())? {
            Some(client) => Ok(client),
            None => Ok(self.nearest_address(parts)),
        }
    }

    fn nearest_address(&self, parts: &Parts) -> Option<IpAddr> {
        // A socket that listens on both protocols shows an IPv4 peer as an IPv6 one; networks name him as he is.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
        let trusts = |address: &IpAddr| self.limits.trusted_proxies.iter().any(|net| net.contains(address));
        if !trusts(&peer) {
            return Some(peer);
        }
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        let texts: Vec<&str> = forwarded.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
        for text in texts.iter().rev() {
            // Some gateways write the port behind the address.
            let address = text.trim().parse::<IpAddr>().or_else(|_| text.trim().parse::<SocketAddr>().map(|a| a.ip()));
            match address.map(|address| address.to_canonical()) {
                Ok(address) if trusts(&address) => continue,
                // What stands left of an address that cannot be read was written by who knows whom.
                parsed => return parsed.ok(),
            }
        }
        Some(peer)
    }
}

pub fn is_in_networks(networks: &[String], address: Option<IpAddr>) -> bool {
    if networks.is_empty() {
        return true;
    }
    let contains = |network: &String| {
        let network = network.parse::<IpNet>().ok();
        network.zip(address).is_some_and(|(network, address)| network.contains(&address))
    };
    networks.iter().any(contains)
}
