//! Every path that a source file names, resolved against the module it stands in.
//!
//! Read: `use` trees, paths of expressions, types, patterns and macros, the tokens handed to a macro, and the paths in
//! the strings of attributes (`#[serde(default = "crate::x::y")]`). Left out: what is compiled only under `cfg(test)`,
//! visibilities (`pub(in path)`) and documentation, whose links may point up.
//!
//! The resolution is by name, without the compiler: a path whose first segment is neither `crate`, `percept`, `self`,
//! `super`, a module declared nor a name imported in the same module is taken for a path into an external crate.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Meta, TraitItem, UseTree};

mod test_code;

use test_code::{is_test, of_impl_item, of_item, of_trait_item};

/// A path as one place in a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPath {
    /// Absolute: begins with `crate` or with the name of an external crate; a glob ends in `*`.
    pub segments: Vec<String>,
    /// Counted from 1.
    pub line: usize,
    /// Whether a `use … as` gives it another name.
    pub renamed: bool,
}

/// What [`read`] finds in one file.
#[derive(Debug, Default)]
pub struct Paths {
    /// In the order in which they were met.
    pub named: Vec<NamedPath>,
    /// The modules (from the crate's root) declared here without a body and under `cfg(test)`: their files are tests.
    pub test_modules: Vec<Vec<String>>,
}

/// The paths in `source`, the file of the module `module` (segments below the crate's root; empty for the root).
///
/// An error is the parser's, with the line.
pub fn read(source: &str, module: &[String]) -> Result<Paths, String> {
    let file = syn::parse_file(source).map_err(|error| format!("{}: {error}", error.span().start().line))?;
    let mut reader = Reader { module: module.to_vec(), local: Vec::new(), paths: Paths::default() };
    if !is_test(&file.attrs) {
        reader.local.push(names_declared(&file.items));
        visit::visit_file(&mut reader, &file);
    }
    Ok(reader.paths)
}

struct Reader {
    module: Vec<String>,
    /// The names that shadow external crates, for each enclosing module.
    local: Vec<HashSet<String>>,
    paths: Paths,
}

impl Reader {
    fn add(&mut self, segments: Vec<String>, external: bool, line: usize, renamed: bool) {
        if let Some(segments) = self.resolve(segments, external) {
            self.paths.named.push(NamedPath { segments, line, renamed });
        }
    }

