//! Reads keys of a section from the tree, by the table. Every mistake is noted and a placeholder handed on, so that one pass finds them all.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use crate::model::{Rate, parse_duration, parse_quantity, parse_rate};

use super::form::{
    Absent, DURATION_S_MAX, ITEMS_MAX, Key, Kind, RATE_PER_S_MAX, STATEMENT_CHARS_MAX, STEP, STEPS_MAX, Section, Span, sections_with,
};
use super::mistake::{At, Mistake, quoted};
use super::names::Named;
use super::plan::{ClusterRef, Grace, Pace, ServiceAccess, Step};
use super::yaml::{Entry, Node, Value, join};

/// The mistakes found so far.
#[derive(Default)]
pub(super) struct Log(RefCell<Vec<Mistake>>);

impl Log {
    pub fn note(&self, at: At, path: &str, what: impl Into<String>) {
        self.0.borrow_mut().push(Mistake { at: Some(at), path: path.to_owned(), what: what.into() });
    }

    pub fn into_list(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// A value that was read, and where it stands, so that a later check can point to it.
#[derive(Debug, Clone)]
pub(super) struct Field<T> {
    /// The value; a placeholder where `sound` is false.
    pub value: T,
    /// Where it stands, or where it is missing.
    pub at: At,
    /// Its path.
    pub path: String,
    /// Whether it was read without a mistake.
    pub sound: bool,
}

/// The keys of one mapping, as they are read.
pub(super) struct Fields<'a> {
    log: &'a Log,
    section: &'static Section,
    entries: &'a [Entry],
    path: String,
    at: At,
    /// Set where something else stands in the mapping's place: then nothing is missing from it.
    mute: bool,
    read: RefCell<BTreeSet<&'static str>>,
}

/// What a value is read with: the kind that the table tells, and the scalar's text.
type Read<T> = fn(&Kind, &str) -> Result<T, String>;

impl<'a> Fields<'a> {
    /// Opens a mapping and notes every key that the table does not know. `ours` are keys that the caller reads himself.
    pub fn open(log: &'a Log, section: &'static Section, node: &'a Node, path: &str, ours: &[&str]) -> Self {
        let entries = match &node.value {
            Value::Mapping(entries) => entries.as_slice(),
            _ => {
                let keys: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
                log.note(node.at, path, format!("is {}, expected a mapping with the keys {}", node.kind(), keys.join(", ")));
                return Fields { mute: true, ..Fields::nowhere(log, section, path, node.at) };
            }
        };
        for entry in entries {
            let known = section.keys.iter().any(|key| key.name == entry.key);
            if !known && !ours.contains(&entry.key.as_str()) {
                let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
                log.note(entry.key_at, &join(path, &entry.key), unknown_key(&entry.key, &names));
            }
        }
        Fields { log, section, entries, path: path.to_owned(), at: node.at, mute: false, read: RefCell::default() }
    }

    /// A mapping that was left out: everything has its default.
    fn nowhere(log: &'a Log, section: &'static Section, path: &str, at: At) -> Self {
        Fields { log, section, entries: &[], path: path.to_owned(), at, mute: false, read: RefCell::default() }
    }

    /// The mapping's own path.
    /// Notes a mistake that the table cannot know of.
    pub fn note(&self, at: At, path: &str, what: impl Into<String>) {
        self.log.note(at, path, what);
    }

    /// Where it stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the mapping begins.
    pub fn at(&self) -> At {
        self.at
    }

    fn key(&self, name: &str) -> &'static Key {
        let key = self.section.keys.iter().find(|key| key.name == name).expect("only keys of the table are read");
        self.read.borrow_mut().insert(key.name);
        key
    }

