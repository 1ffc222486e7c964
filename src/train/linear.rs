//! Least squares by gradient descent: a linear model fitted to a table, without a rate to choose.
//!
//! The rate is 1/λ, with λ the largest curvature of the loss, found by power iteration on a compiled
//! Hessian-vector product. Nesterov's momentum grows as k/(k+3) and starts anew whenever it points uphill
//! (O'Donoghue & Candès, "Adaptive restart for accelerated gradient schemes", 2015).

use ndarray::{Array1, Array2};

use super::TrainingStep;
use crate::data::{Scaling, Table, root_mean_square};
use crate::error::{Error, Result};
use crate::ops::{Graph, Tensor};
use crate::optim::Sgd;
use crate::runtime::{Executable, Inputs, Profile, State};
use crate::types::{DType, Value};

/// How to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// The type to train in: f32 or f64.
    pub dtype: DType,
    /// Whether to train on columns scaled to mean 0 and deviation 1.
    pub standardize: bool,
    /// At most this many steps.
    pub max_steps: u64,
    /// Stop when the gradient is this much smaller than at the start; `None` for what the type allows.
    pub tolerance: Option<f64>,
}

impl Default for FitOptions {
    fn default() -> FitOptions {
        FitOptions { dtype: DType::F64, standardize: true, max_steps: 100_000, tolerance: None }
    }
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The gradient became small: the fit is the least-squares solution, to rounding.
    GradientSmall,
    /// The gradient has not become smaller for a long time: this is as far as rounding lets it.
    Stalled,
    /// The steps ran out: the fit may be some way off.
    StepsExhausted,
}

/// A fitted linear model, in the units of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearFit {
    /// Each feature with its coefficient; 0 for a constant column, which explains nothing.
    pub coefficients: Vec<(String, f64)>,
    pub intercept: f64,
    /// The share of the target's variance that is explained.
    pub r2: f64,
    /// The mean squared error.
    pub mse: f64,
    pub steps: u64,
    pub stopped: Stopped,
    /// Columns without variation, left out of the training.
    pub constant: Vec<String>,
}

/// The state of training, as it goes.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Updates done before this moment.
    pub step: u64,
    /// Mean squared error in units of the target, squared.
    pub loss: f64,
    /// Length of the gradient, relative to the start.
    pub gradient: f64,
}

/// The training step of a linear model with `columns` features on `rows` samples: inputs `x` `[rows, columns]` and
/// `target` `[rows, 1]`, parameters `weight` `[1, columns]` and `bias` `[1]`. Beside the loss it reports
/// `gradient`, the squared length of the gradient with each column's part divided by `size` `[1, columns]`, and
/// `uphill`, negative when momentum points uphill.
fn linear_step<'g>(graph: &'g Graph, rows: usize, columns: usize, dtype: DType) -> Result<TrainingStep<'g>> {
    let Model { weight, bias, loss } = Model::build(graph, rows, columns, dtype);
    let gradients = graph.grad(loss, &[weight, bias])?;
    let size = graph.input("size", [1, columns], dtype);
    let gradient = (gradients[0] / size).square().sum(..) + gradients[1].square().sum(..);
    let factor = loss.setting("momentum", 0.0);
    let along = |parameter: Tensor<'g>, gradient: Tensor<'g>| {
        let velocity = factor * parameter.slot("momentum", 0.0) + gradient;
        (gradient * velocity).sum(..)
    };
    let uphill = along(weight, gradients[0]) + along(bias, gradients[1]);
    Ok(graph
        .training_step(loss, Sgd::new(0.0).nesterov(0.0))?
        .output("gradient", gradient)
        .output("uphill", uphill))
}

struct Model<'g> {
    weight: Tensor<'g>,
    bias: Tensor<'g>,
    loss: Tensor<'g>,
}

