//! What can be taken out of a loop.

use std::sync::Arc;

use crate::graph::{NodeId, View};
use crate::loops::Binary;
use crate::ops::{Body, Dot, Elementwise, Exit, Leaf, Op, Scan, Taken};
use crate::types::{MAX_RANK, Scalar};

/// Multiplications a turn that are too few to be done as well as many.
const SMALL: usize = 1 << 18;

/// So few products are added to a sum in memory in less time than the sum takes to come and go.
const SHALLOW: usize = 32;

/// Bytes that the values of all turns may take.
const MOST_BYTES: usize = 64 << 20;

/// Rows of a product that are too few to pay for packing a captured matrix in each turn.
const FEW_ROWS: usize = 24;

/// Turns that are enough to pay for a matrix that is transposed before them.
const MANY_TURNS: usize = 8;

/// What is taken out of a loop.
pub(super) struct Plan {
    /// Computes for all turns, from slices and what is captured, what the loop gets as further slices.
    pub section: Option<Body>,
    pub after: Vec<After>,
    /// Operands of the loop, by number, that it captures transposed.
    pub turned: Vec<usize>,
    /// The loop that is left: it has further slices and further rows.
    pub body: Arc<Body>,
}

/// A result of the loop that is computed after it.
pub(super) struct After {
    pub taken: Taken,
    /// Over all turns.
    pub dot: Dot,
    pub operands: [Source; 2],
    /// What the product is multiplied by.
    pub factor: Option<Scalar>,
    /// The carry to whose start the sum is added.
    pub start: Option<usize>,
}

/// Where the values of all turns are found.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// An operand of the loop, by its number.
    Operand(usize),
    /// A result of the section.
    Section(usize),
    /// Taken of the loop.
    Taken(Taken),
}

impl Plan {
    /// What is to be taken out of a loop of which so much is taken.
    pub fn of(scan: &Scan, taken: &[Taken]) -> Option<Plan> {
        if scan.exit == Exit::WhenFalse || scan.length < 2 {
            return None;
        }
        let facts = Facts::of(&scan.body);
        let mut before = facts.before(scan);
        let section = (!before.is_empty()).then(|| scan.all_turns(&before)).flatten();
        if section.is_none() {
            before.clear();
        }
        let mut found = Rows { scan, facts: &facts, before: &before, rows: vec![] };
        let mut after = Vec::new();
        after.extend((0..scan.body.carries).filter_map(|carry| found.sum(carry, taken)));
        after.extend((0..scan.body.rows()).filter_map(|row| found.stack(row, taken)));
        let rows = found.rows;
        let turned = facts.turned(scan, &before);
        if section.is_none() && after.is_empty() && turned.is_empty() {
            return None;
        }
        let shifted: Vec<usize> = turned.iter().map(|operand| operand + before.len()).collect();
        let body = Arc::new(scan.body.exchange(&before, &rows).transposed(&shifted));
        Some(Plan { section, after, turned, body })
    }
}

/// What is known of the nodes of a body, one entry each.
struct Facts {
    /// Whether it changes from turn to turn.
    varies: Vec<bool>,
    /// Whether it can be computed for all turns at once: no carry goes into it.
    is_free: Vec<bool>,
    /// How often it is an operand or a result.
    uses: Vec<usize>,
}

impl Facts {
    fn of(body: &Body) -> Facts {
        let slices = body.carries..body.carries + body.sliced;
        let mut varies: Vec<bool> = (0..body.inputs).map(|index| index < slices.end).collect();
        let mut is_free: Vec<bool> = (0..body.inputs).map(|index| index >= slices.start).collect();
        let mut uses = vec![0; body.nodes.len()];
        for node in &body.nodes[body.inputs..] {
            varies.push(node.operands.iter().any(|operand| varies[operand.index()]));
            // What a barrier guards is to be computed where it is needed.
            let is_plain = match node.op {
                Op::Elementwise(elementwise) => elementwise != Elementwise::Barrier,
                Op::Leaf(_) | Op::Layout(_) | Op::Section(_) | Op::Reduce(_) | Op::Dot(_) | Op::Gather(_) => {
                    true
                }
                _ => false,
            };
            is_free.push(is_plain && node.operands.iter().all(|operand| is_free[operand.index()]));
        }
        let operands = body.nodes.iter().flat_map(|node| &node.operands);
        operands.chain(&body.results).for_each(|used| uses[used.index()] += 1);
        Facts { varies, is_free, uses }
    }