    /// The value of a key as it stands in the file.
    pub fn entry(&self, name: &str) -> Option<&'a Entry> {
        let key = self.key(name);
        self.entries.iter().find(|entry| entry.key == key.name)
    }

    /// A section of its own.
    pub fn section(&self, name: &str) -> Fields<'a> {
        let key = self.key(name);
        let Kind::Section(inner) = key.kind else {
            unreachable!("{name} is a section in the table");
        };
        let path = join(&self.path, name);
        match self.entry(name) {
            Some(entry) => Fields::open(self.log, inner, &entry.value, &path, &[]),
            None => Fields { mute: self.mute, ..Fields::nowhere(self.log, inner, &path, self.at) },
        }
    }

    /// Notes that a key is missing.
    pub fn missing(&self, name: &str, expected: &str) {
        if !self.mute {
            let path = join(&self.path, name);
            self.log.note(self.at, &path, format!("is missing, expected {expected}"));
        }
    }

    /// A value that may be left out.
    fn maybe<T: Default>(&self, name: &str, read: Read<T>) -> Option<Field<T>> {
        let key = self.key(name);
        let path = join(&self.path, name);
        let Some(entry) = self.entry(name) else {
            return match key.absent {
                Absent::Default(text) => {
                    Some(Field { value: read(&key.kind, text).expect("defaults of the table are valid"), at: self.at, path, sound: true })
                }
                Absent::Nothing => None,
                Absent::Mistake => {
                    self.missing(key.name, &expected(&key.kind));
                    Some(Field { value: T::default(), at: self.at, path, sound: false })
                }
            };
        };
        let at = entry.value.at;
        let result = match &entry.value.value {
            Value::Scalar { text, plain } => {
                if *plain || takes_text(&key.kind) {
                    read(&key.kind, text)
                } else {
                    Err(format!("is the text {}, expected {} without quotes", quoted(text), expected(&key.kind)))
                }
            }
            _ => Err(format!("is {}, expected {}", entry.value.kind(), expected(&key.kind))),
        };
        let sound = result.is_ok();
        let value = result.unwrap_or_else(|what| {
            self.log.note(at, &path, what);
            T::default()
        });
        Some(Field { value, at, path, sound })
    }

    /// A value that the table gives a default, or without which the file is wrong.
    fn always<T: Default>(&self, name: &str, read: Read<T>) -> Field<T> {
        self.maybe(name, read).expect("the table gives this key a default or demands it")
    }

    /// A piece of text.
    pub fn text(&self, name: &str) -> Field<String> {
        self.always(name, read_text)
    }

    /// A piece of text that may be left out.
    pub fn maybe_text(&self, name: &str) -> Option<Field<String>> {
        self.maybe(name, read_text)
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Field<u64> {
        self.always(name, read_integer)
    }

    /// A whole number that may be left out.
    pub fn maybe_integer(&self, name: &str) -> Option<Field<u64>> {
        self.maybe(name, read_integer)
    }

    /// `true` or `false`.
    pub fn switch(&self, name: &str) -> Field<bool> {
        self.always(name, |_, text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("is {}, expected true or false", quoted(text))),
        })
    }

    /// A duration.
    pub fn duration(&self, name: &str) -> Field<Duration> {
        self.always(name, read_duration)
    }

    /// A duration that may be left out.
    pub fn maybe_duration(&self, name: &str) -> Option<Field<Duration>> {
        self.maybe(name, read_duration)
    }

    /// A grace period.
    pub fn grace(&self, name: &str) -> Field<Grace> {
        let read: Read<Option<Grace>> = |_, text| {
            if text == "pod" {
                return Ok(Some(Grace::Pod));
            }
            read_duration(&Kind::Duration(Span::WholeSeconds), text)
                .map(|duration| Some(Grace::Of(duration)))
                .map_err(|what| if what.starts_with("is ") { what } else { format!("{what}, and not `pod`") })
        };
        self.always(name, read).map(|grace| grace.unwrap_or(Grace::Pod))
    }

    /// How clients reach the Service.
    pub fn service(&self, name: &str) -> Field<ServiceAccess> {
        let read: Read<Option<ServiceAccess>> = |kind, text| match text {
            "nodePort" => Ok(Some(ServiceAccess::NodePort)),
            "loadBalancer" => Ok(Some(ServiceAccess::LoadBalancer)),
            address => {
                let port = address.rsplit_once(':').filter(|(host, _)| is_host(host)).and_then(|(_, port)| port.parse::<u16>().ok());
                match port {
                    Some(1..) => Ok(Some(ServiceAccess::Address(address.to_owned()))),
                    _ => Err(format!("is {}, expected {}", quoted(text), expected(kind))),
                }
            }
        };
        self.always(name, read).map(|access| access.unwrap_or(ServiceAccess::NodePort))
    }

    /// The length of an outage that a condition names, where there is one.
    pub fn maybe_outage(&self, name: &str) -> Option<Field<Duration>> {
        self.maybe(name, |kind, text| {
            let limit = text.strip_prefix("outage").and_then(|rest| rest.trim_start().strip_prefix('>'));
            let limit = limit.ok_or_else(|| format!("is {}, expected {}", quoted(text), expected(kind)))?;
            read_duration(&Kind::Duration(Span::Positive), limit.trim_start())
        })
    }

    /// How ops are issued: a rate, `closed`, or a list of steps.
    pub fn pace(&self, name: &str) -> Pace {
        let steps = self.entry(name).and_then(|entry| match &entry.value.value {
            Value::Sequence(items) => Some((entry.value.at, items)),
            _ => None,
        });
        let path = join(&self.path, name);
        match steps {
            Some((at, items)) => Pace::Open(self.steps(at, &path, items)),
            None => {
                let read: Read<Option<f64>> = |kind, text| if text == "closed" { Ok(None) } else { read_rate(kind, text).map(Some) };
                self.always(name, read).value.map_or(Pace::Closed, Pace::constant)
            }
        }
    }

    fn steps(&self, at: At, path: &str, items: &[Node]) -> Vec<Step> {
        if items.is_empty() || items.len() > STEPS_MAX {
            self.log.note(at, path, format!("has {} steps, expected 1 to {STEPS_MAX}, such as {{ for: 30s, at: 100/s }}", items.len()));
        }
        let mut steps = Vec::new();
        for (index, item) in items.iter().take(STEPS_MAX).enumerate() {
            let path = format!("{path}[{index}]");
            let fields = Fields::open(self.log, &STEP, item, &path, &[]);
            let (at, to, lasts) = (fields.rate("at").value, fields.maybe_rate("to"), fields.maybe_duration("for"));
            match (&lasts, index + 1 == items.len()) {
                (None, false) => fields.missing("for", "how long this step lasts; only the last goes on to the end"),
                (Some(lasts), true) => {
                    self.log.note(
                        lasts.at,
                        &lasts.path,
                        "stands at the last step, which goes on to the end; a step after it says at which rate",
                    );
                }
                (None, true) if to.is_some() => fields.missing("for", "how long the ramp takes"),
                _ => {}
            }
            steps.push(Step { lasts: lasts.map(|lasts| lasts.value), at, to: to.map(|to| to.value) });
            fields.close();
        }
        steps
    }

    /// The items of a list with their paths; none where it is left out. An empty list is a mistake, and so is a very long one.
    fn sequence(&self, name: &str) -> Vec<(&'a Node, String)> {
        let key = self.key(name);
        let path = join(&self.path, name);
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let Value::Sequence(items) = &entry.value.value else {
            self.log.note(entry.value.at, &path, format!("is {}, expected {}", entry.value.kind(), expected(&key.kind)));
            return Vec::new();
        };
        if items.is_empty() || items.len() > ITEMS_MAX {
            let what = format!("has {} items, expected {} of 1 to {ITEMS_MAX}", items.len(), expected(&key.kind));
            self.log.note(entry.value.at, &path, what);
        }
        items.iter().take(ITEMS_MAX).enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))).collect()
    }

    /// A list of T-SQL; empty when left out.
    pub fn statements(&self, name: &str) -> Vec<String> {
        let read = |(item, path): (&Node, String)| {
            let result = match &item.value {
                Value::Scalar { text, .. } => read_text(&Kind::Statement, text),
                _ => Err(format!("is {}, expected {}", item.kind(), expected(&Kind::Statement))),
            };
            result.unwrap_or_else(|what| {
                self.log.note(item.at, &path, what);
                String::new()
            })
        };
        self.sequence(name).into_iter().map(read).collect()
    }

    /// A list of sections; empty when left out.
    pub fn items(&self, name: &str) -> Vec<Fields<'a>> {
        let Kind::Items(inner) = self.key(name).kind else {
            unreachable!("{name} is a list of sections in the table");
        };
        self.sequence(name).into_iter().map(|(item, path)| Fields::open(self.log, inner, item, &path, &[])).collect()
    }

    /// A rate.
    pub fn rate(&self, name: &str) -> Field<Rate> {
        self.always(name, read_rate).map(|per_second| Rate { per_second })
    }

    /// A rate that may be left out.
    pub fn maybe_rate(&self, name: &str) -> Option<Field<Rate>> {
        self.maybe(name, read_rate).map(|field| field.map(|per_second| Rate { per_second }))
    }

    /// A choice; the placeholder is the first.
    pub fn choice<T: Named>(&self, name: &str) -> Field<T> {
        self.choice_word(name).map(|word| T::named(&word).unwrap_or(T::ALL[0]))
    }

    /// A choice; `None` when left out.
    pub fn maybe_choice<T: Named>(&self, name: &str) -> Option<Field<T>> {
        Some(self.maybe(name, read_choice)?.map(|word| T::named(&word).unwrap_or(T::ALL[0])))
    }

    /// A choice as its word.
    pub fn choice_word(&self, name: &str) -> Field<String> {
        self.always(name, read_choice)
    }

    /// Some choices; `None` when left out.
    pub fn choices<T: Named + Ord>(&self, name: &str) -> Option<Field<BTreeSet<T>>> {
        let key = self.key(name);
        let entry = self.entry(name)?;
        let path = join(&self.path, name);
        let before = self.log.0.borrow().len();
        let mut chosen = BTreeSet::new();
        match &entry.value.value {
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let Value::Scalar { text, .. } = &item.value else {
                        self.log.note(item.at, &path, format!("is {}, {}", item.kind(), expected(&key.kind)));
                        continue;
                    };
                    match read_choice(&key.kind, text) {
                        Err(what) => self.log.note(item.at, &path, what),
                        Ok(word) => {
                            let choice = T::named(&word).expect("the table's words are the type's");
                            if !chosen.insert(choice) {
                                self.log.note(item.at, &path, format!("{} is listed twice", quoted(text)));
                            }
                        }
                    }
                }
                if items.is_empty() {
                    self.log.note(entry.value.at, &path, format!("is empty, expected {}", expected(&key.kind)));
                }
            }
            _ => self.log.note(entry.value.at, &path, format!("is {}, expected {}", entry.value.kind(), expected(&key.kind))),
        }
        Some(Field { value: chosen, at: entry.value.at, path, sound: self.log.0.borrow().len() == before })
    }

    /// Where a cluster comes from.
    pub fn maybe_cluster(&self, name: &str) -> Option<ClusterRef> {
        self.maybe(name, |_, text| ClusterRef::from_str(text).map(Some)).and_then(|field| field.value)
    }

    /// Proves in tests that the table has no key that nothing reads.
    pub fn close(self) {
        debug_assert!(self.section.keys.iter().all(|key| self.read.borrow().contains(key.name)), "a key of {:?} is never read", self.path);
    }
}