    /// `None` for paths of the language itself: `Self::X`, and `super` beyond the root.
    fn resolve(&self, segments: Vec<String>, external: bool) -> Option<Vec<String>> {
        let first = segments.first()?.as_str();
        if external && first != "percept" {
            return Some(segments);
        }
        let mut base = self.module.clone();
        let rest = match first {
            "crate" | "percept" => {
                base.clear();
                &segments[1..]
            }
            "self" => &segments[1..],
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                base.truncate(base.len().checked_sub(ups)?);
                &segments[ups..]
            }
            "Self" => return None,
            name if self.local.last().is_some_and(|local| local.contains(name)) => &segments[..],
            _ => return Some(segments),
        };
        Some(std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect())
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String], external: bool) {
        let (last, renamed) = match tree {
            UseTree::Path(path) => {
                return self.use_tree(&path.tree, &[before, &[name(&path.ident)]].concat(), external);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|item| self.use_tree(item, before, external));
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                return self.add([before, &["*".to_owned()]].concat(), external, line, false);
            }
            UseTree::Name(leaf) => (&leaf.ident, false),
            UseTree::Rename(leaf) => (&leaf.ident, true),
        };
        let segments = if last == "self" { before.to_vec() } else { [before, &[name(last)]].concat() };
        self.add(segments, external, last.span().start().line, renamed);
    }

    /// The paths of two and more segments among tokens, which obey no grammar known here.
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let external = is_colons(&tokens, at);
            let start = if external { at + 2 } else { at };
            match tokens.get(start) {
                Some(TokenTree::Ident(first)) => {
                    at = self.token_path(&tokens, start + 1, vec![name(first)], external, first.span().start().line);
                }
                Some(TokenTree::Group(group)) => {
                    self.tokens(group.stream());
                    at = start + 1;
                }
                _ => at = start + 1,
            }
        }
    }

    /// Goes on from `at` with a path begun as `segments`; answers where it ends.
    fn token_path(
        &mut self,
        tokens: &[TokenTree],
        mut at: usize,
        mut segments: Vec<String>,
        external: bool,
        line: usize,
    ) -> usize {
        while is_colons(tokens, at) {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(next)) => segments.push(name(next)),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => segments.push("*".to_owned()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.token_group(group.stream(), &segments, external);
                    return at + 3;
                }
                _ => break,
            }
            at += 3;
        }
        if segments.len() > 1 || external {
            self.add(segments, external, line, false);
        }
        at
    }

    /// The `{a, b::c}` of a `use` inside a macro.
    fn token_group(&mut self, stream: TokenStream, before: &[String], external: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        for part in tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',')) {
            match part.first() {
                Some(TokenTree::Ident(first)) => {
                    let line = first.span().start().line;
                    let segments = if *first == "self" { before.to_vec() } else { [before, &[name(first)]].concat() };
                    self.token_path(part, 1, segments, external, line);
                }
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                    self.add([before, &["*".to_owned()]].concat(), external, star.span().start().line, false);
                }
                _ => {}
            }
        }
    }

    /// The strings of an attribute that are paths, as serde takes them.
    fn path_strings(&mut self, stream: TokenStream) {
        for token in stream {
            match token {
                TokenTree::Group(group) => self.path_strings(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    let Ok(text) = syn::parse2::<syn::LitStr>(TokenTree::Literal(literal).into()) else {
                        continue;
                    };
                    if let Ok(path) = text.parse::<syn::Path>() {
                        self.path(&path, line);
                    }
                }
                _ => {}
            }
        }
    }

    fn path(&mut self, path: &syn::Path, line: usize) {
        let external = path.leading_colon.is_some();
        if path.segments.len() > 1 || external {
            self.add(path.segments.iter().map(|segment| name(&segment.ident)).collect(), external, line, false);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(of_item(item)) {
            visit::visit_item(self, item);
        } else if let Item::Mod(module) = item
            && module.content.is_none()
        {
            let path = [&self.module[..], &[name(&module.ident)]].concat();
            self.paths.test_modules.push(path);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !is_test(of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !is_test(of_trait_item(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let Some((_, items)) = &module.content else { return };
        self.module.push(name(&module.ident));
        self.local.push(names_declared(items));
        visit::visit_item_mod(self, module);
        self.local.pop();
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[], item.leading_colon.is_some());
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let renamed = item.rename.is_some();
        let first = if item.ident == "self" { "crate".to_owned() } else { name(&item.ident) };
        self.add(vec![first], true, item.ident.span().start().line, renamed);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.path(path, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.path_strings(list.tokens.clone());
        }
    }

    fn visit_token_stream(&mut self, stream: &'ast TokenStream) {
        self.tokens(stream.clone());
    }
}

fn name(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// `::` at `at`, and not the last colon of `name: ::path` taken with the first.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    matches!(
        (tokens.get(at), tokens.get(at + 1)),
        (Some(TokenTree::Punct(first)), Some(TokenTree::Punct(second)))
            if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':'
    )
}

/// The names in a module that hide an external crate of the same name: its modules and what it imports from deeper
/// than a crate's root.
fn names_declared(items: &[Item]) -> HashSet<String> {
    fn leaves(tree: &UseTree, depth: usize, names: &mut HashSet<String>) {
        match tree {
            UseTree::Path(path) => leaves(&path.tree, depth + 1, names),
            UseTree::Name(leaf) if depth > 0 && leaf.ident != "self" => drop(names.insert(name(&leaf.ident))),
            UseTree::Rename(leaf) if depth > 0 => drop(names.insert(name(&leaf.rename))),
            UseTree::Group(group) => group.items.iter().for_each(|item| leaves(item, depth, names)),
            _ => {}
        }
    }
    let mut names = HashSet::new();
    for item in items {
        match item {
            Item::Mod(module) => drop(names.insert(name(&module.ident))),
            Item::Use(item) => leaves(&item.tree, 0, &mut names),
            _ => {}
        }
    }
    names
}