impl<'g> Model<'g> {
    fn build(graph: &'g Graph, rows: usize, columns: usize, dtype: DType) -> Model<'g> {
        let x = graph.input("x", [rows, columns], dtype);
        let target = graph.input("target", [rows, 1], dtype);
        let weight = graph.parameter("weight", [1, columns], dtype);
        let bias = graph.parameter("bias", [1], dtype);
        let loss = x.linear(weight, bias).mse_loss(target);
        Model { weight, bias, loss }
    }
}

/// Fits `target` by a linear combination of all other columns.
///
/// # Errors
/// As [`LinearProblem::new`] and [`LinearProblem::fit`].
///
/// ```
/// use hitofude::data::{Missing, Table};
/// use hitofude::train::{FitOptions, fit_linear};
/// let table = Table::parse_csv("a,b,y\n1,0,3\n2,1,4\n3,5,2\n4,1,8\n", &[], Missing::Refuse)?; // y = 1 + 2a - b
/// let fit = fit_linear(&table, "y", &FitOptions::default())?;
/// assert!((fit.coefficients[0].1 - 2.0).abs() < 1e-9);
/// assert!((fit.intercept - 1.0).abs() < 1e-9);
/// # Ok::<(), hitofude::Error>(())
/// ```
pub fn fit_linear(table: &Table, target: &str, options: &FitOptions) -> Result<LinearFit> {
    LinearProblem::new(table, target, options)?.fit(|_| ())
}

/// A table made ready for a linear fit: features and target checked and scaled.
#[derive(Clone, Debug)]
pub struct LinearProblem {
    options: FitOptions,
    /// Every feature, and its position among those that are trained, which the constant ones are not.
    features: Vec<(String, Option<usize>)>,
    /// One row a sample.
    x: Array2<f64>,
    target: Array1<f64>,
    scaling: Scaling,
    target_scaling: Scaling,
}

impl LinearProblem {
    /// Takes a column as the target and all others as features.
    ///
    /// # Errors
    /// No such column; fewer than two rows; no feature whose values differ; a constant target; numbers that
    /// overflow when they are scaled.
    pub fn new(table: &Table, target: &str, options: &FitOptions) -> Result<LinearProblem> {
        let (y, table) = table.split(target)?;
        if table.rows() < 2 {
            let rows = ["no rows", "one row"][table.rows()];
            return Err(Error::Data(format!("the table has {rows}; fitting a line needs at least two")));
        }
        let varies = |at: &usize| {
            let column = table.values().column(*at);
            column.iter().any(|&x| x != column[0])
        };
        let varying: Vec<usize> = (0..table.names().len()).filter(varies).collect();
        if varying.is_empty() {
            return Err(Error::Data(format!("there is no column beside `{target}` whose values differ")));
        }
        if y.iter().all(|&value| value == y[0]) {
            return Err(Error::Data(format!("column `{target}` is constant: there is nothing to explain")));
        }
        let position = |at: usize| varying.iter().position(|&known| known == at);
        let features =
            table.names().iter().enumerate().map(|(at, name)| (name.clone(), position(at))).collect();
        let (x, y) = (table.select(&varying).values().clone(), y.insert_axis(ndarray::Axis(1)));
        let (scaling, target_scaling) = match options.standardize {
            true => (Scaling::standard(&x), Scaling::standard(&y)),
            false => (Scaling::none(varying.len()), Scaling::none(1)),
        };
        let (x, target) = (scaling.apply(&x), target_scaling.apply(&y).remove_axis(ndarray::Axis(1)));
        if !x.iter().chain(&target).all(|value| value.is_finite()) {
            return Err(Error::Data(
                "the numbers are too large to be standardised; rescale the columns".into(),
            ));
        }
        Ok(LinearProblem { options: options.clone(), features, x, target, scaling, target_scaling })
    }

