//! Long bodies, which are written once: the last turn has fewer lanes than the others.

use super::{Isa, kernel, run};
use crate::codegen::Cpu;
use crate::loops::Program;
use crate::prelude::*;
use crate::{Options, Scalar};

/// More steps than are written twice, that stay near 1 and make something of nothing.
fn long(x: Tensor<'_>) -> Tensor<'_> {
    (0..20).fold(x, |y, _| (y * 0.5 + x * 0.25 + 0.5).tanh())
}

/// Some values, all of one sign.
fn values(x: Tensor<'_>, sign: f64) -> Value {
    let element = |at: usize| Scalar::from_f64(sign * (0.5 + (at * 37 % 101) as f64 / 60.0), x.dtype());
    Value::from_elements(x.ty(), (0..x.shape().elements()).map(element))
}

fn program(y: Tensor<'_>) -> Program {
    y.graph().function().output("y", y).schedule(&Options::default()).unwrap().program
}

/// Holds compiled results against interpreted ones.
fn check(given: &[(&str, Value)], outputs: &[(&str, Tensor<'_>)]) {
    let g = outputs[0].1.graph();
    let expected = g.interpret(outputs, given).unwrap();
    for cpu in [Cpu::Native, Cpu::WithoutAvx512] {
        let function = outputs.iter().fold(g.function(), |f, (name, y)| f.output(name, *y));
        let compiled = function.compile_with(&Options { cpu, ..Options::default() }).unwrap();
        let inputs = (given.iter())
            .fold(compiled.inputs(), |inputs, (name, value)| inputs.with(name, value.clone()).unwrap());
        let mut state = compiled.state();
        let actual = compiled.run(&mut state, &inputs).unwrap();
        for &(name, y) in outputs {
            let (expected, actual) = (expected[name].to_f64(), actual.output(name).unwrap().to_f64());
            for (at, (e, a)) in expected.iter().zip(&actual).enumerate() {
                let context = format!("{name} {}, element {at}, {cpu:?}: {e} and {a}", y.ty());
                assert!((e - a).abs() <= 1e-5 * e.abs().max(1.0), "{context}");
            }
        }
    }
}

/// Extents of several vectors, the last of which is not full.
const EXTENTS: [usize; 7] = [17, 20, 31, 33, 42, 47, 1000];

/// What follows the last element keeps its value, and the code has one store.
#[test]
fn stores_end_with_the_last_element() {
    for extent in EXTENTS {
        let g = Graph::new();
        let x = g.input("x", [extent], F32);
        let program = program(long(x));
        let given: Vec<f32> = values(x, 1.0).to_f64().iter().map(|&x| x as f32).collect();
        let mut y = vec![-7.0f32; extent + 40];
        run(&program, &given, &mut y);
        assert!(y[..extent].iter().all(|&y| y > 0.0), "{extent}");
        assert!(y[extent..].iter().all(|&y| y == -7.0), "{extent}");
        let listing = kernel(&program, program.kernels().last().unwrap(), Isa::Avx512).unwrap().listing();
        assert_eq!(listing.matches("vmovups [").count(), 1, "{extent}");
        let loads = listing.lines().filter(|line| line.contains("vmovups zmm") && line.contains("[r"));
        let (masked, others): (Vec<&str>, Vec<&str>) = loads.partition(|line| line.contains("}{z}"));
        assert!(masked.len() == 1 && others.is_empty(), "{listing}");
    }
}

#[test]
fn truth_values_end_with_the_last_element() {
    for extent in EXTENTS {
        let g = Graph::new();
        let x = g.input("x", [extent], F32);
        let program = program(long(x).greater(0.0));
        let given: Vec<f32> = values(x, 1.0).to_f64().iter().map(|&x| x as f32).collect();
        let mut y = vec![9u8; extent + 40];
        run(&program, &given, &mut y);
        assert!(y[..extent].iter().all(|&y| y == 1), "{extent}");
        assert!(y[extent..].iter().all(|&y| y == 9), "{extent}");
    }
}

/// Lanes that do not exist are nothing, of which the body makes more than the least and less than the most.
#[test]
fn results_of_all_elements_have_no_others() {
    for (extent, dtype) in EXTENTS.iter().flat_map(|&extent| [(extent, F32), (extent, F64)]) {
        for sign in [1.0, -1.0] {
            let g = Graph::new();
            let x = g.input("x", [3, extent], dtype);
            let y = long(x * 3.0) + x;
            let results = [("sum", y.sum(1)), ("max", y.max(1)), ("min", y.min(1)), ("y", y)];
            results.iter().for_each(|&result| check(&[("x", values(x, sign))], &[result]));
            check(&[("x", values(x, sign))], &results);
            check(&[("x", values(x, sign))], &[("all", y.sum(..)), ("product", (y * 0.01 + 1.0).prod(1))]);
        }
    }
}

#[test]
fn whole_numbers_and_truth_values_agree() {
    for extent in EXTENTS {
        let g = Graph::new();
        let (x, is_chosen) = (g.input("x", [3, extent], I32), g.input("is_chosen", [3, extent], Bool));
        let y = (0..150).fold(x, |y, step| is_chosen.select((y ^ x) * 3.0, y - f64::from(step)));
        let choice = (0..3 * extent).map(|at| Scalar::Bool(at % 3 == 0));
        let given = [("x", values(x, 1e3)), ("is_chosen", Value::from_elements(is_chosen.ty(), choice))];
        let outputs = [("y", y), ("max", y.max(..)), ("sum", y.sum(..)), ("odd", (y & x).equal(0.0))];
        outputs.iter().for_each(|&output| check(&given, &[output]));
        check(&given, &outputs);
    }
}

/// Reductions inside the loop that runs on vectors, before its long body and in it.
#[test]
fn reductions_inside_are_masked_by_the_loop_around() {
    for extent in EXTENTS {
        let g = Graph::new();
        let x = g.input("x", [70, extent], F32);
        let (sum, most) = (x.sum(0) * 0.02, x.max(0));
        let y = long(sum + most);
        check(&[("x", values(x, -1.0))], &[("y", y), ("again", (long(x) * y).sum(0)), ("least", y.min(..))]);
    }
}

/// Guards, elements apart from each other and computed rows.
#[test]
fn elements_from_elsewhere_are_masked() {
    for extent in EXTENTS {
        let g = Graph::new();
        let x = g.input("x", [4, 3 * extent], F32);
        let rows = g.input("rows", [5], I32);
        let padded = x.slice(1, 0..extent - 3).pad(1, 2, 1);
        let apart = [2, 3].map(|step| long(x.slice_step(1, 0..step * extent, step)));
        let counted = g.iota([4, extent], 1, F32) * (1.0 / extent as f64);
        let taken = x.slice(1, 0..extent).take(0, rows);
        let outputs = [
            ("padded", long(padded)),
            ("beside", long(padded + counted).sum(1)),
            ("second", apart[0]),
            ("third", apart[1]),
            ("reverse", long(x).slice(1, 0..extent).reverse(1)),
            ("turned", long(x.slice(1, 0..extent).transpose())),
            ("taken", long(taken)),
        ];
        let row = Value::from_elements(rows.ty(), [3, 0, 2, 2, 1].map(Scalar::I32));
        let given = [("x", values(x, 1.0)), ("rows", row)];
        outputs.iter().for_each(|&output| check(&given, &[output, ("rows", rows)]));
    }
}

/// Elements that lie two apart are stored in pairs of vectors, and so in two copies of the code.
#[test]
fn pairs_end_with_the_last_element() {
    for extent in EXTENTS {
        let g = Graph::new();
        let x = g.input("x", [extent, 1], F32);
        let program = program(long(x).concat(&[x], 1));
        let given: Vec<f32> = values(x, 1.0).to_f64().iter().map(|&x| x as f32).collect();
        let mut y = vec![-7.0f32; 2 * extent + 40];
        run(&program, &given, &mut y);
        assert!((0..extent).all(|at| y[2 * at] > 0.0 && y[2 * at + 1] == given[at]), "{extent}");
        assert!(y[2 * extent..].iter().all(|&y| y == -7.0), "{extent}");
    }
}

/// Threads share rows, and pieces of one loop.
#[test]
fn threads_share_long_bodies() {
    for shape in [[9, 1000], [37, 21], [1, 2000], [1, 2017]] {
        let g = Graph::new();
        let x = g.input("x", shape, F32);
        let y = long(x);
        check(&[("x", values(x, -1.0))], &[("y", y), ("sum", y.sum(1)), ("max", y.max(1))]);
        let mut program = program(y);
        program.each_kernel_mut(|kernel| kernel.is_parallel |= shape[0] > 1);
        let given: Vec<f32> = values(x, 1.0).to_f64().iter().map(|&x| x as f32).collect();
        let count = shape[0] * shape[1];
        let mut y = vec![-7.0f32; count + 40];
        run(&program, &given, &mut y);
        assert!(y[..count].iter().all(|&y| y > 0.0), "{shape:?}");
        assert!(y[count..].iter().all(|&y| y == -7.0), "{shape:?}");
    }
}
