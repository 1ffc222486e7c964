//! The derivative rules of a loop.
//!
//! Forward: a loop that carries the tangents beside the carries. Reverse: a loop that goes the other way, over the
//! history of the carries; it computes each turn anew, carries the cotangents of the carries, and sums up those of what
//! is captured.

use super::build::{Kind, Loop};
use super::{Body, Call, Direction, Exit, Scan, Taken};
use crate::error::{Error, TypeError};
use crate::graph::{NodeId, Origin};
use crate::ops::{Graph, Rules, Site, Tensor};

/// The cotangents of a loop's operands.
pub(crate) struct Cotangents<'g> {
    call: Call<'g>,
    /// Where each operand's is found.
    taken: Vec<Option<Taken>>,
}

impl<'g> Cotangents<'g> {
    /// That of one operand; `None` where it is zero.
    #[track_caller]
    pub fn of(&self, operand: usize) -> Option<Tensor<'g>> {
        self.taken[operand].map(|taken| self.call.take(taken))
    }
}

impl Scan {
    /// The forward rule.
    pub(super) fn push_forward<'g>(
        &self,
        site: &Site<'g>,
        tangents: &[Option<Tensor<'g>>],
    ) -> Option<Tensor<'g>> {
        let body = &self.body;
        let moves = self.reached(&tangents.iter().map(Option::is_some).collect::<Vec<_>>());
        let scratch = Graph::new();
        let mut inner = Loop::over(&scratch);
        let primal = self.add_operands(&mut inner, site);
        let mut directions = Vec::new();
        for (index, &x) in site.operands.iter().enumerate().filter(|(index, _)| moves[*index]) {
            let dx = tangents[index].unwrap_or_else(|| x.constant_like(0.0));
            directions.push((primal[index], inner.add(body.kind(index), dx)));
        }
        let results = body.inline(&scratch, &primal);
        let moved = scratch.push_forward(&results, &directions);
        let (mut next, mut rows) = (results[..body.carries].to_vec(), results[body.carries..].to_vec());
        for carry in (0..body.carries).filter(|&carry| moves[carry]) {
            next.push(moved[carry].unwrap_or_else(|| results[carry].constant_like(0.0)));
        }
        rows.extend(moved[body.carries..].iter().flatten());
        let call = inner.close(&next, &rows, self).map_err(|error| site.result.graph.fail(error)).ok()?;
        let rank = |flags: &[bool]| flags.iter().filter(|&&flag| flag).count();
        let beside = |carry: usize| moves[carry].then(|| body.carries + rank(&moves[..carry]));
        let taken = match self.taken {
            Taken::Last(carry) => Taken::Last(beside(carry)?),
            Taken::History(carry) => Taken::History(beside(carry)?),
            Taken::Stack(row) => {
                moved[body.carries + row]?;
                Taken::Stack(body.rows() + moved[body.carries..][..row].iter().flatten().count())
            }
        };
        Some(call.take(taken))
    }

    /// The reverse rule for all results at once: the cotangents of the operands that are wanted.
    pub(crate) fn pull_back<'g>(
        &self,
        site: &Site<'g>,
        cotangents: &[(Taken, Tensor<'g>)],
        wanted: &[bool],
    ) -> Option<Cotangents<'g>> {
        if self.exit == Exit::WhenFalse && self.length > 1 {
            let message = "has no reverse derivative, since it forgets how it went; use `scan` or `repeat`";
            let error = TypeError::Invalid(message.into());
            let at = site.result.written_at();
            site.result.graph.fail(Error::Type { op: "while_loop".into(), error, at });
            return None;
        }
        let scratch = Graph::new();
        let moves = self.reached(wanted);
        let backward = Backward { scan: self, site, cotangents, moves, inner: Loop::over(&scratch) };
        let origin = Origin::Vjp { rule: self.name(), of: None, operand: 0 };
        let built = scratch.with_origin(origin, || backward.build(&scratch));
        built.map_err(|error| site.result.graph.fail(error)).ok()
    }

    /// Which inputs of the body change with the operands marked: those themselves, and the carries of floats that are
    /// computed from them in some turn.
    fn reached(&self, marked: &[bool]) -> Vec<bool> {
        let mut reached = marked.to_vec();
        loop {
            let changes = self.body.depends_on(&reached);
            let before = reached.clone();
            for carry in 0..self.body.carries {
                let is_float = self.body.input(carry).dtype.is_float();
                reached[carry] |= is_float && changes[self.body.results[carry].index()];
            }
            if reached == before {
                return reached;
            }
        }
    }

    /// The loop's own operands, as operands of another of the same kinds.
    fn add_operands<'b, 'g>(&self, inner: &mut Loop<'b, 'g>, site: &Site<'g>) -> Vec<Tensor<'b>> {
        let operands = site.operands.iter().enumerate();
        operands.map(|(index, &x)| inner.add(self.body.kind(index), x)).collect()
    }
}