impl<T> Field<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        Field { value: f(self.value), at: self.at, path: self.path, sound: self.sound }
    }
}

/// Whether a quoted scalar is as good as a plain one.
fn takes_text(kind: &Kind) -> bool {
    !matches!(kind, Kind::Integer { .. } | Kind::Switch)
}

/// What a kind of value looks like, in the words of a message.
fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Label => "lower-case letters, digits and dashes, such as pod-kill".to_owned(),
        Kind::ObjectName => "the name of an object".to_owned(),
        Kind::Text => "a sentence".to_owned(),
        Kind::Word => "one word".to_owned(),
        Kind::Cluster => "sandbox, kind[:NAME], k3d[:NAME] or context:NAME".to_owned(),
        Kind::Integer { least, most } if *most == u64::MAX => {
            format!("a whole number from {least}")
        }
        Kind::Integer { least, most } => format!("a whole number from {least} to {most}"),
        Kind::Switch => "true or false".to_owned(),
        Kind::Choice(words) => {
            let words: Vec<&str> = words().iter().map(|word| word.id).collect();
            one_of(&words)
        }
        Kind::Choices(words) => {
            let words: Vec<&str> = words().iter().map(|word| word.id).collect();
            format!("a list of {}", one_of(&words))
        }
        Kind::Duration(_) => "a duration such as 30s".to_owned(),
        Kind::Grace => "`pod` or a duration such as 30s".to_owned(),
        Kind::Service => "nodePort, loadBalancer or HOST:PORT".to_owned(),
        Kind::Outage => "a condition such as `outage > 120s`".to_owned(),
        Kind::Rate => "a rate such as 200/s".to_owned(),
        Kind::Pace => "a rate such as 200/s, `closed`, or a list of steps".to_owned(),
        Kind::Size => "a size such as 8Gi".to_owned(),
        Kind::Section(_) => "a mapping".to_owned(),
        Kind::Statement => "a T-SQL statement".to_owned(),
        Kind::Statements => "a list of T-SQL statements".to_owned(),
        Kind::Items(inner) => {
            let keys: Vec<&str> = inner.keys.iter().map(|key| key.name).collect();
            format!("a list of mappings with {}", keys.join(" and "))
        }
        Kind::Faults => "a list of faults, such as `- pod-kill: { grace: 0s }`".to_owned(),
    }
}

