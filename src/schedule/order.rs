//! The order of kernels: values before their readers, and every read of a state's old value before the
//! store of its new one.

use std::collections::BTreeSet;

use super::KernelId;
use super::fusion::Fusion;
use crate::graph::{Name, NodeId, Target};
use crate::ops::Graph;

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Runs a kernel of the fusion.
    Compute(KernelId),
    /// Copies a new value, kept aside until now, into the state: for updates whose old value is read
    /// at other indices, or by kernels that in turn wait for this one.
    Commit { state: Name, node: NodeId },
}

/// Orders the kernels; the order is the same for the same graph.
pub(super) fn order(graph: &Graph, fusion: &Fusion) -> Vec<Step> {
    let mut before = data_dependences(graph, fusion);
    let mut commits = Vec::new();
    for (target, node) in graph.results() {
        let Target::Update(name) = target else { continue };
        let (Some(leaf), Some(writer)) = (graph.leaf(&name), fusion.stored_in[node.index()]) else {
            continue;
        };
        let readers = fusion.readers[leaf.index()].keys().copied();
        let reads_elsewhere = fusion.readers[leaf.index()].get(&writer).is_some_and(|path| !path.identity);
        let others: Vec<KernelId> = readers.filter(|&reader| reader != writer).collect();
        if reads_elsewhere || others.iter().any(|&reader| waits_for(&before, reader, writer)) {
            commits.push(Step::Commit { state: name.as_str().into(), node });
        } else {
            before[writer].extend(others);
        }
    }
    topological(before, graph, fusion).into_iter().map(Step::Compute).chain(commits).collect()
}

/// For each kernel those that must run before it because it reads what they store.
fn data_dependences(graph: &Graph, fusion: &Fusion) -> Vec<BTreeSet<KernelId>> {
    let mut before = vec![BTreeSet::new(); fusion.kernels.len()];
    for id in graph.ids() {
        let Some(home) = fusion.stored_in[id.index()] else { continue };
        for &reader in fusion.readers[id.index()].keys().filter(|&&reader| reader != home) {
            before[reader].insert(home);
        }
    }
    before
}

/// Whether `kernel` runs after `earlier` by these dependences.
fn waits_for(before: &[BTreeSet<KernelId>], kernel: KernelId, earlier: KernelId) -> bool {
    let mut seen = vec![false; before.len()];
    let mut stack = vec![kernel];
    while let Some(kernel) = stack.pop() {
        if kernel == earlier {
            return true;
        }
        if !std::mem::replace(&mut seen[kernel], true) {
            stack.extend(&before[kernel]);
        }
    }
    false
}

/// Kahn's algorithm; among kernels that are ready, one that gives back as much memory as it takes, else the one whose
/// nodes stand first in the graph.
fn topological(before: Vec<BTreeSet<KernelId>>, graph: &Graph, fusion: &Fusion) -> Vec<KernelId> {
    let mut scratch = Scratch::of(graph, fusion);
    let mut waiting: Vec<usize> = before.iter().map(BTreeSet::len).collect();
    let mut after = vec![Vec::new(); before.len()];
    for (kernel, earlier) in before.iter().enumerate() {
        earlier.iter().for_each(|&earlier| after[earlier].push(kernel));
    }
    let key = |kernel: KernelId| (fusion.kernels[kernel].stored.last().copied(), kernel);
    let mut ready: BTreeSet<_> = (0..before.len()).filter(|&kernel| waiting[kernel] == 0).map(key).collect();
    let mut order = Vec::with_capacity(before.len());
    while let Some(&first) = ready.iter().find(|ready| scratch.takes_no_more(ready.1)).or(ready.first()) {
        ready.remove(&first);
        let kernel = first.1;
        scratch.run(kernel);
        order.push(kernel);
        for &next in &after[kernel] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.insert(key(next));
            }
        }
    }
    order
}

/// Which values wait in scratch memory for kernels that have not run yet.
struct Scratch {
    /// For each node the bytes it takes.
    bytes: Vec<usize>,
    /// For each node the number of kernels that are still to read it.
    readers: Vec<usize>,
    /// For each kernel the nodes it reads, and the bytes it takes for what it stores.
    reads: Vec<Vec<NodeId>>,
    takes: Vec<usize>,
}

impl Scratch {
    fn of(graph: &Graph, fusion: &Fusion) -> Scratch {
        let kernels = fusion.kernels.len();
        let mut scratch = Scratch {
            bytes: vec![0; graph.len()],
            readers: vec![0; graph.len()],
            reads: vec![Vec::new(); kernels],
            takes: vec![0; kernels],
        };
        for id in graph.ids() {
            let Some(home) = fusion.stored_in[id.index()] else { continue };
            let is_output =
                fusion.targets[id.index()].iter().any(|target| matches!(target, Target::Output(_)));
            if is_output || !fusion.needs_buffer(id) {
                continue;
            }
            scratch.bytes[id.index()] = graph.ty(id).bytes();
            scratch.takes[home] += graph.ty(id).bytes();
            for &reader in fusion.readers[id.index()].keys().filter(|&&reader| reader != home) {
                scratch.reads[reader].push(id);
                scratch.readers[id.index()] += 1;
            }
        }
        scratch
    }

    /// Whether the kernel gives back at least as much as it takes.
    fn takes_no_more(&self, kernel: KernelId) -> bool {
        let last = self.reads[kernel].iter().filter(|id| self.readers[id.index()] == 1);
        last.map(|id| self.bytes[id.index()]).sum::<usize>() >= self.takes[kernel]
    }

    fn run(&mut self, kernel: KernelId) {
        for id in &self.reads[kernel] {
            self.readers[id.index()] -= 1;
        }
    }
}
