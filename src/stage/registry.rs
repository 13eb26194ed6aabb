//! The registry: the kinds that a pipeline may name.

use super::{Kind, Role};

/// The kinds that a pipeline may name: a build's own, and those that a program adds.
#[derive(Clone, Debug)]
pub struct Registry {
    roles: &'static [(Role, &'static [Kind])],
    left_out: &'static [(Role, &'static str, &'static str)],
    own: Vec<Kind>,
}

impl Registry {
    /// A registry of tables: kinds by role, and kinds left out of this build with the feature that brings each.
    pub const fn new(
        roles: &'static [(Role, &'static [Kind])],
        left_out: &'static [(Role, &'static str, &'static str)],
    ) -> Self {
        Registry { roles, left_out, own: Vec::new() }
    }

    /// Adds a kind of the program's own. It hides a kind of the same role and name.
    #[must_use]
    pub fn with(mut self, kind: Kind) -> Self {
        self.own.push(kind);
        self
    }

    /// Every kind, role by role, a program's own last.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.roles.iter().flat_map(|(_, kinds)| kinds.iter()).chain(&self.own)
    }

    /// The kind of this role and name.
    pub fn find(&self, role: Role, name: &str) -> Option<&Kind> {
        let named = |kind: &&Kind| kind.role == role && kind.name == name;
        self.own.iter().rev().find(named).or_else(|| self.kinds().find(named))
    }

    /// The names of a role's kinds.
    pub fn names(&self, role: Role) -> impl Iterator<Item = &str> {
        self.kinds().filter(move |kind| kind.role == role).map(|kind| kind.name)
    }

    /// The feature that would bring the kind of this role and name, when this build was made without it.
    pub fn left_out(&self, role: Role, name: &str) -> Option<&'static str> {
        self.left_out.iter().find(|(known, left, _)| *known == role && *left == name).map(|(_, _, feature)| *feature)
    }
}
