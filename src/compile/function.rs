//! What to compile: a graph's outputs, and the updates of its state.

use std::time::{Duration, Instant};

use super::{Cache, Options, Stopwatch, cache, compile_anew};
use crate::error::{Error, Result};
use crate::graph::{NodeId, Origin, Part, Target};
use crate::ops::{Graph, Leaf, Op, Role, Tensor};
use crate::runtime::Executable;
use crate::schedule::{Schedule, schedule};
use crate::transform::{extract, ready};

/// A program to be compiled: outputs to report and state to update, over one graph.
///
/// ```
/// use hitofude::prelude::*;
/// let g = Graph::new();
/// let total = g.parameter("total", [], F64);
/// let x = g.input("x", [], F64);
/// let add = g.function().output("before", total).update(total, total + x).compile()?;
/// let mut state = add.state();
/// let inputs = add.inputs().with("x", 2.5)?;
/// add.run_many(&mut state, &inputs, 4)?;
/// assert_eq!(state.get("total")?, Value::from(10.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a function does nothing until it is compiled"]
pub struct Function<'g> {
    graph: &'g Graph,
    results: Vec<(Target, NodeId)>,
    /// The first thing wrong with the results.
    error: Option<Error>,
    /// Time spent on deriving what the function computes.
    derivation: Duration,
}

impl Graph {
    /// A program over this graph, without results yet.
    pub fn function(&self) -> Function<'_> {
        Function { graph: self, results: Vec::new(), error: None, derivation: Duration::ZERO }
    }

    /// Compiles the named outputs: a pure function of the inputs and the state.
    ///
    /// # Errors
    /// As [`Function::compile`].
    ///
    /// ```
    /// use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3], F32);
    /// let y = (x * x).sum(..);
    /// let dy_dx = g.grad(y, &[x])?[0];
    /// let f = g.compile(&[("y", y), ("dy_dx", dy_dx)])?;
    /// let inputs = f.inputs().with("x", array![1.0f32, 2.0, 3.0])?;
    /// let mut state = f.state();
    /// let report = f.run(&mut state, &inputs)?;
    /// assert_eq!(report.number("y")?, 14.0);
    /// assert_eq!(report.view::<f32>("dy_dx")?, array![2.0f32, 4.0, 6.0].into_dyn());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn compile(&self, outputs: &[(&str, Tensor<'_>)]) -> Result<Executable> {
        outputs
            .iter()
            .fold(self.function(), |function, (name, tensor)| function.output(name, *tensor))
            .compile()
    }
}

impl<'g> Function<'g> {
    /// Reports a tensor under a name.
    pub fn output(mut self, name: &str, tensor: Tensor<'_>) -> Function<'g> {
        if std::ptr::eq(tensor.graph(), self.graph) {
            self.results.push((Target::Output(name.into()), tensor.id()));
        } else {
            self.fail_foreign("output");
        }
        self
    }

    /// Makes `value` the new value of a parameter, slot, setting or key, after everything has read the old one.
    pub fn update(mut self, state: Tensor<'_>, value: Tensor<'_>) -> Function<'g> {
        let is_state = matches!(state.graph().node(state.id()).op, Op::Leaf(Leaf::State { .. }));
        if !std::ptr::eq(value.graph(), self.graph) || !std::ptr::eq(state.graph(), self.graph) {
            self.fail_foreign("update");
        } else if let Some(name) = state.leaf_name().filter(|_| is_state) {
            self.results.push((Target::Update(name.to_string()), value.id()));
        } else if !state.is_poison() {
            let (op, ty) = (state.graph().op(state.id()), state.ty());
            let message =
                format!("`{op}` ({ty}) is no parameter, slot, setting or key, and cannot be updated");
            self.error.get_or_insert(Error::Value(message));
        }
        self
    }

    /// Makes every random key that the results so far depend on go on to the next: `key` of JAX's
    /// `key, subkey = jax.random.split(key)`, of which [`Graph::random_key`] gives `subkey`.
    #[track_caller]
    pub fn advance_keys(mut self) -> Function<'g> {
        let reached = self.graph.reachable(self.results.iter().map(|result| result.1));
        let is_key =
            |id: &NodeId| matches!(self.graph.node(*id).op, Op::Leaf(Leaf::State { role: Role::Key, .. }));
        let keys: Vec<NodeId> = self.graph.ids().filter(|id| reached[id.index()]).filter(is_key).collect();
        for key in keys {
            let key = self.graph.tensor(key);
            let origin = Origin::Update { parameter: key.leaf_name().unwrap_or_default() };
            let next = self.graph.with_origin(origin, || key.fold_in(0.0));
            self = self.update(key, next);
        }
        self
    }

    fn fail_foreign(&mut self, op: &str) {
        let at = self.graph.place(std::panic::Location::caller());
        self.error.get_or_insert(Error::ForeignTensor { op: op.into(), at });
    }

    /// Adds to the time that is reported for derivation.
    pub(crate) fn derived_since(mut self, started: Instant) -> Function<'g> {
        self.derivation += started.elapsed();
        self
    }

    /// The part of the graph that the results need, as it was written and derived.
    ///
    /// # Errors
    /// The first error made while building the graph or the function.
    pub fn graph(&self) -> Result<Graph> {
        self.check()?;
        let graph = extract(self.graph, &self.results);
        graph.validate().map(|()| graph)
    }

    /// The graph after the passes.
    ///
    /// # Errors
    /// As [`Function::graph`].
    pub fn optimised(&self, options: &Options) -> Result<Graph> {
        Ok(options.optimise(self.graph()?))
    }

    /// The kernels and the memory plan.
    ///
    /// # Errors
    /// As [`Function::graph`]; two results of one name.
    pub fn schedule(&self, options: &Options) -> Result<Schedule> {
        schedule(&ready(&self.optimised(options)?))
    }

    /// Compiles the function to native code.
    ///
    /// # Errors
    /// As [`Function::schedule`]; a processor that is not supported.
    pub fn compile(&self) -> Result<Executable> {
        self.compile_with(&Options::default())
    }

    /// Compiles the function in the way the options say.
    ///
    /// # Errors
    /// As [`Function::compile`].
    pub fn compile_with(&self, options: &Options) -> Result<Executable> {
        self.check()?;
        let mut watch = Stopwatch { stages: vec![("derive", self.derivation)] };
        if options.cache == Cache::Off {
            let graph = watch.time("extract", || self.graph())?;
            return compile_anew(&graph, options, watch);
        }
        let part = Part::new(self.graph, &self.results);
        let hash = watch.time("hash", || part.structure_hash());
        if let Some(found) = watch.time("look up", || cache::find(hash, &part, options)) {
            return Ok(found.found_again(watch.stages));
        }
        let graph = watch.time("extract", || self.graph())?;
        let executable = compile_anew(&graph, options, watch)?;
        cache::keep(hash, graph, options.clone(), executable.clone());
        Ok(executable)
    }

    /// The first mistake, if there is one.
    fn check(&self) -> Result<()> {
        self.graph.check()?;
        self.error.clone().map_or(Ok(()), Err)
    }
}
