//! What fields the kinds have: their protobuf numbers, JSON names and types, for reading bodies in either form.
//!
//! The table is text rather than typed structures, because the typed structures of thirty kinds, each with a reader and a writer of its own, would be half of
//! what the compiler has to do for this crate.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// A field of a message.
pub(super) struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// A letter for what is written as one value, else the name of a message; see `messages.txt`.
    pub kind: &'static str,
    pub repeated: bool,
    pub map: bool,
    /// Its own fields stand in the JSON of the message around it.
    pub inlined: bool,
    pub omit_zero: bool,
}

/// A message: fields by their protobuf numbers.
pub(super) struct Message(BTreeMap<u64, Field>);

impl Message {
    /// The message of a name such as `core.Pod`.
    pub fn named(name: &str) -> Option<&'static Message> {
        static MESSAGES: OnceLock<HashMap<&'static str, Message>> = OnceLock::new();
        MESSAGES.get_or_init(|| read(include_str!("messages.txt"))).get(name)
    }

    /// The field with a protobuf number.
    pub fn numbered(&self, number: u64) -> Option<&Field> {
        self.0.get(&number)
    }

    /// The field with a JSON name, also one of an inlined message.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let own = self.0.values().find(|field| !field.inlined && field.name == name);
        own.or_else(|| self.0.values().filter(|field| field.inlined).find_map(|field| Message::named(field.kind)?.field(name)))
    }
}

/// The name of the message of a kind: the first part of its group, and the kind.
pub(super) fn name_of(group: &str, kind: &str) -> String {
    let group = group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("{group}.{kind}")
}

fn read(text: &'static str) -> HashMap<&'static str, Message> {
    let mut messages = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('@') {
            current = name;
            messages.insert(name, Message(BTreeMap::new()));
            continue;
        }
        let mut words = line.split(' ');
        let (Some(number), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let flags = words.next().unwrap_or_default();
        let has = |flag| flags.contains(flag);
        let field = Field { name, kind, repeated: has('r'), map: has('m'), inlined: has('n'), omit_zero: has('o') };
        if let (Ok(number), Some(message)) = (number.parse(), messages.get_mut(current)) {
            message.0.insert(number, field);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use super::*;

    #[test]
    fn every_message_that_a_field_names_is_there() {
        let messages = read(include_str!("messages.txt"));
        assert!(messages.len() > 250, "{} messages", messages.len());
        for (name, message) in &messages {
            for field in message.0.values().filter(|field| field.kind.len() > 1) {
                assert!(messages.contains_key(field.kind), "{name}.{} is a {}", field.name, field.kind);
            }
        }
    }

    #[test]
    fn fields_are_found_by_number_and_by_name_through_what_is_inlined() {
        let volume = Message::named("core.Volume").unwrap();
        assert_eq!(volume.numbered(1).unwrap().name, "name");
        assert_eq!(volume.field("persistentVolumeClaim").unwrap().kind, "core.PersistentVolumeClaimVolumeSource");
        assert!(volume.field("volumeSource").is_none(), "the name of what is inlined is no field of the JSON");
        assert_eq!(name_of("", "Pod"), "core.Pod");
        assert_eq!(name_of("rbac.authorization.k8s.io", "Role"), "rbac.Role");
    }
}