fn read_rate(_: &Kind, text: &str) -> Result<f64, String> {
    let rate = parse_rate(text).map_err(|error| error.to_string())?;
    if rate.per_second <= 0.0 {
        return Err(format!("is {}, expected a rate above zero, such as 200/s", quoted(text)));
    }
    if rate.per_second > RATE_PER_S_MAX {
        return Err(format!("is {}, expected at most {RATE_PER_S_MAX}/s", quoted(text)));
    }
    // Slower than an op a day, or so small that it is no number.
    if rate.per_second * 86_400.0 < 1.0 {
        return Err(format!("is {}, expected at least one op a day", quoted(text)));
    }
    Ok(rate.per_second)
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn read_text(kind: &Kind, text: &str) -> Result<String, String> {
    let fits = match kind {
        Kind::Label => is_label(text, 40),
        Kind::ObjectName => text.len() <= 253 && text.split('.').all(|part| is_label(part, 63)),
        Kind::Text => text.chars().count() <= 1_000 && !text.chars().any(|c| c.is_control() && c != '\n'),
        Kind::Statement => {
            let printable = !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            !text.trim().is_empty() && text.chars().count() <= STATEMENT_CHARS_MAX && printable
        }
        Kind::Word => !text.is_empty() && text.len() <= 255 && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_graphic()),
        Kind::Size => {
            let bytes = parse_quantity(text).map_err(|error| error.to_string())?;
            if bytes == 0 {
                return Err(format!("is {}, expected a size above zero", quoted(text)));
            }
            true
        }
        _ => unreachable!("not a kind of text"),
    };
    if fits { Ok(text.to_owned()) } else { Err(format!("is {}, expected {}", quoted(text), expected_text(kind))) }
}

