//! Where a control socket is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::serve::ServeError;

/// Where a control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAddress {
    /// A unix socket.
    Path(PathBuf),
    /// An address and port.
    Net(SocketAddr),
}

impl FromStr for ControlAddress {
    type Err = ServeError;

    /// `ADDRESS:PORT`, `localhost:PORT`, or else a path.
    fn from_str(text: &str) -> Result<Self, ServeError> {
        let port = |text: &str| text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        match (text.parse(), port(text)) {
            (Ok(address), _) => Ok(ControlAddress::Net(address)),
            (_, Some(port)) => Ok(ControlAddress::Net((IpAddr::from(Ipv4Addr::LOCALHOST), port).into())),
            // An address without its port is no path that anybody means.
            _ if text.is_empty() || text.parse::<IpAddr>().is_ok() => {
                Err(ServeError::Address { found: text.to_owned() })
            }
            _ => Ok(ControlAddress::Path(text.into())),
        }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlAddress::Path(path) => path.display().fmt(f),
            ControlAddress::Net(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_path() {
        let net = |text: &str| Some(ControlAddress::Net(text.parse().unwrap()));
        for (text, expected) in [
            ("127.0.0.1:9200", net("127.0.0.1:9200")),
            ("[::1]:9200", net("[::1]:9200")),
            ("localhost:9200", net("127.0.0.1:9200")),
            ("/run/percept.sock", Some(ControlAddress::Path("/run/percept.sock".into()))),
            ("percept.sock", Some(ControlAddress::Path("percept.sock".into()))),
            ("", None),
            ("127.0.0.1", None),
            ("::1", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