    /// The training step that fits this problem, for a look at it.
    ///
    /// # Errors
    /// A type that is not of floats.
    pub fn training_step<'g>(&self, graph: &'g Graph) -> Result<TrainingStep<'g>> {
        let (rows, columns) = self.x.dim();
        linear_step(graph, rows, columns, self.options.dtype)
    }

    /// Trains until the gradient is small, and tells how it goes before every step.
    ///
    /// # Errors
    /// Numbers that overflow or vanish.
    pub fn fit(&self, mut progress: impl FnMut(Progress)) -> Result<LinearFit> {
        let mut trainer = Trainer::new(self)?;
        let unit = self.target_scaling.scale[0];
        let (steps, stopped) = trainer.train(&self.options, |now| {
            progress(Progress { loss: now.loss * unit * unit, ..now });
        })?;
        self.solution(&trainer.state, steps, stopped)
    }

    /// Where the time of a training step goes, at the start of training; as [`Executable::profile`].
    ///
    /// # Errors
    /// As [`LinearProblem::fit`]; no steps.
    pub fn profile(&self, steps: u64) -> Result<Profile> {
        let Trainer { step, state, inputs, .. } = Trainer::new(self)?;
        step.profile(&state, &inputs, steps)
    }

    /// The number of coefficients that are trained.
    pub fn columns(&self) -> usize {
        self.x.ncols()
    }

    /// The fit in the table's own units.
    fn solution(&self, state: &State, steps: u64, stopped: Stopped) -> Result<LinearFit> {
        let (weight, bias) = (Array1::from(state.get("weight")?.to_f64()), state.get("bias")?.to_f64()[0]);
        let (unit, origin) = (self.target_scaling.scale[0], self.target_scaling.shift[0]);
        let slopes = &weight * unit / &self.scaling.scale;
        let intercept = bias * unit + origin - (&slopes * &self.scaling.shift).sum();
        let coefficients =
            self.features.iter().map(|(name, at)| (name.clone(), at.map_or(0.0, |at| slopes[at])));
        let coefficients: Vec<(String, f64)> = coefficients.collect();
        let constant =
            self.features.iter().filter(|feature| feature.1.is_none()).map(|feature| feature.0.clone());

        let residual = root_mean_square((&self.target - &(self.x.dot(&weight) + bias)).view());
        let mean = (&self.target / self.target.len() as f64).sum();
        let deviation = root_mean_square((&self.target - mean).view());
        let (r2, mse) = (1.0 - (residual / deviation).powi(2), (residual * unit).powi(2));
        if !slopes.iter().chain([&intercept, &r2, &mse]).all(|number| number.is_finite()) {
            return Err(Error::Data(
                "the fit overflows in the units of the table; rescale the columns".into(),
            ));
        }
        Ok(LinearFit { coefficients, intercept, r2, mse, steps, stopped, constant: constant.collect() })
    }
}

/// Steps without a smaller gradient after which training has stalled. Accelerated descent swings with a period
/// of about the square root of the condition number, which may be thousands.
const PATIENCE: u64 = 10_000;

/// A compiled step with its state and the settings of accelerated descent.
struct Trainer {
    step: Executable,
    state: State,
    inputs: Inputs,
    rate: f64,
}

impl Trainer {
    fn new(problem: &LinearProblem) -> Result<Trainer> {
        let ((rows, columns), dtype) = (problem.x.dim(), problem.options.dtype);
        let graph = Graph::new();
        let step = problem.training_step(&graph)?.compile()?;
        let x = Value::from(&problem.x).cast(dtype);
        let target = Value::from(problem.target.view().insert_axis(ndarray::Axis(1))).cast(dtype);
        let size = problem.x.map_axis(ndarray::Axis(0), root_mean_square).insert_axis(ndarray::Axis(0));
        let rate = 1.0 / largest_curvature(&x, rows, columns, dtype)?;
        let inputs = step.inputs().with("x", x)?.with("target", target)?;
        let inputs = inputs.with("size", Value::from(size).cast(dtype))?;
        Ok(Trainer { state: step.state(), step, inputs, rate })
    }

