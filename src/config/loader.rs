//! The tree that a stream of YAML events describes, within limits.

use std::collections::HashMap;

use saphyr_parser::{Event, ScalarStyle, Tag};

use super::node::join;
use super::parse::{MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_IMPLICIT_KEY, MAX_KEY_BYTES, MAX_NODES, Offsets};
use super::scalar::resolve;
use super::source::quoted;
use super::{Fault, Faults, Key, Node, Source, Span, Value};

/// A list or mapping that is still open.
struct Frame {
    collection: Collection,
    start: usize,
    /// Where the children ended so far.
    end: usize,
    anchor: usize,
}

enum Collection {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Key, Node)>,
        /// The key whose value comes next, and whether it repeats an earlier one.
        pending: Option<(Key, bool)>,
        seen: HashMap<String, Span>,
    },
}

/// A value that an alias may repeat, and what repeating it costs.
struct Anchored {
    node: Node,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    height: usize,
}

impl Size {
    fn of(node: &Node) -> Size {
        let mut size = Size { nodes: 1, bytes: 0, height: 0 };
        let mut add = |child: &Node, key: usize| {
            let inner = Size::of(child);
            size.nodes = size.nodes.saturating_add(inner.nodes);
            size.bytes = size.bytes.saturating_add(inner.bytes).saturating_add(key);
            size.height = size.height.max(inner.height + 1);
        };
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| add(item, 0)),
            Value::Mapping(entries) => entries.iter().for_each(|(key, value)| add(value, key.name.len())),
            Value::String(text) => size.bytes = text.len(),
            _ => {}
        }
        size
    }
}

pub(super) type Step = Result<(), Box<Fault>>;

/// What has been read so far.
pub(super) struct Loader<'s> {
    pub source: &'s Source,
    pub offsets: Offsets,
    pub faults: Faults,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    bytes: usize,
    /// The document, when it is complete and holds anything.
    pub root: Option<Node>,
    documents: usize,
}

impl<'s> Loader<'s> {
    pub fn new(source: &'s Source) -> Self {
        Loader {
            source,
            offsets: Offsets::new(source.text()),
            faults: Faults::new(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            bytes: 0,
            root: None,
            documents: 0,
        }
    }

    /// Takes the next event; a fault ends the reading.
    pub fn event(&mut self, event: Event<'_>, marks: &saphyr_parser::Span) -> Step {
        let span = self.offsets.span(marks);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents == 1 {
                    return Ok(());
                }
                let fault = Fault::error("several-documents", "the file holds more than one YAML document")
                    .expected("one document")
                    .found("a second one, after `---`")
                    .help("put it into a file of its own");
                Err(self.fatal(fault, span))
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.open(Collection::Sequence(Vec::new()), "seq", anchor, tag.as_deref(), span)
            }
            Event::MappingStart(anchor, tag) => {
                let empty = Collection::Mapping { entries: Vec::new(), pending: None, seen: HashMap::new() };
                self.open(empty, "map", anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: Span) -> Step {
        let plain = style == ScalarStyle::Plain;
        let span = match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => span,
            _ if text.is_empty() && plain => self.place_of_nothing(span),
            _ => self.trimmed(span),
        };
        if self.expects_key() {
            return self.key(text, plain, span);
        }
        let value = if plain && tag.is_none() {
            resolve(text).unwrap_or_else(|_| {
                let fault = Fault::error("number-out-of-range", "the number does not fit into 64 bits")
                    .expected("a whole number from -9223372036854775808 to 9223372036854775807, or a finite decimal")
                    .found(quoted(text))
                    .help("if it is text, put it in quotes")
                    .path(self.path());
                self.faults.push(fault.at(span, self.source));
                Value::Null
            })
        } else {
            self.tagged(text, tag, span)
        };
        let mut node = Node::new(span, value);
        node.plain = plain && tag.is_none();
        self.spend(Size { nodes: 1, bytes: text.len(), height: 0 }, span)?;
        self.remember(anchor, &node)?;
        self.attach(node);
        Ok(())
    }

    /// The value of a scalar with a core tag, or of one in quotes.
    fn tagged(&mut self, text: &str, tag: Option<&Tag>, span: Span) -> Value {
        let kind = match tag {
            None => "str",
            Some(tag) if tag.is_yaml_core_schema() => tag.suffix.as_str(),
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => "str",
            Some(_) => "",
        };
        let value = match (kind, resolve(text)) {
            ("str", _) => Some(Value::String(text.to_owned())),
            ("null", Ok(Value::Null)) => Some(Value::Null),
            ("bool", Ok(value @ Value::Bool(_))) | ("int", Ok(value @ Value::Int(_))) => Some(value),
            ("float", Ok(value @ Value::Float(_))) => Some(value),
            ("float", Ok(Value::Int(value))) => Some(Value::Float(value as f64)),
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.bad_tag(tag, span);
            Value::String(text.to_owned())
        })
    }

