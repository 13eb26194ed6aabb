//! Who may talk to a pipeline over a socket.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::ServeError;

/// Fewest and most characters of a token.
const TOKEN: (usize, usize) = (16, 256);

/// Who may talk to a socket: everybody on this machine where it listens at a loopback address, otherwise whoever shows
/// the token.
#[derive(Clone)]
pub struct Access {
    token: Option<String>,
}

impl Access {
    /// The rule for a socket at `address`. A token that is given is wanted from everybody. Without one, a loopback
    /// address wants none, and for any other address one is made of 128 random bits.
    pub fn new(address: IpAddr, token: Option<&str>) -> Result<Access, ServeError> {
        let token = match token {
            Some(token) => Some(checked(token)?),
            None if address.to_canonical().is_loopback() => None,
            None => Some(random()?),
        };
        Ok(Access { token })
    }

    /// The same for a socket by which things are changed: there everybody wants a token, as other users of this machine,
    /// and pages in its browsers, reach a loopback address too.
    pub fn to_change(address: IpAddr, token: Option<&str>) -> Result<Access, ServeError> {
        let access = Access::new(address, token)?;
        Ok(Access { token: Some(access.token.map_or_else(random, Ok)?) })
    }

    /// The rule of a unix socket: its file's permissions say who may talk to it.
    pub const FILE: Access = Access { token: None };

    /// The token that is wanted, if any.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether somebody who shows `offered` may go on. Takes the same time wherever the two differ.
    pub fn admits(&self, offered: Option<&str>) -> bool {
        match (&self.token, offered) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(token), Some(offered)) => {
                // Sums of equal length, compared to the end: no byte of the token shows in the time.
                let (wanted, found) = (Sha256::digest(token), Sha256::digest(offered));
                let differs = wanted.iter().zip(&found).fold(0u8, |differs, (a, b)| differs | (a ^ b));
                black_box(differs) == 0
            }
        }
    }

    /// Whether a request that names `host` is meant for this socket.
    ///
    /// A page of a stranger may make a browser resolve the stranger's own name to this machine and read what is served
    /// here (DNS rebinding). Such a request carries the stranger's name. So, where no token protects, only `localhost`
    /// and loopback addresses are taken; where one does, a rebound page does not know it, and any name will do.
    pub fn serves_host(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return false };
        if self.token.is_some() {
            return true;
        }
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Logs keep no token.
        f.write_str(if self.token.is_some() { "Access(token)" } else { "Access(open)" })
    }
}

/// `[::1]:80` → `::1`, `localhost:80` → `localhost`.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn checked(token: &str) -> Result<String, ServeError> {
    let (least, most) = TOKEN;
    let wrong = |found: String| ServeError::Token { least, most, found };
    let good = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    match token.chars().count() {
        count if !(least..=most).contains(&count) => Err(wrong(format!("{count} characters"))),
        _ if !token.chars().all(good) => Err(wrong("another character".to_owned())),
        _ => Ok(token.to_owned()),
    }
}

fn random() -> Result<String, ServeError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| ServeError::Random { reason: error.to_string() })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "abcdefgh-1234567";

    fn access(address: &str, token: Option<&str>) -> Access {
        Access::new(address.parse().unwrap(), token).unwrap()
    }

    #[test]
    fn only_this_machine_needs_no_token() {
        for (address, wants) in
            [("127.0.0.1", false), ("127.8.8.8", false), ("::1", false), ("::ffff:127.0.0.1", false), ("0.0.0.0", true)]
        {
            assert_eq!(access(address, None).token().is_some(), wants, "{address}");
            assert_eq!(access(address, Some(GIVEN)).token(), Some(GIVEN), "{address}");
        }
        let changes = |token| Access::to_change("127.0.0.1".parse().unwrap(), token).unwrap();
        assert_eq!((changes(None).token().unwrap().len(), changes(Some(GIVEN)).token()), (32, Some(GIVEN)));
        let (a, b) = (access("10.0.0.1", None), access("10.0.0.1", None));
        assert_eq!(a.token().unwrap().len(), 32);
        assert_ne!(a.token(), b.token());
    }

    #[test]
    fn a_token_is_compared_whole() {
        let guarded = access("::1", Some(GIVEN));
        for (offered, admitted) in [
            (None, false),
            (Some(""), false),
            (Some("abcdefgh-123456"), false),
            (Some("abcdefgh-12345678"), false),
            (Some("Abcdefgh-1234567"), false),
            (Some(GIVEN), true),
        ] {
            assert_eq!(guarded.admits(offered), admitted, "{offered:?}");
        }
        assert!(access("::1", None).admits(None) && Access::FILE.admits(None));
        assert!(!format!("{guarded:?}").contains("abcd"));
    }

    #[test]
    fn weak_tokens_are_refused_without_naming_them() {
        for (token, says) in [
            ("", "0 characters"),
            ("short", "5 characters"),
            ("sixteen letters!", "another character"),
            ("ümlautümlautümlaut", "another character"),
            (&"x".repeat(257), "257 characters"),
        ] {
            let error = Access::new(IpAddr::from([0, 0, 0, 0]), Some(token)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(token.is_empty() || !error.contains(token), "{error}");
        }
    }

    #[test]
    fn a_rebound_name_is_refused() {
        let open = access("127.0.0.1", None);
        for (host, served) in [
            (Some("127.0.0.1:8080"), true),
            (Some("127.0.0.1"), true),
            (Some("localhost:1"), true),
            (Some("LOCALHOST."), true),
            (Some("[::1]:8080"), true),
            (Some("[::1]"), true),
            (None, false),
            (Some(""), false),
            (Some("stranger.example:8080"), false),
            (Some("127.0.0.1.stranger.example"), false),
            (Some("localhost.stranger.example"), false),
            (Some("192.168.0.7:8080"), false),
            (Some("[::1"), false),
            (Some("::"), false),
        ] {
            assert_eq!(open.serves_host(host), served, "{host:?}");
        }
        let guarded = access("0.0.0.0", None);
        assert!(guarded.serves_host(Some("robot.local:8080")) && !guarded.serves_host(None));
    }
}
