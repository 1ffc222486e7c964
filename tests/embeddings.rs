//! Tables of which a step looks up few rows: what becomes of them is what the interpreter says, on every kind of processor,
//! and plain descent touches no others.

use std::collections::BTreeMap;

use hitofude::prelude::*;
use hitofude::{Cpu, Options, Scalar, Shape, TensorType};

/// Positions among so many rows: some several times, some beyond either end.
fn positions(ty: TensorType, rows: usize) -> Value {
    let position = |at: usize| match at % 7 {
        3 => -2.0,
        5 => rows as f64 + 4.0,
        _ => (at * at % 11 * rows / 11) as f64,
    };
    Value::from_elements(ty, (0..ty.shape.elements()).map(|at| Scalar::from_f64(position(at), ty.dtype)))
}

fn numbers(ty: TensorType, salt: usize) -> Value {
    let number = |at: usize| ((at * 37 + salt * 11) % 23) as f64 / 11.5 - 1.0;
    Value::from_elements(ty, (0..ty.shape.elements()).map(|at| Scalar::from_f64(number(at), ty.dtype)))
}

/// Runs four steps and holds the state against the interpreter's after each. Returns whether any loop writes rows by number.
fn check(step: &TrainingStep<'_>, rows: usize) -> bool {
    let reference = step.function().unwrap().graph().unwrap();
    for cpu in [Cpu::Native, Cpu::WithoutAvx512, Cpu::Baseline] {
        let compiled = step.compile_with(&Options { cpu, ..Options::default() }).unwrap();
        let (mut state, mut inputs, mut values) = (compiled.state(), compiled.inputs(), BTreeMap::new());
        for (salt, input) in inputs.signature().into_iter().enumerate() {
            let is_float = input.ty.dtype.is_float();
            let value = if is_float { numbers(input.ty, salt) } else { positions(input.ty, rows) };
            inputs.set(&input.name, value.clone()).unwrap();
            values.insert(input.name.to_string(), value);
        }
        for (salt, entry) in state.signature().into_iter().enumerate() {
            if entry.ty.shape.rank() > 0 && !entry.name.as_str().contains('.') {
                state.set(&entry.name, numbers(entry.ty, salt + 5)).unwrap();
            }
            values.insert(entry.name.to_string(), state.get(&entry.name).unwrap());
        }
        for number in 0..4 {
            reference.interpret_results(&mut values).unwrap();
            compiled.run(&mut state, &inputs).unwrap();
            for entry in state.signature() {
                let (expected, actual) =
                    (values[entry.name.as_str()].to_f64(), state.get(&entry.name).unwrap().to_f64());
                let tolerance = if entry.ty.dtype == F64 { 1e-13 } else { 1e-5 };
                for (at, (e, a)) in expected.iter().zip(&actual).enumerate() {
                    let context =
                        format!("{} {} [{at}], step {number}, {cpu:?}: {e} and {a}", entry.name, entry.ty);
                    assert!((e - a).abs() <= tolerance * e.abs().max(1.0), "{context}");
                }
            }
        }
    }
    // Rows picked at run time are set to zero, instead of the whole table.
    let text = step.schedule().unwrap().program.to_string();
    text.lines().any(|line| line.trim_start().starts_with("store") && line.contains("(below"))
}

/// A step that learns from the rows that are looked up at some places.
fn step<'g>(
    g: &'g Graph,
    [rows, width]: [usize; 2],
    places: impl Into<Shape>,
    [floats, integers]: [DType; 2],
    optimizer: impl Optimizer + 'g,
) -> TrainingStep<'g> {
    let words = g.parameter("table", [rows, width], floats).embedding(g.input("words", places, integers));
    g.training_step((words * words - words).sum(..), optimizer).unwrap()
}

#[test]
fn plain_descent_touches_the_rows_it_looked_up() {
    for (table, places) in [
        ([200, 16], Shape::from([9])),
        ([200, 16], [4, 3].into()),
        ([300, 7], [20].into()),
        ([97, 33], [5].into()),
        ([64, 1], [6].into()),
        ([5000, 1], [1].into()),
        ([40, 64], [1].into()),
    ] {
        for dtypes in [[F32, I32], [F32, I64], [F64, I32], [F64, I64]] {
            let g = Graph::new();
            assert!(check(&step(&g, table, places, dtypes, Sgd::new(0.1)), table[0]), "{table:?} {dtypes:?}");
        }
    }
}

/// Each table's gradient reads the other table's old rows.
#[test]
fn two_tables_learn_from_each_other() {
    let g = Graph::new();
    let (words, contexts) = (g.parameter("words", [300, 20], F32), g.parameter("contexts", [300, 20], F32));
    let word = words.embedding(g.input("word", [8], I32)).reshape([8, 1, 20]);
    let context = contexts.embedding(g.input("context", [8, 3], I32));
    let loss = (word * context).sum(2).softplus().mean(..);
    assert!(check(&g.training_step(loss, Sgd::new(0.5)).unwrap(), 300));
}

#[test]
fn other_axes_and_samples_of_their_own_are_picked_from_too() {
    let g = Graph::new();
    let columns = g.parameter("table", [6, 200], F32).take(1, g.input("words", [9], I32));
    assert!(check(&g.training_step((columns * columns).sum(..), Sgd::new(0.1)).unwrap(), 200));
    let g = Graph::new();
    let words = g.input("words", [3, 5], I32);
    let along = g.parameter("table", [3, 90], F32).take_along_axis(1, words);
    assert!(check(&g.training_step((along * along).sum(..), Sgd::new(0.1)).unwrap(), 90));
}

/// Whatever changes all rows does: moments, weight decay, a gradient that is reported, a table that is also multiplied with,
/// as many places as rows.
#[test]
fn other_updates_change_all_rows() {
    let (table, places, dtypes) = ([200, 16], [9], [F32, I32]);
    let g = Graph::new();
    assert!(!check(&step(&g, table, places, dtypes, Sgd::new(0.1).momentum(0.9)), 200));
    let g = Graph::new();
    assert!(!check(&step(&g, table, places, dtypes, Sgd::new(0.1).weight_decay(0.01)), 200));
    let g = Graph::new();
    assert!(!check(&step(&g, table, places, dtypes, Adam::new(0.1)), 200));
    let g = Graph::new();
    assert!(!check(&step(&g, table, [200], dtypes, Sgd::new(0.01)), 200));
    let g = Graph::new();
    let shared = g.parameter("table", [200, 16], F32);
    let words = shared.embedding(g.input("words", [9], I32));
    let loss = words.matmul(shared.transpose()).tanh().sum(..);
    assert!(!check(&g.training_step(loss, Sgd::new(0.01)).unwrap(), 200));
    let g = Graph::new();
    let table = g.parameter("table", [200, 16], F32);
    let loss = table.embedding(g.input("words", [9], I32)).square().sum(..);
    let gradient = g.grad(loss, &[table]).unwrap()[0];
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap().output("gradient", gradient);
    assert!(!check(&step, 200));
}

/// The rows are looked up again for the update, when some of the table has changed.
#[test]
fn a_table_may_say_which_rows_are_looked_up() {
    let g = Graph::new();
    let table = g.parameter("table", [200, 16], F32);
    let words = (table.slice(0, 0..9).slice(1, 2..3).reshape([9]).abs() * 9.0).cast(I32);
    let loss = table.embedding(words).square().sum(..);
    check(&g.training_step(loss, Sgd::new(0.3)).unwrap(), 200);
}
