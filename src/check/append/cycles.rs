//! Cycles of dependencies: whether there are any that the level forbids, and of each knot of them the plainest as the counter-example.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::model::Isolation;

use super::collect::{History, TxnId};
use super::edges::{Edge, Kind, Layout, Node};
use super::graph::Graph;
use super::{Anomalies, Found, Link, Order};

/// What the search for cycles found beside the anomalies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Searched {
    /// Dependencies that were left out of the graph.
    pub(super) edges_left_out: u64,
}

/// Edges that all searches for short cycles may follow together. It bounds only how short a counter-example is, never whether there is one.
const STEPS_MAX: u64 = 20_000_000;

/// Which dependencies a search follows.
#[derive(Debug, Clone, Copy)]
struct Filter {
    /// The last kind that is followed of ww, wr and rw.
    data: Kind,
    /// Whether rw is followed exactly once.
    once: bool,
    /// The last kind of order that is followed; [`Kind::Within`] for none.
    order: Kind,
}

/// From the gravest anomaly to the mildest.
const FILTERS: [Filter; 12] = {
    const fn filter(data: Kind, once: bool, order: Kind) -> Filter {
        Filter { data, once, order }
    }
    [
        filter(Kind::Ww, false, Kind::Within),
        filter(Kind::Wr, false, Kind::Within),
        filter(Kind::Rw, true, Kind::Within),
        filter(Kind::Rw, false, Kind::Within),
        filter(Kind::Ww, false, Kind::Process),
        filter(Kind::Wr, false, Kind::Process),
        filter(Kind::Rw, true, Kind::Process),
        filter(Kind::Rw, false, Kind::Process),
        filter(Kind::Ww, false, Kind::RealTime),
        filter(Kind::Wr, false, Kind::RealTime),
        filter(Kind::Rw, true, Kind::RealTime),
        filter(Kind::Rw, false, Kind::RealTime),
    ]
};

impl Filter {
    fn follows(self, kind: Kind) -> bool {
        match kind {
            Kind::Within => true,
            Kind::Ww | Kind::Wr | Kind::Rw => kind <= self.data,
            Kind::Process | Kind::RealTime => kind <= self.order,
        }
    }
}

/// Finds the cycles that the level forbids, and counts those that it allows.
pub(super) fn find(history: &History, level: Isolation, order: Order, anomalies: &mut Anomalies) -> Searched {
    // Without a cycle at the strictest level there is none at any.
    let (strictest, searched) = components(history, Isolation::Serializable, order);
    if strictest.is_empty() {
        return searched;
    }
    let cycles = strictest.len() as u64;
    let knots = if level == Isolation::Serializable { strictest } else { components(history, level, order).0 };
    if knots.is_empty() {
        anomalies.allow("cycle", cycles);
        return searched;
    }
    let Some(layout) = Layout::new(history, level, order) else { return searched };
    let mut search = Search { history, layout, steps: 0 };
    for knot in search.knots(&knots) {
        let cycle = search.plainest(&knot);
        let shown = search.show(&cycle);
        anomalies.forbid(shown.class, || shown);
    }
    searched
}

fn components(history: &History, level: Isolation, order: Order) -> (Vec<Vec<Node>>, Searched) {
    let layout = Layout::new(history, level, order);
    let mut edges_left_out = 0;
    let graph = layout.and_then(|layout| {
        Graph::build(layout.nodes(history), |give| {
            edges_left_out = layout.each(history, &mut |edge| give(edge.from, edge.to));
        })
    });
    match graph {
        Some(graph) => (graph.cyclic_components(), Searched { edges_left_out }),
        // A history that is too large to be judged was not judged.
        None => (Vec::new(), Searched { edges_left_out: edges_left_out.max(1) }),
    }
}

/// The edges among the nodes of one component.
type Knot = BTreeMap<Node, Vec<Edge>>;

struct Search<'a> {
    history: &'a History,
    layout: Layout,
    steps: u64,
}

