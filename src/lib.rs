//! **Hitofude** (一筆, "one stroke of the brush"): write a model once, and its forward pass, loss, gradient and
//! parameter update come out as one fused native function.
//!
//! ```
//! use hitofude::prelude::*;
//!
//! let g = Graph::new();
//! let x = g.input("x", [3], F32);
//! let target = g.input("target", [1], F32);
//! let weight = g.parameter("weight", [1, 3], F32);
//! let bias = g.parameter("bias", [1], F32);
//! let output = x.linear(weight, bias);
//! let loss = output.mse_loss(target);
//! let step = g.training_step(loss, Sgd::new(0.01))?.output("output", output).compile()?;
//!
//! let mut state = step.state(); // parameters and settings, owned by the caller
//! state.set("weight", array![[0.4f32, 0.5, 0.6]])?;
//! state.set("bias", array![0.1f32])?;
//! let inputs = step.inputs().with("x", array![0.1f32, 0.2, 0.3])?.with("target", array![1.0f32])?;
//! for _ in 0..1000 {
//!     let report = step.run(&mut state, &inputs)?;
//!     assert!(report.loss() < 0.34);
//! }
//! assert!((state.view::<f32>("bias")?[0] - 0.608771).abs() < 1e-6);
//! # Ok::<(), Error>(())
//! ```
//!
//! # The way through the house
//!
//! Data goes down one floor at a time. Each stage is a plain value with a text form.
//!
//! | stage | from → to | module |
//! | --- | --- | --- |
//! | expression | Rust expressions → nodes of a hash-consed DAG | [`ops`], [`graph`] |
//! | derivation | the gradient as further nodes | [`transform`] |
//! | simplification | a table of rewrite rules, to a fixed point | [`transform`] |
//! | schedule | nodes → fused kernels, buffers, an order | [`schedule`] |
//! | loops | kernels as nested loops over scalars | [`loops`] |
//! | code | loops → Cranelift IR → machine code | `codegen` |
//! | call | the safe call of the code on the caller's memory | [`Executable`], [`State`], [`Inputs`] |
//!
//! Beside it stands [`Graph::interpret`], the reference that every compiled result can be held against.
//!
//! # Nouns
//!
//! A [`Graph`] is built through [`Tensor`]s; a [`TrainingStep`] or a [`Function`] says what to compute of it; compiled,
//! it is an [`Executable`], which works on a [`State`] and [`Inputs`] and gives a [`Report`], and can tell where its time
//! goes ([`Profile`]).
mod codegen;
pub mod compile;
pub mod data;
pub mod dump;
pub mod error;
pub mod graph;
mod interpret;
mod io;
pub mod loops;
pub mod nn;
pub mod ops;
pub mod optim;
mod runtime;
pub mod schedule;
pub mod train;
pub mod transform;
pub mod types;

pub use compile::{Cache, Cpu, FastMath, Function, Listing, Options, Verification};
pub use error::{Error, Result};
pub use ops::{Graph, Tensor};
pub use runtime::{
    CompileReport, Executable, Found, Inputs, Profile, Report, Signature, Source, State, TaskProfile, Work,
};
pub use train::TrainingStep;
pub use types::{DType, Element, Scalar, Shape, TensorType, Value};

/// What most programs need.
pub mod prelude {
    pub use ndarray::{Array1, Array2, array};

    pub use crate::ops::{Order, keep};
    pub use crate::optim::{Adam, Optimizer, Sgd};
    pub use crate::types::DType::{self, Bool, F32, F64, I32, I64};
    pub use crate::types::{Scalar, Shape, Value};
    pub use crate::{
        Error, Executable, Function, Graph, Inputs, Report, Result, State, Tensor, TrainingStep,
    };
}
