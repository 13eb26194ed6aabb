//! Names of the platforms that a card's files may depend on.

use std::env::consts::{ARCH, OS};
use std::fmt;

/// An operating system and a processor: `linux-x86_64`, `macos-aarch64`, `windows-x86_64`. A Linux with the C library musl
/// says so (`linux-x86_64-musl`), because libraries made for glibc don't load there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(String);

impl Platform {
    /// The platform this program was built for.
    pub fn current() -> Platform {
        let library = if cfg!(all(target_os = "linux", target_env = "musl")) { "-musl" } else { "" };
        Platform(format!("{OS}-{ARCH}{library}"))
    }

    /// The platform of this name.
    pub fn named(name: impl Into<String>) -> Platform {
        Platform(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