    fn bad_tag(&mut self, tag: Option<&Tag>, span: Span) {
        let tag = tag.map(ToString::to_string).unwrap_or_default();
        let fault = Fault::error("bad-tag", "the tag does not fit the value")
            .expected("no tag, or one of YAML's own (`!!str`, `!!int`, …) that the value agrees with")
            .found(format!("the tag {}", quoted(&tag)))
            .help("remove the tag; text that begins with `!` is put in quotes")
            .path(self.path())
            .at(span, self.source);
        self.faults.push(fault);
    }

    fn key(&mut self, text: &str, plain: bool, span: Span) -> Step {
        if text.len() > MAX_KEY_BYTES {
            return Err(self.long_key(span));
        }
        if text.is_empty() && plain {
            let fault = Fault::error("key-not-text", "a value has no key").expected("`key: value`");
            return Err(self.fatal(fault, span));
        }
        if text == "<<" && plain {
            let fault = Fault::error("merge-key", "merge keys (`<<`) are not part of YAML 1.2")
                .help("write the keys out, or use an alias as the whole value");
            return Err(self.fatal(fault, span));
        }
        self.bytes = self.bytes.saturating_add(text.len());
        let path = self.path();
        let Some(Frame { collection: Collection::Mapping { pending, seen, .. }, end, .. }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        *end = (*end).max(span.end);
        let first = seen.get(text).copied();
        if let Some(first) = first {
            self.faults.push(
                Fault::error("duplicate-key", format!("the key {} occurs twice in one mapping", quoted(text)))
                    .help("remove one of the two")
                    .at(span, self.source)
                    .related(first, "first given here")
                    .path(join(&path, text)),
            );
        } else {
            seen.insert(text.to_owned(), span);
        }
        *pending = Some((Key::new(text, span), first.is_some()));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Step {
        if self.expects_key() {
            return Err(self.complex_key("an alias", span));
        }
        let Some(Anchored { node, size }) = self.anchors.get(&anchor) else {
            let fault = Fault::error("recursive-alias", "the alias stands inside the value that it names");
            return Err(self.fatal(fault, span));
        };
        let size = *size;
        // The budget is spent before the copy is made, so that a bomb costs nothing.
        let node = Node { span, ..if self.affords(size) { node.clone() } else { Node::new(span, Value::Null) } };
        self.spend(size, span)?;
        self.attach(node);
        Ok(())
    }

    fn open(&mut self, collection: Collection, kind: &str, anchor: usize, tag: Option<&Tag>, span: Span) -> Step {
        if self.expects_key() {
            return Err(self.complex_key(if kind == "seq" { "a list" } else { "a mapping" }, span));
        }
        self.spend(Size { nodes: 1, bytes: 0, height: 1 }, span)?;
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == kind)) {
            self.bad_tag(tag, span);
        }
        self.stack.push(Frame { collection, start: span.start, end: span.start, anchor });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Step {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        // A bracket ends where it stands; an indented block ends with its last child.
        let closed = self.source.slice(span).is_some_and(|text| text.starts_with([']', '}']));
        let end = if closed { span.start + 1 } else { frame.end };
        let value = match frame.collection {
            Collection::Sequence(items) => Value::Sequence(items),
            Collection::Mapping { entries, .. } => Value::Mapping(entries),
        };
        let node = Node::new(Span::new(frame.start, end), value);
        self.remember(frame.anchor, &node)?;
        self.attach(node);
        Ok(())
    }

    /// Hands a finished node to what it belongs to.
    fn attach(&mut self, node: Node) {
        let Some(frame) = self.stack.last_mut() else {
            let nothing = node.plain && node.is_null() && node.span.is_empty();
            self.root = if nothing { None } else { Some(node) };
            return;
        };
        frame.end = frame.end.max(node.span.end);
        match &mut frame.collection {
            Collection::Sequence(items) => items.push(node),
            Collection::Mapping { entries, pending, .. } => {
                if let Some((key, false)) = pending.take() {
                    entries.push((key, node));
                }
            }
        }
    }

    fn remember(&mut self, anchor: usize, node: &Node) -> Step {
        if anchor == 0 {
            return Ok(());
        }
        let size = Size::of(node);
        self.spend(Size { height: 0, ..size }, node.span)?;
        self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { collection: Collection::Mapping { pending: None, .. }, .. }))
    }

    fn affords(&self, size: Size) -> bool {
        self.nodes.saturating_add(size.nodes) <= MAX_NODES
            && self.bytes.saturating_add(size.bytes) <= MAX_EXPANDED_BYTES
            && self.stack.len().saturating_add(size.height) <= MAX_DEPTH
    }

    fn spend(&mut self, size: Size, span: Span) -> Step {
        let affordable = self.affords(size);
        self.nodes = self.nodes.saturating_add(size.nodes);
        self.bytes = self.bytes.saturating_add(size.bytes);
        if affordable {
            return Ok(());
        }
        let fault = if self.nodes > MAX_NODES {
            Fault::error("too-many-nodes", "the file holds too many values")
                .expected(format!("at most {MAX_NODES} values, aliases expanded"))
        } else if self.bytes > MAX_EXPANDED_BYTES {
            Fault::error("too-much-text", "the file holds too much text")
                .expected(format!("at most {MAX_EXPANDED_BYTES} bytes, aliases expanded"))
        } else {
            return Err(self.too_deep(span));
        };
        Err(self.fatal(fault.help("do aliases repeat each other?"), span))
    }

    /// The fault of nesting beyond [`MAX_DEPTH`].
    pub fn too_deep(&self, span: Span) -> Box<Fault> {
        let fault = Fault::error("too-deep", "lists and mappings are nested too deeply")
            .expected(format!("at most {MAX_DEPTH} levels"));
        Box::new(fault.at(self.on_one_line(span), self.source))
    }

    /// The fault of a key beyond what percept or YAML allows.
    pub fn long_key(&self, span: Span) -> Box<Fault> {
        let fault = Fault::error("key-too-long", "a key is too long")
            .expected(format!("at most {MAX_KEY_BYTES} bytes, and {MAX_IMPLICIT_KEY} characters before a `:`"));
        let end = span.end.min(span.start.saturating_add(40));
        Box::new(fault.at(Span::new(span.start, end), self.source))
    }

    fn complex_key(&self, found: &str, span: Span) -> Box<Fault> {
        self.fatal(Fault::error("key-not-text", "a key must be text").expected("`key: value`").found(found), span)
    }

    fn fatal(&self, fault: Fault, span: Span) -> Box<Fault> {
        Box::new(fault.at(self.on_one_line(span), self.source).path(self.path()))
    }

    /// `stages[2].rate`: the value that is being read.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.collection {
                Collection::Sequence(items) => path.push_str(&format!("[{}]", items.len())),
                Collection::Mapping { pending: Some((key, _)), .. } => path = join(&path, &key.name),
                Collection::Mapping { pending: None, .. } => {}
            }
        }
        path
    }

    /// The place of a value that is not there: its key, or the character before the gap.
    fn place_of_nothing(&self, span: Span) -> Span {
        match self.stack.last().map(|frame| &frame.collection) {
            Some(Collection::Mapping { pending: Some((key, _)), .. }) => key.span,
            Some(Collection::Sequence(_)) => {
                let end = self.source.text()[..span.start].trim_end().len();
                let start = self.source.text()[..end].char_indices().next_back().map_or(0, |(at, _)| at);
                Span::new(start, end)
            }
            _ => Span::new(span.start, span.start),
        }
    }

    /// Without the white space at the end that belongs to a block scalar.
    fn trimmed(&self, span: Span) -> Span {
        let length = self.source.slice(span).map_or(span.len(), |text| text.trim_end().len());
        Span::new(span.start, span.start + length)
    }

    fn on_one_line(&self, span: Span) -> Span {
        let length = self.source.slice(span).and_then(|text| text.lines().next()).map_or(0, str::len);
        Span::new(span.start, span.start + length)
    }
}
