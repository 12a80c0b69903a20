//! Sets of fields in the `FieldsV1` form: a tree whose edges are `f:name`, `k:{keys of a list item}` and `v:value of a set`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::patch::{Shape, is_atomic, shape};
use super::{key_value, same_item};
use crate::store::Resource;

/// A set of fields below one place; `member` says that the place itself is in the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    member: bool,
    children: BTreeMap<String, Node>,
}

/// Metadata that the server owns.
const SYSTEM: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// The fields that an object has, without those that the server owns.
pub(super) fn of_object(resource: &Resource, object: &Value) -> Node {
    stripped(of_value(resource, object, &mut Vec::new()))
}

/// The fields in which two objects differ.
pub(super) fn changed(resource: &Resource, old: &Value, new: &Value) -> Node {
    stripped(difference(resource, old, new, &mut Vec::new()))
}

fn stripped(mut node: Node) -> Node {
    node.member = false;
    node.forget("f:apiVersion");
    node.forget("f:kind");
    if let Some(metadata) = node.children.get_mut("f:metadata") {
        metadata.member = false;
        for field in SYSTEM {
            metadata.forget(&format!("f:{field}"));
        }
    }
    node.prune();
    node
}

fn leaf() -> Node {
    Node { member: true, children: BTreeMap::new() }
}

fn item_edge(keys: &[(&str, &str)], item: &Value) -> String {
    let map: Map<String, Value> = keys.iter().map(|(key, default)| ((*key).to_owned(), key_value(item, key, default))).collect();
    format!("k:{}", Value::Object(map))
}

fn of_value<'a>(resource: &Resource, value: &'a Value, path: &mut Vec<&'a str>) -> Node {
    match value {
        Value::Object(map) if !is_atomic(path) && !map.is_empty() => {
            let mut node = Node::default();
            for (key, child) in map.iter().filter(|(_, child)| !child.is_null()) {
                path.push(key);
                node.children.insert(format!("f:{key}"), of_value(resource, child, path));
                path.pop();
            }
            node
        }
        Value::Array(list) => match shape(resource, path) {
            Shape::Whole => leaf(),
            Shape::Set => Node { member: false, children: list.iter().map(|item| (format!("v:{item}"), leaf())).collect() },
            Shape::Map(_, keys) => {
                let mut node = Node::default();
                for item in list {
                    let mut child = of_value(resource, item, path);
                    child.member = true;
                    node.children.insert(item_edge(keys, item), child);
                }
                node
            }
        },
        _ => leaf(),
    }
}

