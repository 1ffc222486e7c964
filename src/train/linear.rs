//! Least squares by gradient descent: a linear model fitted to a table, without a rate to choose.
//!
//! The rate is 1/λ, with λ the largest curvature of the loss, found by power iteration on a compiled
//! Hessian-vector product. Nesterov's momentum grows as k/(k+3) and starts anew whenever it points uphill
//! (O'Donoghue & Candès, "Adaptive restart for accelerated gradient schemes", 2015).

use ndarray::{Array1, Array2};

use super::TrainingStep;
use crate::data::{Scaling, Table};
use crate::error::{Error, Result};
use crate::ops::{Graph, Tensor};
use crate::optim::Sgd;
use crate::runtime::{Executable, Inputs, State};
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
/// `gradient`, the squared length of the gradient, and `uphill`, negative when momentum points uphill.
///
/// # Errors
/// A type that is not of floats; more elements than memory can address.
pub fn linear_step(graph: &Graph, rows: usize, columns: usize, dtype: DType) -> Result<TrainingStep<'_>> {
    let Model { weight, bias, loss } = Model::build(graph, rows, columns, dtype);
    let gradients = graph.grad(loss, &[weight, bias])?;
    let factor = loss.setting("momentum", 0.0);
    let mut terms = [weight, bias].into_iter().zip(gradients).map(|(parameter, gradient)| {
        let velocity = factor * parameter.slot("momentum", 0.0) + gradient;
        (gradient.square().sum(..), (gradient * velocity).sum(..))
    });
    let (Some(first), Some(second)) = (terms.next(), terms.next()) else {
        return Err(Error::NothingToTrain);
    };
    let (gradient, uphill) = (first.0 + second.0, first.1 + second.1);
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
/// No such column; fewer than two rows; no feature; a target without variation; numbers that overflow.
///
/// ```
/// use hitofude::data::{Missing, Table};
/// use hitofude::train::{FitOptions, fit_linear};
/// let table = Table::parse_csv("a,b,y\n1,0,3\n2,1,4\n3,5,1\n4,1,8\n", &[], Missing::Refuse)?; // y = 1 + 2a - b
/// let fit = fit_linear(&table, "y", &FitOptions::default(), |_| ())?;
/// assert!((fit.coefficients[0].1 - 2.0).abs() < 1e-9);
/// assert!((fit.intercept - 1.0).abs() < 1e-9);
/// # Ok::<(), hitofude::Error>(())
/// ```
pub fn fit_linear(
    table: &Table,
    target: &str,
    options: &FitOptions,
    mut progress: impl FnMut(Progress),
) -> Result<LinearFit> {
    let problem = Problem::new(table, target, options)?;
    let mut trainer = Trainer::new(&problem, options)?;
    let (steps, stopped) = trainer.train(options, |mut now| {
        now.loss *= problem.target_scale * problem.target_scale;
        progress(now);
    })?;
    problem.solution(table, target, &trainer.state, steps, stopped)
}

/// Steps without a smaller gradient after which training has stalled. Accelerated descent swings with a period
/// of about the square root of the condition number, which may be thousands.
const PATIENCE: u64 = 10_000;

/// The table as the training sees it.
struct Problem {
    names: Vec<String>,
    constant: Vec<String>,
    x: Array2<f64>,
    target: Array1<f64>,
    scaling: Scaling,
    target_shift: f64,
    target_scale: f64,
}

impl Problem {
    fn new(table: &Table, target: &str, options: &FitOptions) -> Result<Problem> {
        let (y, features) = table.split(target)?;
        if table.rows() < 2 {
            let rows = table.rows();
            return Err(Error::Data(format!("the table has {rows} rows; fitting a line needs at least two")));
        }
        let is_constant = |at: &usize| {
            let column = features.values().column(*at);
            column.iter().all(|&x| x == column[0])
        };
        let (fixed, varying): (Vec<usize>, Vec<usize>) = (0..features.names().len()).partition(is_constant);
        if varying.is_empty() {
            return Err(Error::Data(format!("there is no column beside `{target}` whose values differ")));
        }
        if y.iter().all(|&value| value == y[0]) {
            return Err(Error::Data(format!("column `{target}` is constant: there is nothing to explain")));
        }
        let constant = fixed.iter().map(|&at| features.names()[at].clone()).collect();
        let features = features.select(&varying);
        let column = y.clone().insert_axis(ndarray::Axis(1));
        let (scaling, of_target) = match options.standardize {
            true => (Scaling::standard(features.values()), Scaling::standard(&column)),
            false => (Scaling::none(varying.len()), Scaling::none(1)),
        };
        let x = scaling.apply(features.values());
        let scaled = of_target.apply(&column).remove_axis(ndarray::Axis(1));
        if !x.iter().chain(&scaled).all(|value| value.is_finite()) {
            return Err(Error::Data(
                "the numbers are too large to be standardised; rescale the columns".into(),
            ));
        }
        let (target_shift, target_scale) = (of_target.shift[0], of_target.scale[0]);
        Ok(Problem {
            names: features.names().to_vec(),
            constant,
            x,
            target: scaled,
            scaling,
            target_shift,
            target_scale,
        })
    }

    /// The fit in the table's own units.
    fn solution(
        &self,
        table: &Table,
        target: &str,
        state: &State,
        steps: u64,
        stopped: Stopped,
    ) -> Result<LinearFit> {
        let weight = Array1::from(state.get("weight")?.to_f64()) * self.target_scale / &self.scaling.scale;
        let bias = state.get("bias")?.to_f64()[0] * self.target_scale + self.target_shift;
        let intercept = bias - (&weight * &self.scaling.shift).sum();
        let slope = |name: &String| {
            let at = self.names.iter().position(|known| known == name);
            at.map_or(0.0, |at| weight[at])
        };
        let (y, features) = table.split(target)?;
        let coefficients: Vec<(String, f64)> =
            features.names().iter().map(|name| (name.clone(), slope(name))).collect();
        let slopes: Array1<f64> = coefficients.iter().map(|coefficient| coefficient.1).collect();
        let residual = &y - &(features.values().dot(&slopes) + intercept);
        let mse = residual.mapv(|r| r * r).mean().unwrap_or(0.0);
        let mean = y.mean().unwrap_or(0.0);
        let variance = y.mapv(|value| (value - mean) * (value - mean)).mean().unwrap_or(0.0);
        let r2 = 1.0 - mse / variance;
        Ok(LinearFit { coefficients, intercept, r2, mse, steps, stopped, constant: self.constant.clone() })
    }
}

/// A compiled step with its state and the settings of accelerated descent.
struct Trainer {
    step: Executable,
    state: State,
    inputs: Inputs,
    rate: f64,
}

impl Trainer {
    fn new(problem: &Problem, options: &FitOptions) -> Result<Trainer> {
        let (rows, columns) = problem.x.dim();
        let graph = Graph::new();
        let step = linear_step(&graph, rows, columns, options.dtype)?.compile()?;
        let x = Value::from(&problem.x).cast(options.dtype);
        let target = Value::from(problem.target.view().insert_axis(ndarray::Axis(1))).cast(options.dtype);
        let rate = 1.0 / largest_curvature(&x, rows, columns, options.dtype)?;
        let inputs = step.inputs().with("x", x)?.with("target", target)?;
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
            if !loss.is_finite() {
                let message = "the loss overflowed; standardise the columns, or train in f64";
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
