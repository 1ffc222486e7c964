//! The batching rule of a loop: its body for all samples at once.

use super::build::{Kind, Loop};
use super::{Body, Exit, Scan, Taken, stacked};
use crate::error::Error;
use crate::graph::NodeId;
use crate::ops::body::placeholder;
use crate::ops::{Graph, Mapped, Tensor};

impl Scan {
    /// A body that computes these nodes, which no carry goes into, for all turns at once: from the sliced tensors and what
    /// is captured, as the loop has them, their values stacked as rows are. Nothing, if a shape has no room for an axis.
    pub(crate) fn all_turns(&self, nodes: &[NodeId]) -> Option<Body> {
        let (body, scratch) = (&self.body, Graph::new());
        let one = body.placeholders(&scratch);
        let operands = (body.carries..body.inputs).map(|index| match body.kind(index) {
            Kind::Slice => {
                Some(placeholder(&scratch, "slices of a loop", stacked(self.length, one[index].ty()).ok()?))
            }
            _ => Some(one[index]),
        });
        let operands: Vec<Tensor<'_>> = operands.collect::<Option<_>>()?;
        let nodes = body.nodes_in(&scratch, &one, nodes);
        let slices = body.carries..body.carries + body.sliced;
        let pairs: Vec<(Tensor<'_>, Tensor<'_>)> =
            slices.map(|index| (one[index], operands[index - body.carries])).collect();
        let batched = scratch.batch(&nodes, &pairs, self.length).ok()?;
        let batched: Vec<Tensor<'_>> = batched.into_iter().collect::<Option<_>>()?;
        Some(Body::of(&operands, &batched, (0, 0)))
    }

    pub(super) fn batched<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let samples = operands.iter().find_map(|operand| operand.samples).unwrap_or(1);
        let graph = operands[0].tensor.graph;
        self.batched_for(operands, samples).unwrap_or_else(|error| graph.tensor(graph.fail(error).1))
    }

    fn batched_for<'g>(&self, operands: &[Mapped<'g>], samples: usize) -> Result<Tensor<'g>, Error> {
        let (body, scratch) = (&self.body, Graph::new());
        let mapped = self.mapped_inputs(operands, samples)?;
        let stops_apart = self.exit == Exit::WhenFalse && mapped[0];
        let mut inner = Loop::over(&scratch);
        // Samples that stop each in their turn: the loop goes on while any of them does.
        if stops_apart {
            inner.add(Kind::Carry, operands[0].with_axis(samples).any(0));
        }
        let inputs: Vec<Tensor<'_>> = (operands.iter().enumerate())
            .map(|(index, operand)| {
                inner.add(body.kind(index), self.operand_for(index, operand, mapped[index], samples))
            })
            .collect();
        let (results, is_mapped) = self.batched_results(&scratch, &inputs, &mapped, samples)?;
        let (mut next, rows) = (results[..body.carries].to_vec(), &results[body.carries..]);
        if stops_apart {
            next = next.iter().zip(&inputs).map(|(&next, &before)| keep(inputs[0], next, before)).collect();
            next.insert(0, next[0].any(0));
        }
        let call = inner.close(&next, rows, self)?;
        let (taken, is_mapped) = match self.taken {
            Taken::Last(carry) => (Taken::Last(carry + usize::from(stops_apart)), mapped[carry]),
            Taken::History(carry) => (Taken::History(carry), mapped[carry]),
            Taken::Stack(row) => (Taken::Stack(row), is_mapped[body.carries + row]),
        };
        let result = call.take(taken);
        Ok(match (self.taken, is_mapped) {
            (_, false) => Mapped { tensor: result, samples: None }.with_axis(samples),
            (Taken::Last(_), true) => result,
            (Taken::Stack(_) | Taken::History(_), true) => exchange_leading(result),
        })
    }

    /// Which inputs of the body have samples: a carry has if it starts with them, or some turn gives them to it.
    fn mapped_inputs(&self, operands: &[Mapped<'_>], samples: usize) -> Result<Vec<bool>, Error> {
        let mut mapped: Vec<bool> = operands.iter().map(|operand| operand.samples.is_some()).collect();
        loop {
            let before = mapped.clone();
            if self.exit == Exit::WhenFalse && mapped[0] {
                mapped[..self.body.carries].fill(true);
            }
            let scratch = Graph::new();
            let inputs = self.body.placeholders(&scratch);
            let alike: Vec<Mapped<'_>> =
                inputs.iter().map(|&tensor| Mapped { tensor, samples: None }).collect();
            let wide: Vec<Tensor<'_>> = (alike.iter().zip(&mapped))
                .map(|(input, &mapped)| if mapped { input.with_axis(samples) } else { input.tensor })
                .collect();
            let (_, gives) = self.batched_results(&scratch, &wide, &mapped, samples)?;
            for carry in 0..self.body.carries {
                mapped[carry] |= gives[carry];
            }
            if mapped == before {
                return Ok(mapped);
            }
        }
    }

    /// The results of the body over these inputs, and which of them have samples. Carries that are mapped have in any
    /// case.
    fn batched_results<'b>(
        &self,
        scratch: &'b Graph,
        inputs: &[Tensor<'b>],
        mapped: &[bool],
        samples: usize,
    ) -> Result<(Vec<Tensor<'b>>, Vec<bool>), Error> {
        let one = self.body.placeholders(scratch);
        let inline: Vec<Tensor<'b>> =
            (0..one.len()).map(|at| if mapped[at] { one[at] } else { inputs[at] }).collect();
        let results = self.body.inline(scratch, &inline);
        let pairs: Vec<(Tensor<'b>, Tensor<'b>)> =
            (0..one.len()).filter(|&at| mapped[at]).map(|at| (one[at], inputs[at])).collect();
        let batched = scratch.batch(&results, &pairs, samples)?;
        let wide = |(index, (&result, batched)): (usize, (&Tensor<'b>, &Option<Tensor<'b>>))| match batched {
            Some(batched) => (*batched, true),
            None if index < self.body.carries && mapped[index] => {
                (Mapped { tensor: result, samples: None }.with_axis(samples), true)
            }
            None => (result, false),
        };
        Ok(results.iter().zip(&batched).enumerate().map(wide).unzip())
    }

    /// The operand as the batched loop takes it: samples behind the axis that is walked along.
    fn operand_for<'g>(
        &self,
        index: usize,
        operand: &Mapped<'g>,
        mapped: bool,
        samples: usize,
    ) -> Tensor<'g> {
        match (mapped, self.body.kind(index)) {
            (false, _) => operand.tensor,
            (true, Kind::Slice) => exchange_leading(operand.tensor),
            (true, Kind::Carry | Kind::Capture) => operand.with_axis(samples),
        }
    }
}

/// The next value where its sample goes on, else the value before.
fn keep<'b>(goes: Tensor<'b>, next: Tensor<'b>, before: Tensor<'b>) -> Tensor<'b> {
    let goes = goes.broadcast_in(next.shape(), &[0]);
    goes.select(next, before)
}

/// The first two axes exchanged.
fn exchange_leading(tensor: Tensor<'_>) -> Tensor<'_> {
    let mut axes: Vec<usize> = (0..tensor.shape().rank()).collect();
    axes[..2].reverse();
    tensor.permute(&axes)
}
