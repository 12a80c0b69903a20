//! A directed graph as two arrays, and what of it lies on cycles.

/// The targets of each node's edges, one after the other.
#[derive(Debug, Default)]
pub(super) struct Graph {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Graph {
    /// Builds a graph from a source of edges that gives the same ones each time; it is asked twice. `None` when there are too many.
    pub(super) fn build(nodes: usize, mut edges: impl FnMut(&mut dyn FnMut(u32, u32))) -> Option<Graph> {
        let mut starts = vec![0_u32; nodes + 1];
        let mut count: u64 = 0;
        edges(&mut |from, _| {
            starts[from as usize] += 1;
            count += 1;
        });
        u32::try_from(count).ok()?;
        // Each node's end first; filling moves it down to its start.
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut targets = vec![0; sum as usize];
        edges(&mut |from, to| {
            let start = &mut starts[from as usize];
            *start -= 1;
            targets[*start as usize] = to;
        });
        Some(Graph { starts, targets })
    }

    fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    fn targets(&self, node: u32) -> &[u32] {
        &self.targets[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    /// The strongly connected components of more than one node. There are no edges from a node to itself.
    pub(super) fn cyclic_components(&self) -> Vec<Vec<u32>> {
        let kept = self.peel();
        if kept.iter().all(|&kept| !kept) { Vec::new() } else { Tarjan::run(self, &kept) }
    }

    /// Takes away, again and again, what nothing leads to: in a history without anomalies that is everything. Tells what is left.
    fn peel(&self) -> Vec<bool> {
        let mut incoming = vec![0_u32; self.nodes()];
        for &target in &self.targets {
            incoming[target as usize] += 1;
        }
        let mut free: Vec<u32> = (0..).zip(&incoming).filter(|(_, incoming)| **incoming == 0).map(|(node, _)| node).collect();
        while let Some(node) = free.pop() {
            for &target in self.targets(node) {
                let incoming = &mut incoming[target as usize];
                *incoming -= 1;
                if *incoming == 0 {
                    free.push(target);
                }
            }
        }
        incoming.into_iter().map(|incoming| incoming > 0).collect()
    }
}

/// Tarjan: Depth-first search and linear graph algorithms, 1972; with a stack of its own, since a history is deeper than any thread's.
struct Tarjan<'a> {
    graph: &'a Graph,
    kept: &'a [bool],
    /// By node: when it was reached, from 1; 0 before that.
    reached: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    clock: u32,
    components: Vec<Vec<u32>>,
}

impl<'a> Tarjan<'a> {
    fn run(graph: &'a Graph, kept: &'a [bool]) -> Vec<Vec<u32>> {
        let nodes = graph.nodes();
        let mut tarjan = Tarjan {
            graph,
            kept,
            reached: vec![0; nodes],
            low: vec![0; nodes],
            on_stack: vec![false; nodes],
            stack: Vec::new(),
            clock: 0,
            components: Vec::new(),
        };
        for (node, _) in (0..).zip(kept).filter(|(_, kept)| **kept) {
            if tarjan.reached[node as usize] == 0 {
                tarjan.from(node);
            }
        }
        tarjan.components
    }

    fn reach(&mut self, node: u32) {
        self.clock += 1;
        self.reached[node as usize] = self.clock;
        self.low[node as usize] = self.clock;
        self.stack.push(node);
        self.on_stack[node as usize] = true;
    }

    fn from(&mut self, root: u32) {
        self.reach(root);
        let mut path: Vec<(u32, usize)> = vec![(root, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if let Some(&target) = self.graph.targets(node).get(*next) {
                *next += 1;
                if !self.kept[target as usize] {
                    continue;
                }
                if self.reached[target as usize] == 0 {
                    self.reach(target);
                    path.push((target, 0));
                } else if self.on_stack[target as usize] {
                    self.low[node as usize] = self.low[node as usize].min(self.reached[target as usize]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                self.low[*parent as usize] = self.low[*parent as usize].min(self.low[node as usize]);
            }
            if self.low[node as usize] == self.reached[node as usize] {
                self.close(node);
            }
        }
    }

    fn close(&mut self, root: u32) {
        let at = self.stack.iter().rposition(|&node| node == root).unwrap_or(0);
        let component = self.stack.split_off(at);
        for &node in &component {
            self.on_stack[node as usize] = false;
        }
        if component.len() > 1 {
            self.components.push(component);
        }
    }
}