impl Search<'_> {
    /// The components with their edges, small ones first.
    fn knots(&self, components: &[Vec<Node>]) -> Vec<Knot> {
        let of: HashMap<Node, usize> =
            components.iter().enumerate().flat_map(|(at, nodes)| nodes.iter().map(move |&node| (node, at))).collect();
        let mut knots: Vec<Knot> = components.iter().map(|_| Knot::new()).collect();
        self.layout.each(self.history, &mut |edge| {
            if let Some(at) = of.get(&edge.from).filter(|at| of.get(&edge.to) == Some(at)) {
                knots[*at].entry(edge.from).or_default().push(edge);
            }
        });
        knots.sort_by_key(Knot::len);
        knots
    }

    /// A shortest cycle of the gravest kind that the knot holds.
    fn plainest(&mut self, knot: &Knot) -> Vec<Edge> {
        for filter in FILTERS {
            let mut shortest: Option<Vec<Edge>> = None;
            for start in starts(knot, filter) {
                // Two edges are the shortest cycle there is.
                let known = shortest.as_ref().map_or(usize::MAX, Vec::len);
                if known <= 2 || (self.steps > STEPS_MAX && (known < usize::MAX || filter.once)) {
                    break;
                }
                if let Some(cycle) = self.cycle_from(knot, start, filter).filter(|cycle| cycle.len() < known) {
                    shortest = Some(cycle);
                }
            }
            if let Some(cycle) = shortest {
                return cycle;
            }
        }
        Vec::new()
    }

    /// A shortest way from a node back to it. Where one step must be rw, it is the first.
    fn cycle_from(&mut self, knot: &Knot, start: Node, filter: Filter) -> Option<Vec<Edge>> {
        let first = |edge: &&Edge| if filter.once { edge.kind == Kind::Rw } else { filter.follows(edge.kind) };
        let later = |edge: &&Edge| filter.follows(edge.kind) && !(filter.once && edge.kind == Kind::Rw);
        let mut came: HashMap<Node, Edge> = HashMap::new();
        let mut queue: VecDeque<Node> = VecDeque::new();
        let mut take = |edge: &Edge, queue: &mut VecDeque<Node>, came: &mut HashMap<Node, Edge>| {
            self.steps += 1;
            came.entry(edge.to).or_insert_with(|| {
                queue.push_back(edge.to);
                *edge
            });
        };
        knot[&start].iter().filter(first).for_each(|edge| take(edge, &mut queue, &mut came));
        while let Some(node) = queue.pop_front().filter(|_| !came.contains_key(&start)) {
            knot[&node].iter().filter(later).for_each(|edge| take(edge, &mut queue, &mut came));
        }
        let mut edge = *came.get(&start)?;
        let mut cycle = vec![edge];
        while edge.from != start {
            edge = came[&edge.from];
            cycle.push(edge);
        }
        cycle.reverse();
        Some(cycle)
    }

    /// The cycle as steps from transaction to transaction.
    fn steps_of(&self, cycle: &[Edge]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let begin = cycle.iter().position(|edge| self.layout.txn(edge.from).is_some()).unwrap_or(0);
        let mut from = cycle.get(begin).and_then(|edge| self.layout.txn(edge.from));
        let mut kind = Kind::Within;
        for edge in cycle.iter().cycle().skip(begin).take(cycle.len()) {
            kind = kind.max(edge.kind);
            let to = self.layout.txn(edge.to);
            if let (Some(before), Some(after)) = (from, to) {
                if edge.kind != Kind::Within {
                    steps.push(Step { from: before, to: after, kind, key: edge.key, place: edge.place });
                }
                kind = Kind::Within;
            }
            from = to.or(from);
        }
        steps
    }

    fn show(&self, cycle: &[Edge]) -> Found {
        let steps = self.steps_of(cycle);
        let mut proof: Vec<u64> = steps.iter().map(|step| self.history.txn(step.from).op()).collect();
        proof.sort_unstable();
        let sentences: Vec<String> = steps.iter().map(|step| self.sentence(step)).collect();
        let cycle = steps.iter().map(|step| self.link(step)).collect();
        Found { class: class(&steps), key: None, detail: sentences.join("; "), proof, cycle }
    }

    fn link(&self, step: &Step) -> Link {
        let why = match step.kind {
            Kind::Ww => "ww",
            Kind::Wr => "wr",
            Kind::Rw => "rw",
            Kind::Process => "process",
            Kind::RealTime | Kind::Within => "realtime",
        };
        let key = matches!(step.kind, Kind::Ww | Kind::Wr | Kind::Rw).then(|| self.history.key(step.key).name());
        Link { from: self.history.txn(step.from).op(), to: self.history.txn(step.to).op(), why, key }
    }

    fn sentence(&self, step: &Step) -> String {
        let (from, to) = (self.history.txn(step.from).op(), self.history.txn(step.to).op());
        let word = || match self.history.key(step.key).order().get(step.place as usize) {
            Some(element) => element.to_string(),
            None => "an append that nobody read".to_owned(),
        };
        match step.kind {
            Kind::Ww => format!("op {to} appended {} to key {} behind op {from} (ww)", word(), self.history.key(step.key).name()),
            Kind::Wr => format!("op {to} read {} of op {from} in key {} (wr)", word(), self.history.key(step.key).name()),
            Kind::Rw => format!("op {from} read key {} without {} of op {to} (rw)", self.history.key(step.key).name(), word()),
            Kind::Process => format!("op {from} came before op {to} in process {}", self.history.txn(step.to).process),
            Kind::RealTime => format!("op {from} was acknowledged before op {to} began"),
            Kind::Within => String::new(),
        }
    }
}