    fn train(&mut self, options: &FitOptions, mut progress: impl FnMut(Progress)) -> Result<(u64, Stopped)> {
        // What rounding leaves of the gradient, with a margin.
        let tolerance = options.tolerance.unwrap_or(if options.dtype == DType::F32 { 1e-6 } else { 1e-12 });
        self.state.set_number("learning_rate", self.rate)?;
        let (mut momentum, mut initial, mut smallest) = (0u64, None, (f64::INFINITY, 0));
        for step in 0..options.max_steps {
            self.state.set_number("momentum", momentum as f64 / (momentum as f64 + 3.0))?;
            let report = self.step.run(&mut self.state, &self.inputs)?;
            let (loss, length, uphill) =
                (report.loss(), report.number("gradient")?.sqrt(), report.number("uphill")? < 0.0);
            if !loss.is_finite() || !length.is_finite() {
                let message = "the loss overflows; standardise the columns, or train in f64";
                return Err(Error::Data(message.into()));
            }
            let gradient = length / *initial.get_or_insert(if length > 0.0 { length } else { 1.0 });
            progress(Progress { step, loss, gradient });
            if gradient <= tolerance {
                return Ok((step, Stopped::GradientSmall));
            }
            if gradient < smallest.0 {
                smallest = (gradient, step);
            } else if step - smallest.1 > PATIENCE {
                return Ok((step, Stopped::Stalled));
            }
            momentum = if uphill { self.forget_momentum()? } else { momentum + 1 };
        }
        Ok((options.max_steps, Stopped::StepsExhausted))
    }

    fn forget_momentum(&mut self) -> Result<u64> {
        for slot in ["weight.momentum", "bias.momentum"] {
            let zero = self.state.get(slot)?.ty();
            self.state.set(slot, Value::from_elements(zero, []))?;
        }
        Ok(0)
    }
}

/// The largest eigenvalue of the loss's Hessian, and a little more: power iteration from a fixed start.
fn largest_curvature(x: &Value, rows: usize, columns: usize, dtype: DType) -> Result<f64> {
    const ITERATIONS: usize = 64;
    const MARGIN: f64 = 1.05;
    let graph = Graph::new();
    let Model { weight, bias, loss } = Model::build(&graph, rows, columns, dtype);
    let along = [graph.input("dw", [1, columns], dtype), graph.input("db", [1], dtype)];
    let gradients = graph.grad(loss, &[weight, bias])?;
    let slope = (gradients[0] * along[0]).sum(..) + (gradients[1] * along[1]).sum(..);
    let curved = graph.grad(slope, &[weight, bias])?;
    let product = graph.compile(&[("dw", curved[0]), ("db", curved[1])])?;
    let mut state = product.state();
    let mut inputs = product.inputs().with("x", x.clone())?;
    // No symmetry of the data should be orthogonal to the start.
    let mut direction: Array1<f64> = (0..=columns).map(|i| 1.0 + (i as f64 * 0.618_034).fract()).collect();
    let mut eigenvalue = 0.0;
    for _ in 0..ITERATIONS {
        let length = direction.dot(&direction).sqrt();
        if !length.is_normal() {
            break;
        }
        direction /= length;
        let dw = direction.slice(ndarray::s![..columns]).insert_axis(ndarray::Axis(0));
        inputs.set("dw", Value::from(dw).cast(dtype))?;
        inputs.set("db", Value::from(ndarray::array![direction[columns]]).cast(dtype))?;
        let report = product.run(&mut state, &inputs)?;
        let image = [report.output("dw")?.to_f64(), report.output("db")?.to_f64()].concat();
        direction = Array1::from(image);
        eigenvalue = direction.dot(&direction).sqrt();
    }
    if eigenvalue.is_normal() {
        return Ok(eigenvalue * MARGIN);
    }
    Err(Error::Data("the numbers are too large or too small to train on; standardise the columns".into()))
}
