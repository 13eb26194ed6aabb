//! Floor 6: the stage kinds, one file each, and the registry that lists them.
//!
//! A new kind is one file in the folder of its role, a `pub mod` line and a line in the folder's `KINDS`. The tests walk
//! the registry and cover it without being asked.

pub mod capture;
pub mod decoder;
pub mod model;
pub mod preprocess;
pub mod sink;
pub mod timeline;

#[cfg(test)]
mod tests;

use crate::stage::{Kind, Role};

/// All kinds of this build, by role.
pub const REGISTRY: Registry = Registry {
    roles: &[
        (Role::Capture, capture::KINDS),
        (Role::Preprocess, preprocess::KINDS),
        (Role::Model, model::KINDS),
        (Role::Decoder, decoder::KINDS),
        (Role::Sink, sink::KINDS),
    ],
    left_out: LEFT_OUT,
};

/// Kinds that this build was made without, and the feature that brings each.
const LEFT_OUT: &[(Role, &str, &str)] = &[
    #[cfg(not(feature = "microphone"))]
    (Role::Capture, "microphone", "microphone"),
];

/// The kinds that a pipeline may name.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    roles: &'static [(Role, &'static [Kind])],
    left_out: &'static [(Role, &'static str, &'static str)],
}

impl Registry {
    /// Every kind, role by role.
    pub fn kinds(&self) -> impl Iterator<Item = &'static Kind> + use<> {
        self.roles.iter().flat_map(|(_, kinds)| kinds.iter())
    }

    /// The kinds of a role.
    pub fn of(&self, role: Role) -> &'static [Kind] {
        self.roles.iter().find(|(known, _)| *known == role).map_or(&[], |(_, kinds)| kinds)
    }

    /// The kind of this role and name.
    pub fn find(&self, role: Role, name: &str) -> Option<&'static Kind> {
        self.of(role).iter().find(|kind| kind.name == name)
    }

    /// The feature that would bring the kind of this role and name, when this build was made without it.
    pub fn left_out(&self, role: Role, name: &str) -> Option<&'static str> {
        self.left_out.iter().find(|(known, left, _)| *known == role && *left == name).map(|(_, _, feature)| *feature)
    }
}
