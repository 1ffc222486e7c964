//! What models become: properties of graphs and schedules that their speed hangs on.

use hitofude::loops::{Instr, Kernel, LoopVar, Stmt, Unary};
use hitofude::nn::Conv;
use hitofude::prelude::*;
use hitofude::{Options, TrainingStep};

/// Holds every statement of the step's kernels against a rule.
fn assert_no_statement(step: &TrainingStep<'_>, broken: fn(&Stmt) -> bool) {
    let program = step.schedule().unwrap().program;
    let mut kernels: Vec<&Kernel> = Vec::new();
    program.tasks.iter().for_each(|task| task.kernels(&mut kernels));
    for stmt in kernels.iter().flat_map(|kernel| &kernel.body) {
        stmt.each(&mut |stmt| assert!(!broken(stmt), "{program}"));
    }
}

fn has_loops(stmt: &Stmt) -> bool {
    stmt.inner().iter().any(Stmt::is_loop)
}

/// Whether a loop has the function in its own body.
fn has_function(stmt: &Stmt, f: Unary) -> bool {
    let is_it = |stmt: &Stmt| matches!(stmt, Stmt::Let { instr: Instr::Unary(g, _), .. } if *g == f);
    stmt.inner().iter().any(is_it)
}

/// Columns run on vectors, each with a loop over its rows, which a loop that sums over the columns would not do.
#[test]
fn a_sum_does_not_join_reductions_of_columns() {
    let g = Graph::new();
    let x = g.parameter("w", [300, 200], F32) * g.input("x", [300, 200], F32);
    let step = g.training_step(x.max(0).square().mean(..), Sgd::new(0.1)).unwrap();
    assert_no_statement(&step, |stmt| matches!(stmt, Stmt::Reduce { .. }) && has_loops(stmt));
}

/// An exponential a row costs as much as one a vector of rows.
#[test]
fn functions_of_short_rows_are_loops_of_their_own() {
    let g = Graph::new();
    let z = g.input("x", [1000, 20], F32).matmul(g.parameter("w", [20], F32));
    let loss = z.bce_with_logits(g.input("y", [1000], F32));
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap();
    assert_no_statement(&step, |stmt| has_loops(stmt) && has_function(stmt, Unary::Exp));
}

/// Layers on a single sample: a dot product a neuron, and functions of many of them at once.
#[test]
fn functions_of_short_sums_are_loops_of_their_own() {
    let g = Graph::new();
    let hidden = g.input("x", [1, 30], F32).matmul(g.parameter("v", [33, 30], F32).transpose()).tanh();
    let loss = hidden.matmul(g.parameter("w", [33, 33], F32).transpose()).tanh().mean(..);
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap();
    assert_no_statement(&step, |stmt| has_loops(stmt) && has_function(stmt, Unary::Tanh));
}

/// Each factor's update reads the other: one is added to in place, the other once both products are there.
#[test]
fn factors_of_a_matrix_are_updated_by_contractions() {
    let g = Graph::new();
    let (u, v) = (g.parameter("u", [64, 32], F32), g.parameter("v", [32, 48], F32));
    let loss = u.matmul(v).mse_loss(g.input("x", [64, 48], F32));
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap();
    assert_no_statement(&step, |stmt| matches!(stmt, Stmt::Reduce { .. }) && has_loops(stmt));
    let program = step.schedule().unwrap().program.to_string();
    assert_eq!(program.matches("contract").count(), 3, "{program}");
    assert!(!program.contains("commit"), "{program}");
}

/// The logarithm of a softmax's sum is little beside the exponentials of its row.
#[test]
fn a_softmax_and_its_loss_are_one_kernel() {
    let g = Graph::new();
    let loss = g.parameter("z", [64, 10], F32).cross_entropy(g.input("y", [64], I32));
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap();
    assert_eq!(step.compile().unwrap().compile_report().kernels, 1);
}

/// Several sums of the same rows or columns read them once.
#[test]
fn sums_beside_each_other_are_one_loop() {
    for axis in [0, 1] {
        let g = Graph::new();
        let x = g.input("x", [300, 200], F32);
        let y = x.sum(axis) / (x * x).sum(axis) + x.max(axis) - x.min(axis);
        let program = g.function().output("y", y).schedule(&Options::default()).unwrap().program;
        let mut sums = Vec::new();
        let mut collect = |stmt: &Stmt| {
            if let Stmt::Reduce { parts, .. } = stmt {
                sums.push(parts.len());
            }
        };
        program
            .kernels()
            .into_iter()
            .flat_map(|kernel| &kernel.body)
            .for_each(|stmt| stmt.each(&mut collect));
        assert!(!sums.is_empty() && sums.iter().all(|&parts| parts == 4), "{program}");
    }
}

/// The factor of a mean does not keep the gradient of a convolution from being a convolution.
#[test]
fn the_gradient_of_a_convolution_folds_nothing() {
    let g = Graph::new();
    let x = g.input("x", [2, 3, 8, 8], F32);
    let a = x.conv2d(g.parameter("a", [4, 3, 3, 3], F32), None, Conv::new().padding(1));
    let b = a.conv2d(g.parameter("b", [4, 4, 3, 3], F32), None, Conv::new().padding(1));
    let c = b.conv2d(g.parameter("c", [4, 4, 3, 3], F32), None, Conv::new().stride(2).padding(1));
    let loss = c.mse_loss(g.input("y", [2, 4, 4, 4], F32));
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap();
    let graph = step.function().unwrap().optimised(&Options::default()).unwrap().to_string();
    assert!(!graph.contains("fold["), "{graph}");
}

/// The places of a transposed convolution's windows lie between its positions: vectors of positions are written by the
/// contraction, and put in between by who reads them.
#[test]
fn contractions_write_runs() {
    let g = Graph::new();
    let x = g.input("x", [2, 8, 6, 40], F32);
    let y = x.conv_transpose2d(g.parameter("w", [8, 4, 2, 2], F32), None, Conv::new().stride(2), 0);
    let program = g.function().output("y", y.relu()).schedule(&Options::default()).unwrap().program;
    let mut runs = Vec::new();
    for kernel in program.kernels() {
        kernel.body.iter().for_each(|stmt| {
            stmt.each(&mut |stmt| {
                if let Stmt::Contract(contraction) = stmt {
                    let is_beside = |var: &LoopVar| contraction.out.index.coefficient(*var) == 1;
                    runs.extend(contraction.vars().find(is_beside).map(|var| kernel.extents[var.index()]));
                }
            });
        });
    }
    assert_eq!(runs, [40], "{program}");
}