    /// The small products to be computed before a loop.
    fn before(&self, scan: &Scan) -> Vec<NodeId> {
        let is_lifted = |node: &&View<Op>| {
            let at = node.id.index();
            let small = product(&scan.body, node)
                .is_some_and(|(_, [m, n, k])| m.saturating_mul(n).saturating_mul(k) <= SMALL);
            small && self.varies[at] && self.is_free[at] && fits(scan, node)
        };
        scan.body.nodes.iter().filter(is_lifted).map(|node| node.id).collect()
    }

    /// The captured matrices that few rows are multiplied with along their own rows: a vector of columns would come from as
    /// many places as it has lanes.
    fn turned(&self, scan: &Scan, before: &[NodeId]) -> Vec<usize> {
        let body = &scan.body;
        let captured = body.carries + body.sliced..body.inputs;
        let across = |operand: usize| {
            let is_read = |node: &&View<Op>| node.operands.iter().any(|id| id.index() == operand);
            let mut users = body.nodes.iter().filter(is_read);
            let user = users.next().filter(|user| self.uses[operand] == 1 && !before.contains(&user.id))?;
            let (dot, [lhs, rhs, _]) = product(body, user)?;
            let is_right = user.operands[1].index() == operand;
            let (labels, rows) = if is_right { (dot.operand(1), lhs) } else { (dot.operand(0), rhs) };
            let &[own, depth] = labels else { return None };
            let other = dot.operand(usize::from(!is_right));
            let is_across = dot.out().contains(&own) && !other.contains(&own) && !dot.out().contains(&depth);
            (is_across && rows <= FEW_ROWS).then_some(operand)
        };
        if scan.length < MANY_TURNS { vec![] } else { captured.filter_map(across).collect() }
    }
}

/// A contraction, with the extents of its rows, columns and depth.
fn product<'b>(body: &Body, node: &'b View<Op>) -> Option<(&'b Dot, [usize; 3])> {
    let Op::Dot(dot) = &node.op else { return None };
    let shape = |operand: usize| body.nodes[node.operands[operand].index()].ty.shape;
    Some((dot, dot.sizes(shape(0), shape(1))))
}

/// Whether there is room for the values of all turns.
fn fits(scan: &Scan, node: &View<Op>) -> bool {
    node.ty.shape.rank() < MAX_RANK && node.ty.bytes().saturating_mul(scan.length) <= MOST_BYTES
}

/// Looks for results to be computed after a loop, and collects the rows that it takes.
struct Rows<'p> {
    scan: &'p Scan,
    facts: &'p Facts,
    before: &'p [NodeId],
    rows: Vec<NodeId>,
}