fn difference<'a>(resource: &Resource, old: &'a Value, new: &'a Value, path: &mut Vec<&'a str>) -> Node {
    if old == new {
        return Node::default();
    }
    let mut node = Node::default();
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !is_atomic(path) => {
            for (key, before) in old {
                path.push(key);
                let child = match new.get(key) {
                    Some(after) => difference(resource, before, after, path),
                    None => of_value(resource, before, path),
                };
                node.children.insert(format!("f:{key}"), child);
                path.pop();
            }
            for (key, after) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                path.push(key);
                node.children.insert(format!("f:{key}"), of_value(resource, after, path));
                path.pop();
            }
        }
        (Value::Array(old), Value::Array(new)) => match shape(resource, path) {
            Shape::Whole => node.member = true,
            Shape::Set => {
                let one_sided = old.iter().filter(|item| !new.contains(item)).chain(new.iter().filter(|item| !old.contains(item)));
                node.children = one_sided.map(|item| (format!("v:{item}"), leaf())).collect();
            }
            Shape::Map(_, keys) => {
                let alone = |item: &'a Value, path: &mut Vec<&'a str>| {
                    let mut child = of_value(resource, item, path);
                    child.member = true;
                    child
                };
                for item in old {
                    let child = match new.iter().find(|other| same_item(keys, other, item)) {
                        Some(other) => difference(resource, item, other, path),
                        None => alone(item, path),
                    };
                    node.children.insert(item_edge(keys, item), child);
                }
                for item in new.iter().filter(|item| !old.iter().any(|other| same_item(keys, other, item))) {
                    node.children.insert(item_edge(keys, item), alone(item, path));
                }
            }
        },
        _ => node.member = true,
    }
    node.prune();
    node
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    fn prune(&mut self) {
        self.children.retain(|_, child| {
            child.prune();
            !child.is_empty()
        });
    }

    pub(super) fn forget(&mut self, edge: &str) {
        self.children.remove(edge);
    }

    pub(super) fn keep_only(&mut self, edge: &str) {
        self.children.retain(|key, _| key == edge);
    }

    pub(super) fn union(&self, other: &Node) -> Node {
        let mut out = self.clone();
        out.member |= other.member;
        for (edge, child) in &other.children {
            let merged = out.children.get(edge).map_or_else(|| child.clone(), |own| own.union(child));
            out.children.insert(edge.clone(), merged);
        }
        out
    }

    pub(super) fn minus(&self, other: &Node) -> Node {
        let mut out = Node { member: self.member && !other.member, children: BTreeMap::new() };
        for (edge, child) in &self.children {
            let rest = other.children.get(edge).map_or_else(|| child.clone(), |other| child.minus(other));
            if !rest.is_empty() {
                out.children.insert(edge.clone(), rest);
            }
        }
        out
    }

    pub(super) fn intersection(&self, other: &Node) -> Node {
        let mut out = Node { member: self.member && other.member, children: BTreeMap::new() };
        for (edge, child) in &self.children {
            let Some(other) = other.children.get(edge) else {
                continue;
            };
            let common = child.intersection(other);
            if !common.is_empty() {
                out.children.insert(edge.clone(), common);
            }
        }
        out
    }

    /// The set's fields as text, such as `.spec.replicas`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        if self.member {
            out.push(prefix.to_owned());
        }
        for (edge, child) in &self.children {
            let step = match edge.split_at(2) {
                ("f:", name) => format!(".{name}"),
                ("k:", keys) => {
                    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                    let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    format!("[{}]", keys.join(","))
                }
                (_, value) => format!("[={value}]"),
            };
            child.collect(&format!("{prefix}{step}"), out);
        }
    }

    pub(super) fn read(value: &Value) -> Node {
        let Some(map) = value.as_object() else {
            return Node::default();
        };
        let children: BTreeMap<String, Node> =
            map.iter().filter(|(edge, _)| *edge != ".").map(|(edge, child)| (edge.clone(), Node::read(child))).collect();
        Node { member: map.is_empty() || map.contains_key("."), children }
    }

    pub(super) fn json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), json!({}));
        }
        for (edge, child) in &self.children {
            map.insert(edge.clone(), child.json());
        }
        Value::Object(map)
    }

    /// Removes the set's fields from a value.
    pub(super) fn remove_from(&self, resource: &Resource, value: &mut Value) {
        self.remove(resource, value, &mut Vec::new());
    }

    fn remove<'a>(&'a self, resource: &Resource, value: &mut Value, path: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                for (edge, child) in &self.children {
                    let Some(name) = edge.strip_prefix("f:") else {
                        continue;
                    };
                    if child.member {
                        map.remove(name);
                    } else if let Some(inner) = map.get_mut(name) {
                        path.push(name);
                        child.remove(resource, inner, path);
                        path.pop();
                        if inner.as_object().is_some_and(Map::is_empty) {
                            map.remove(name);
                        }
                    }
                }
            }
            Value::Array(list) => {
                let Shape::Map(_, keys) = shape(resource, path) else {
                    list.retain(|item| !self.children.contains_key(&format!("v:{item}")));
                    return;
                };
                list.retain_mut(|item| match self.children.get(&item_edge(keys, item)) {
                    Some(child) if child.member => false,
                    Some(child) => {
                        child.remove(resource, item, path);
                        true
                    }
                    None => true,
                });
            }
            _ => {}
        }
    }
}
