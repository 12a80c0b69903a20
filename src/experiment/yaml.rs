//! YAML text to a tree in which every key and value knows its place.
//!
//! Serde would stop at the first mistake and forget where keys stood, so the tree is built from the parser's events. An
//! experiment needs no anchors, aliases, tags or merge keys, and what is not needed is refused: an alias bomb ends at its first alias.

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::mistake::{At, Mistake, quoted};

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: At,
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar as text; `plain` when it stood without quotes.
    Scalar { text: String, plain: bool },
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file; its keys are unique.
    Mapping(Vec<Entry>),
}

/// A key, where it stands, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: At,
    pub value: Node,
}

impl Node {
    /// The kind of node in the words of a message.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// More nodes than any experiment has; a larger document is refused before it costs anything.
const NODES_MAX: usize = 20_000;

/// Deeper than any experiment is.
const DEPTH_MAX: usize = 16;

/// Reads one document. Mistakes of form that do not hide the rest (a key given twice, a tag) are pushed, and the tree is still
/// returned; `None` means that there is no tree.
pub(super) fn read(text: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let mut tree = Tree { stack: Vec::new(), root: None, nodes: 0, mistakes };
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => tree.step(event, span),
            Err(error) => {
                let at = place(error.marker());
                Err(mistake(at, "", describe(&error, at, text)))
            }
        };
        if let Err(fatal) = step {
            tree.mistakes.push(fatal);
            return None;
        }
    }
    let root = tree.root;
    if root.is_none() || root.as_ref().is_some_and(|node| node.value == Value::Null) {
        mistakes.push(mistake(
            At { line: 1, column: 1 },
            "",
            "the file is empty, expected an experiment; `chaos init` writes one to start from".to_owned(),
        ));
        return None;
    }
    root
}

/// An unfinished collection.
struct Open {
    at: At,
    path: String,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<(String, At)> },
}

struct Tree<'m> {
    stack: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    mistakes: &'m mut Vec<Mistake>,
}

impl Tree<'_> {
    /// Takes one event; an error ends the reading.
    fn step(&mut self, event: Event<'_>, span: Span) -> Result<(), Mistake> {
        let at = place(&span.start);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                return Err(mistake(at, "", "a second document begins here, expected one experiment a file".to_owned()));
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(mistake(at, &self.path(), "aliases are not supported in an experiment, expected the value itself".to_owned()));
            }
            Event::Scalar(text, style, _, tag) => {
                self.refuse_tag(&span, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                let value = match text.as_ref() {
                    "" | "~" | "null" if plain => Value::Null,
                    text => Value::Scalar { text: text.to_owned(), plain },
                };
                // A key keeps its text, also one that reads like a null.
                self.add(Node { at, value }, Some(&text))?;
            }
            Event::SequenceStart(_, _, tag) => {
                self.refuse_tag(&span, tag.is_some());
                self.open(at, Items::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, _, tag) => {
                self.refuse_tag(&span, tag.is_some());
                self.open(at, Items::Mapping { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.stack.pop().expect("the parser ends only what it began");
                let value = match open.items {
                    Items::Sequence(nodes) => Value::Sequence(nodes),
                    Items::Mapping { entries, .. } => Value::Mapping(entries),
                };
                self.add(Node { at: open.at, value }, None)?;
            }
            // Comments, anchors without aliases and the borders of stream and document mean nothing here.
            _ => {}
        }
        Ok(())
    }

    fn refuse_tag(&mut self, span: &Span, tagged: bool) {
        if tagged {
            let at = place(&span.tag_start().unwrap_or(span.start));
            let path = self.path();
            self.mistakes.push(mistake(at, &path, "tags are not supported in an experiment, expected a plain value".to_owned()));
        }
    }

    fn open(&mut self, at: At, items: Items) -> Result<(), Mistake> {
        let path = self.path();
        if let Some(Open { items: Items::Mapping { key: None, .. }, .. }) = self.stack.last() {
            return Err(mistake(at, &path, "a key must be a single word, not a list or a mapping".to_owned()));
        }
        if self.stack.len() == DEPTH_MAX {
            return Err(mistake(at, &path, format!("nested more than {DEPTH_MAX} levels deep, expected an experiment")));
        }
        self.stack.push(Open { at, path, items });
        Ok(())
    }

    /// Where the next node goes, in words.
    fn path(&self) -> String {
        let Some(open) = self.stack.last() else {
            return String::new();
        };
        match &open.items {
            Items::Sequence(nodes) => format!("{}[{}]", open.path, nodes.len()),
            Items::Mapping { key: None, .. } => open.path.clone(),
            Items::Mapping { key: Some((key, _)), .. } => join(&open.path, key),
        }
    }

    fn add(&mut self, node: Node, key_text: Option<&str>) -> Result<(), Mistake> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(mistake(node.at, "", format!("more than {NODES_MAX} values, expected an experiment")));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.items {
            Items::Sequence(nodes) => nodes.push(node),
            Items::Mapping { entries, key } => match key.take() {
                None => {
                    let text = key_text.expect("only scalars arrive where a key is expected");
                    if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                        self.mistakes.push(mistake(
                            node.at,
                            &join(&open.path, text),
                            format!("duplicate key {}, the first is on line {}", quoted(text), first.key_at.line),
                        ));
                    }
                    *key = Some((text.to_owned(), node.at));
                }
                Some((text, key_at)) => {
                    // The first of two equal keys stays, so that the rest of the file can be judged.
                    if !entries.iter().any(|entry| entry.key == text) {
                        entries.push(Entry { key: text, key_at, value: node });
                    }
                }
            },
        }
        Ok(())
    }
}

/// The path of a key under a path.
pub(super) fn join(path: &str, key: &str) -> String {
    // A key comes from the file and may hold anything; a path is one line on a terminal.
    let key: String = key.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn mistake(at: At, path: &str, what: String) -> Mistake {
    Mistake { at: Some(at), path: path.to_owned(), what }
}

fn place(marker: &Marker) -> At {
    At { line: marker.line().max(1), column: marker.col() + 1 }
}

/// The scanner's own words, and the usual reason for them.
fn describe(error: &ScanError, at: At, text: &str) -> String {
    let info = error.info();
    let line = text.lines().nth(at.line - 1).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') { "not YAML: a tab indents this line, expected spaces".to_owned() } else { format!("not YAML: {info}") }
}