/// Where a search begins: at every node that may lie on such a cycle.
fn starts(knot: &Knot, filter: Filter) -> Vec<Node> {
    if filter.once {
        return knot.iter().filter(|(_, edges)| edges.iter().any(|edge| edge.kind == Kind::Rw)).map(|(&node, _)| node).collect();
    }
    let nodes: Vec<Node> = knot.keys().copied().collect();
    let number = |node| nodes.binary_search(node).ok().and_then(|at| u32::try_from(at).ok());
    let graph = Graph::build(nodes.len(), |give| {
        for edge in knot.values().flatten().filter(|edge| filter.follows(edge.kind)) {
            if let (Some(from), Some(to)) = (number(&edge.from), number(&edge.to)) {
                give(from, to);
            }
        }
    });
    let components = graph.map(|graph| graph.cyclic_components()).unwrap_or_default();
    let smallest = components.into_iter().min_by_key(Vec::len).unwrap_or_default();
    smallest.into_iter().map(|at| nodes[at as usize]).collect()
}

/// A dependency from one transaction to the next.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: TxnId,
    to: TxnId,
    kind: Kind,
    key: u32,
    place: u32,
}

/// Adya's name for a cycle, with Elle's suffixes for those that need an order beside the dependencies.
fn class(steps: &[Step]) -> &'static str {
    let has = |kind| steps.iter().any(|step| step.kind == kind);
    let order = usize::from(has(Kind::Process)).max(2 * usize::from(has(Kind::RealTime)));
    let anti = steps.iter().filter(|step| step.kind == Kind::Rw).count();
    let adjacent = steps.iter().zip(steps.iter().cycle().skip(1)).any(|(a, b)| a.kind == Kind::Rw && b.kind == Kind::Rw);
    let names: [&'static str; 3] = match anti {
        0 if has(Kind::Wr) => ["G1c", "G1c-process", "G1c-realtime"],
        0 => ["G0", "G0-process", "G0-realtime"],
        1 => ["G-single", "G-single-process", "G-single-realtime"],
        _ if adjacent => ["G2-item", "G2-item-process", "G2-item-realtime"],
        _ => ["G-nonadjacent", "G-nonadjacent-process", "G-nonadjacent-realtime"],
    };
    names[order]
}