fn expected_text(kind: &Kind) -> String {
    match kind {
        Kind::Label => format!("{}, at most 40 characters", expected(kind)),
        Kind::Text => "a sentence of at most 1000 printable characters".to_owned(),
        Kind::Statement => format!("{} of at most {STATEMENT_CHARS_MAX} printable characters", expected(kind)),
        kind => expected(kind),
    }
}

/// A name or an address, an IPv6 one in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !text.is_empty()
                && text.len() <= 253
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
        }
    }
}

/// An RFC 1123 label.
fn is_label(text: &str, chars_max: usize) -> bool {
    !text.is_empty()
        && text.len() <= chars_max
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn read_integer(kind: &Kind, text: &str) -> Result<u64, String> {
    let Kind::Integer { least, most } = kind else {
        unreachable!("not a whole number");
    };
    // `+5`, `05` and `1_000` mean different things to different readers of YAML.
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = digits.then(|| text.parse::<u64>().ok()).flatten();
    number.filter(|number| (least..=most).contains(&number)).ok_or_else(|| format!("is {}, expected {}", quoted(text), expected(kind)))
}

fn read_duration(kind: &Kind, text: &str) -> Result<Duration, String> {
    let Kind::Duration(span) = kind else {
        unreachable!("not a duration");
    };
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration > Duration::from_secs(DURATION_S_MAX) {
        return Err(format!("is {}, expected at most 24h", quoted(text)));
    }
    match span {
        Span::Positive if duration.is_zero() => Err(format!("is {}, expected a duration above zero", quoted(text))),
        Span::WholeSeconds if duration.subsec_nanos() != 0 => {
            Err(format!("is {}, expected whole seconds, since Kubernetes counts grace periods so", quoted(text)))
        }
        _ => Ok(duration),
    }
}

fn read_choice(kind: &Kind, text: &str) -> Result<String, String> {
    let (Kind::Choice(words) | Kind::Choices(words)) = kind else {
        unreachable!("not a choice");
    };
    let words: Vec<&str> = words().iter().map(|word| word.id).collect();
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, &words) {
        Some(near) => format!("unknown value {}, did you mean `{near}`? expected {}", quoted(text), one_of(&words)),
        None => format!("unknown value {}, expected {}", quoted(text), one_of(&words)),
    })
}

/// What to say of a key that a section does not have.
pub(super) fn unknown_key(key: &str, names: &[&str]) -> String {
    let hint = match nearest(key, names) {
        Some(near) => format!("did you mean `{near}`? "),
        None => match sections_with(key).as_slice() {
            [] => String::new(),
            places => format!("it belongs to {}; ", places.join(" or ")),
        },
    };
    format!("unknown key {}, {hint}expected {}", quoted(key), one_of(names))
}

/// The word that was probably meant, if any is near enough.
pub(super) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let fold = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(64).collect() };
    let folded = fold(text);
    let mut near: Vec<(usize, &str)> = words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&folded, &fold(word)), *word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    match near.as_slice() {
        // Equally near to several, as HA-9 is to HA-1 and HA-2, is a hint at none.
        [first, second, ..] if first.0 == second.0 => None,
        [(_, word), ..] => Some(word),
        [] => None,
    }
}
