//! The training step: forward, loss, gradient and update as one program.

use std::time::Instant;

use rustc_hash::FxHashSet;

use crate::compile::{Function, Options, span};
use crate::error::{Error, Result};
use crate::graph::Origin;
use crate::ops::{Graph, Tensor};
use crate::optim::Optimizer;
use crate::runtime::Executable;
use crate::schedule::Schedule;

/// A training step to be compiled. It reports `loss`, and whatever is named by [`TrainingStep::output`], as
/// they are before the update. Random keys in the state go on to the next with every step.
#[must_use = "a training step does nothing until it is compiled"]
pub struct TrainingStep<'g> {
    graph: &'g Graph,
    loss: Tensor<'g>,
    optimizer: Box<dyn Optimizer + 'g>,
    outputs: Vec<(String, Tensor<'g>)>,
    frozen: Vec<String>,
}

impl Graph {
    /// A step that moves every parameter of the graph against the gradient of `loss`.
    ///
    /// # Errors
    /// The first error made while building the graph; a loss that is not a scalar of floats.
    ///
    /// ```
    /// use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [4, 3], F32);
    /// let target = g.input("target", [4, 1], F32);
    /// let output = x.linear(g.parameter("weight", [1, 3], F32), g.parameter("bias", [1], F32));
    /// let step = g.training_step(output.mse_loss(target), Sgd::new(0.1))?.output("output", output).compile()?;
    /// let mut state = step.state();
    /// let inputs = step.inputs().with("x", Array2::<f32>::ones((4, 3)))?.with("target", Array2::<f32>::ones((4, 1)))?;
    /// assert_eq!(step.run(&mut state, &inputs)?.loss(), 1.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn training_step<'g>(
        &'g self,
        loss: Tensor<'g>,
        optimizer: impl Optimizer + 'g,
    ) -> Result<TrainingStep<'g>> {
        self.grad(loss, &[])?; // a scalar of floats, and of this graph
        Ok(TrainingStep {
            graph: self,
            loss,
            optimizer: Box::new(optimizer),
            outputs: vec![],
            frozen: vec![],
        })
    }
}

impl<'g> TrainingStep<'g> {
    /// Reports a tensor under a name, as it is before the update.
    pub fn output(mut self, name: &str, tensor: Tensor<'g>) -> TrainingStep<'g> {
        self.outputs.push((name.into(), tensor));
        self
    }

    /// Leaves a parameter as it is.
    pub fn freeze(mut self, name: &str) -> TrainingStep<'g> {
        self.frozen.push(name.into());
        self
    }

    /// The forward pass as a program: loss and outputs.
    ///
    /// # Errors
    /// None but those of compiling it.
    pub fn forward(&self) -> Function<'g> {
        let start = self.graph.function().output("loss", self.loss);
        self.outputs.iter().fold(start, |function, (name, tensor)| function.output(name, *tensor))
    }

    /// Forward pass and gradient as a program: for each trained parameter `p` an output `d_p`.
    ///
    /// # Errors
    /// A parameter that the loss does not reach, or nothing to train.
    pub fn gradient(&self) -> Result<Function<'g>> {
        let started = Instant::now();
        let parameters = self.trained()?;
        let gradients = self.graph.grad(self.loss, &parameters)?;
        let named = parameters.iter().zip(gradients);
        let function = named.fold(self.forward(), |function, (parameter, gradient)| {
            function.output(&format!("d_{}", parameter.leaf_name().unwrap_or_default()), gradient)
        });
        Ok(function.derived_since(started))
    }

    /// The whole step as a program: forward pass, loss, gradient and update.
    ///
    /// # Errors
    /// A parameter that the loss does not reach, or nothing to train.
    pub fn function(&self) -> Result<Function<'g>> {
        let (_span, started) = (span("derive"), Instant::now());
        let parameters = self.trained()?;
        let gradients = self.graph.grad(self.loss, &parameters)?;
        let mut function = self.forward();
        let mut shared = FxHashSet::default();
        for (parameter, gradient) in parameters.into_iter().zip(gradients) {
            let origin = Origin::Update { parameter: parameter.leaf_name().unwrap_or_default() };
            let updates = self.graph.with_origin(origin, || self.optimizer.update(parameter, gradient));
            for (state, value) in updates {
                // What parameters share, such as a count of steps, is updated once.
                if shared.insert((state.id(), value.id())) {
                    function = function.update(state, value);
                }
            }
        }
        let function = function.advance_keys();
        self.graph.check()?;
        Ok(function.derived_since(started))
    }

    /// The kernels and the memory plan.
    ///
    /// # Errors
    /// As [`TrainingStep::compile`].
    pub fn schedule(&self) -> Result<Schedule> {
        self.function()?.schedule(&Options::default())
    }

    /// Derives and compiles the step.
    ///
    /// # Errors
    /// The first error made while building the graph; a parameter that the loss does not reach; two outputs of
    /// one name; a processor that is not supported.
    pub fn compile(&self) -> Result<Executable> {
        self.compile_with(&Options::default())
    }

    /// Derives and compiles the step in the way the options say.
    ///
    /// # Errors
    /// As [`TrainingStep::compile`].
    pub fn compile_with(&self, options: &Options) -> Result<Executable> {
        self.function()?.compile_with(options)
    }

    /// The parameters to train, all of which the loss must reach.
    fn trained(&self) -> Result<Vec<Tensor<'g>>> {
        let parameters = self.graph.parameters();
        let name = |parameter: &Tensor<'g>| parameter.leaf_name().unwrap_or_default().to_string();
        if let Some(unknown) =
            self.frozen.iter().find(|frozen| !parameters.iter().any(|p| name(p) == **frozen))
        {
            let known: Vec<String> = parameters.iter().map(|p| format!("`{}`", name(p))).collect();
            return Err(Error::UnknownName {
                kind: "parameter",
                name: unknown.clone(),
                known: known.join(", "),
            });
        }
        let trained: Vec<Tensor<'g>> =
            parameters.into_iter().filter(|p| !self.frozen.contains(&name(p))).collect();
        if trained.is_empty() {
            return Err(Error::NothingToTrain);
        }
        let reached = self.graph.reachable([self.loss.id()]);
        match trained.iter().find(|parameter| !reached[parameter.id().index()]) {
            Some(parameter) => Err(Error::UnreachedParameter { name: name(parameter), ty: parameter.ty() }),
            None => Ok(trained),
        }
    }
}