/// The loop of the reverse rule, under construction.
struct Backward<'a, 'b, 'g> {
    scan: &'a Scan,
    site: &'a Site<'g>,
    cotangents: &'a [(Taken, Tensor<'g>)],
    /// The inputs of the body that have cotangents.
    moves: Vec<bool>,
    inner: Loop<'b, 'g>,
}

impl<'b, 'g> Backward<'_, 'b, 'g> {
    fn build(mut self, scratch: &'b Graph) -> Result<Cotangents<'g>, Error> {
        let body = &self.scan.body;
        // A single turn that may not happen: neither does it on the way back.
        let goes =
            (self.scan.exit == Exit::WhenFalse).then(|| self.inner.add(Kind::Carry, self.site.operands[0]));
        let carried = self.carried_cotangents();
        let primal = self.primal();
        let results = body.inline(scratch, &primal);
        let mut seeds: Vec<(Tensor<'b>, Tensor<'b>)> =
            (0..body.carries).filter_map(|carry| Some((results[carry], carried[carry]?))).collect();
        let mut next: Vec<Tensor<'b>> = goes.iter().map(|goes| goes.constant_like(0.0)).collect();
        for row in 0..body.rows() {
            if let Some(dy) = self.slice_of(Taken::Stack(row)) {
                seeds.push((results[body.carries + row], dy));
            }
        }
        let moving = indices_of(&self.moves);
        let wrt: Vec<Tensor<'b>> = moving.iter().map(|&index| primal[index]).collect();
        let pulled = scratch.pull_back(&seeds, &wrt);
        let (mut rows, mut taken) = (Vec::new(), vec![None; body.inputs]);
        for (index, pulled) in moving.into_iter().zip(pulled) {
            let zero = || primal[index].constant_like(0.0);
            let share = match body.kind(index) {
                Kind::Carry => self.slice_of(Taken::History(index)),
                Kind::Slice => None,
                Kind::Capture => carried[index],
            };
            let sum = match (share, pulled) {
                (Some(share), Some(pulled)) => share + pulled,
                (share, pulled) => share.or(pulled).unwrap_or_else(zero),
            };
            if body.kind(index) == Kind::Slice {
                taken[index] = Some(Taken::Stack(rows.len()));
                rows.push(sum);
            } else {
                taken[index] = Some(Taken::Last(next.len()));
                next.push(sum);
            }
        }
        let direction = match self.scan.direction {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        };
        let call = self.inner.close(&next, &rows, &Scan { direction, ..self.scan.clone() })?;
        Ok(Cotangents { call, taken })
    }

    /// The cotangents of the carries, which go round, and the sums of those of what is captured.
    fn carried_cotangents(&mut self) -> Vec<Option<Tensor<'b>>> {
        let mut carried = vec![None; self.moves.len()];
        for index in indices_of(&self.moves) {
            let start = match self.scan.body.kind(index) {
                Kind::Carry => self.cotangent(Taken::Last(index)),
                Kind::Slice => continue,
                Kind::Capture => None,
            };
            let start = start.unwrap_or_else(|| self.site.operands[index].constant_like(0.0));
            carried[index] = Some(self.inner.add(Kind::Carry, start));
        }
        carried
    }

    /// What a turn of the loop works on: the carries are slices of their history.
    fn primal(&mut self) -> Vec<Tensor<'b>> {
        let mut primal = Vec::with_capacity(self.site.operands.len());
        let call = Call { scan: self.scan.clone(), operands: self.site.operands.clone() };
        for (index, &operand) in self.site.operands.iter().enumerate() {
            primal.push(match (self.scan.body.kind(index), self.scan.exit) {
                (Kind::Carry, Exit::Never) => self.inner.add(Kind::Slice, call.take(Taken::History(index))),
                // Before its only turn a carry is what it was in the beginning.
                (Kind::Carry, Exit::WhenFalse) => self.inner.add(Kind::Capture, operand),
                (kind, _) => self.inner.add(kind, operand),
            });
        }
        primal
    }

    fn cotangent(&self, taken: Taken) -> Option<Tensor<'g>> {
        self.cotangents.iter().find(|cotangent| cotangent.0 == taken).map(|cotangent| cotangent.1)
    }

    /// One turn's share of the cotangent of something stacked.
    fn slice_of(&mut self, taken: Taken) -> Option<Tensor<'b>> {
        self.cotangent(taken).map(|dy| self.inner.add(Kind::Slice, dy))
    }
}

fn indices_of(flags: &[bool]) -> Vec<usize> {
    (0..flags.len()).filter(|&index| flags[index]).collect()
}

impl Body {
    /// One flag a node: whether it changes with the inputs marked.
    fn depends_on(&self, marked: &[bool]) -> Vec<bool> {
        let mut depends = marked.to_vec();
        for node in &self.nodes[self.inputs..] {
            let changes = |operand: &NodeId| depends[operand.index()];
            depends.push(node.operands.iter().any(changes));
        }
        depends
    }
}