impl Rows<'_> {
    /// A carry that only sums up products of few factors.
    fn sum(&mut self, carry: usize, taken: &[Taken]) -> Option<After> {
        let body = &self.scan.body;
        if !taken.contains(&Taken::Last(carry)) || taken.contains(&Taken::History(carry)) {
            return None;
        }
        let sum = &body.nodes[body.results[carry].index()];
        let &[a, b] = &sum.operands[..] else { return None };
        let before = body.nodes[carry].id;
        let (factor, added) = self.factored(if a == before { b } else { a })?;
        let is_sum = sum.op == Op::Elementwise(Elementwise::Binary(Binary::Add)) && [a, b].contains(&before);
        let is_alone = [sum.id, before].iter().all(|id| self.facts.uses[id.index()] == 1);
        let (dot, [.., depth]) = product(body, &body.nodes[added.index()])?;
        if !is_sum || !is_alone || depth > SHALLOW {
            return None;
        }
        let [lhs, rhs] = [0, 1].map(|operand| [&[TURN], dot.operand(operand)].concat());
        let dot = Dot::new(&lhs, &rhs, dot.out()).ok()?;
        let operands = self.sources(added, |varies| varies == [true, true])?;
        Some(After { taken: Taken::Last(carry), dot, operands, factor, start: Some(carry) })
    }

    /// A small product, with something captured, that is only stacked.
    fn stack(&mut self, row: usize, taken: &[Taken]) -> Option<After> {
        let body = &self.scan.body;
        let (factor, node) = self.factored(body.results[body.carries + row])?;
        let node = &body.nodes[node.index()];
        let (dot, [m, n, k]) = product(body, node)?;
        let is_small = m.saturating_mul(n).saturating_mul(k) <= SMALL;
        if !taken.contains(&Taken::Stack(row)) || !is_small || !fits(self.scan, node) {
            return None;
        }
        let labels = |operand: usize| match self.facts.varies[node.operands[operand].index()] {
            true => [&[TURN], dot.operand(operand)].concat(),
            false => dot.operand(operand).to_vec(),
        };
        let dot = Dot::new(&labels(0), &labels(1), &[&[TURN], dot.out()].concat()).ok()?;
        let operands = self.sources(node.id, |varies| varies[0] != varies[1])?;
        Some(After { taken: Taken::Stack(row), dot, operands, factor, start: None })
    }

    /// A node as a constant times another, if nothing else uses them.
    fn factored(&self, node: NodeId) -> Option<(Option<Scalar>, NodeId)> {
        let nodes = &self.scan.body.nodes;
        let (factor, product) = match (&nodes[node.index()].op, &nodes[node.index()].operands[..]) {
            (Op::Elementwise(Elementwise::Binary(Binary::Mul)), &[a, b]) => match nodes[a.index()].op {
                Op::Leaf(Leaf::Constant { value, .. }) => (Some(value), b),
                _ => (None, node),
            },
            _ => (None, node),
        };
        let is_alone = [node, product].iter().all(|id| self.facts.uses[id.index()] == 1);
        is_alone.then_some((factor, product))
    }

    /// Where a product's operands are found after the loop, if they vary from turn to turn as asked for.
    fn sources(&mut self, product: NodeId, is_asked_for: impl Fn([bool; 2]) -> bool) -> Option<[Source; 2]> {
        let nodes = &self.scan.body.nodes;
        let &[a, b] = &nodes[product.index()].operands[..] else { return None };
        let varies = [a, b].map(|operand| self.facts.varies[operand.index()]);
        let is_found = |operand: NodeId| match self.facts.varies[operand.index()] {
            true => fits(self.scan, &nodes[operand.index()]),
            false => operand.index() < self.scan.body.inputs,
        };
        if !is_asked_for(varies) || ![a, b].into_iter().all(is_found) {
            return None;
        }
        Some([a, b].map(|operand| self.source(operand)))
    }

    fn source(&mut self, node: NodeId) -> Source {
        let body = &self.scan.body;
        let position = |among: &[NodeId]| among.iter().position(|&other| other == node);
        match node.index() {
            carry if carry < body.carries => Source::Taken(Taken::History(carry)),
            operand if operand < body.inputs => Source::Operand(operand),
            _ => match position(self.before) {
                Some(number) => Source::Section(number),
                None => {
                    let row = position(&self.rows).unwrap_or_else(|| {
                        self.rows.push(node);
                        self.rows.len() - 1
                    });
                    Source::Taken(Taken::Stack(body.rows() + row))
                }
            },
        }
    }
}

/// The label of the axis of turns, which no other has.
const TURN: u8 = u8::MAX;
