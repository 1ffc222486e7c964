//! Several turns at once: the same bits as one after the other, and one after the other where one needs another's.

use super::{Isa, kernel, run, run_on};
use crate::Scalar;
use crate::codegen::Cpu;
use crate::loops::{
    Access, Affine, Binary, Buffer, BufferId, Combine, Instr, Kernel, LoopVar, Part, Place, Program, Stmt,
    Task, Var,
};
use crate::prelude::*;

/// The steps from an element to a new one: enough to have the next turn wait.
const STEPS: u32 = 40;

fn minuend(step: u32) -> f32 {
    // Few enough to stay in registers.
    0.1 + (step % 8) as f32 / 7.0
}

/// What the steps make of a value.
fn changed(x: f32) -> f32 {
    (0..STEPS).fold(x, |x, step| minuend(step) - x)
}

/// Takes steps from every element of rows to the one so many elements further on, in one buffer. With `sums`, adds the new
/// elements of a row up, behind all rows.
fn chained(rows: usize, columns: usize, offset: usize, sums: bool) -> Program {
    let (row, column) = (Affine::var(LoopVar(0)), Affine::var(LoopVar(1)));
    let at = row.scaled(columns as i64).plus(&column);
    let buffer = BufferId(0);
    let mut body = vec![Stmt::Let { dst: Var(0), instr: Instr::Load(Access { buffer, index: at.clone() }) }];
    for step in 0..STEPS {
        let (minuend_var, before, after) = (Var(2 * step + 1), Var(2 * step), Var(2 * step + 2));
        let constant = Instr::Constant(Scalar::F32(minuend(step)));
        body.push(Stmt::Let { dst: minuend_var, instr: constant });
        body.push(Stmt::Let { dst: after, instr: Instr::Binary(Binary::Sub, minuend_var, before) });
    }
    let value = Var(2 * STEPS);
    let index = at.plus(&Affine::constant(offset as i64));
    body.push(Stmt::Store { access: Access { buffer, index }, value });
    let sum = Var(2 * STEPS + 1);
    let of_a_row = match sums {
        true => {
            let parts = vec![Part { dst: sum, combine: Combine::Sum, value }];
            let index = row.plus(&Affine::constant((rows * columns + offset) as i64));
            let store = Stmt::Store { access: Access { buffer: BufferId(1), index }, value: sum };
            vec![Stmt::Reduce { var: LoopVar(1), body, parts }, store]
        }
        false => vec![Stmt::For { var: LoopVar(1), body }],
    };
    let kernel = Kernel {
        name: "chained".into(),
        repeats: 0,
        extents: vec![rows, columns],
        dtypes: vec![DType::F32; 2 * STEPS as usize + 2],
        body: vec![Stmt::For { var: LoopVar(0), body: of_a_row }],
        sources: vec![],
        is_parallel: false,
    };
    let elements = rows * columns + offset + if sums { rows } else { 0 };
    let place = Place::Output { offset: 0 };
    let buffer = |name: &str| Buffer { name: name.into(), dtype: DType::F32, elements, place, panels: None };
    Program { buffers: vec![buffer("y"), buffer("sums")], tasks: vec![Task::Run(kernel)], arena_bytes: 0 }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at * 37 % 101) as f32 / 9.0 - 5.0).collect()
}

/// How many elements are read before the first is written, in the code of a loop over single vectors.
fn read_at_once(program: &Program) -> usize {
    let listing = kernel(program, program.kernels()[0], Isa::Avx512).unwrap().listing();
    let looped = listing.split_once("loop0:\n").unwrap().1;
    let is_store = |line: &&str| line.trim().starts_with("vmovups [");
    looped.lines().take_while(|line| !is_store(line)).filter(|line| line.contains(", [r")).count()
}

/// Rows that are not a multiple of those at once, and columns that do not fill vectors.
#[test]
fn updates_in_place_have_the_same_bits() {
    for rows in (1..=9).chain([33]) {
        for columns in [16, 21, 37, 85] {
            let mut y = numbers(rows * columns);
            let expected: Vec<f32> = y.iter().map(|&y| changed(y)).collect();
            run(&chained(rows, columns, 0, false), &[], &mut y);
            assert_eq!(y, expected, "{rows} rows of {columns}");
        }
    }
    assert!(read_at_once(&chained(33, 16, 0, false)) > 1);
}

/// Groups of rows are shared out, where they leave none over.
#[test]
fn threads_share_groups_of_rows() {
    for rows in [2, 3, 4, 5, 6, 7, 36, 37] {
        for columns in [16, 21] {
            let mut program = chained(rows, columns, 0, false);
            program.each_kernel_mut(|kernel| kernel.is_parallel = true);
            let mut y = numbers(rows * columns);
            let expected: Vec<f32> = y.iter().map(|&y| changed(y)).collect();
            let group = kernel(&program, program.kernels()[0], Isa::Avx512).unwrap().group;
            assert_eq!(rows % group, 0);
            assert_eq!(group > 1, rows % 2 == 0 || rows % 3 == 0, "{rows} rows of {columns} by {group}");
            run(&program, &[], &mut y);
            assert_eq!(y, expected, "{rows} rows of {columns}");
        }
    }
}

/// What a turn reads, one before has written: rows, and vectors of a row.
#[test]
fn dependent_turns_run_in_order() {
    for (rows, columns, offset) in
        [(33, 16, 16), (33, 16, 32), (32, 16, 48), (9, 21, 21), (1, 160, 16), (1, 165, 32), (1, 165, 48)]
    {
        let mut y = numbers(rows * columns + offset);
        let mut expected = y.clone();
        for at in 0..rows * columns {
            expected[at + offset] = changed(expected[at]);
        }
        run(&chained(rows, columns, offset, false), &[], &mut y);
        assert_eq!(y, expected, "{rows} rows of {columns}, to {offset} elements further on");
    }
    assert_eq!(read_at_once(&chained(33, 16, 16, false)), 1);
}

/// Sums of what is stored, too: the turns are at once, but add what they have in their order.
#[test]
fn sums_keep_their_order() {
    let cpus = [Cpu::Native, Cpu::WithoutAvx512];
    let lanes = cpus.into_iter().filter_map(|cpu| Isa::of(cpu).map(|isa| (cpu, isa.bytes() / 4)));
    let shapes = [(1, 16 * 9 + 5), (3, 16 * 8), (5, 16 * 7 + 1), (7, 50), (4, 20)];
    for ((cpu, lanes), (rows, columns)) in lanes.flat_map(|lanes| shapes.map(|shape| (lanes, shape))) {
        let mut y = numbers(rows * columns + rows);
        let mut expected = y.clone();
        for row in 0..rows {
            let mut sums = vec![0.0f32; lanes];
            for column in 0..columns {
                let at = row * columns + column;
                expected[at] = changed(expected[at]);
                sums[column % lanes] += expected[at];
            }
            while sums.len() > 1 {
                let upper = sums.split_off(sums.len() / 2);
                sums.iter_mut().zip(upper).for_each(|(sum, upper)| *sum += upper);
            }
            expected[rows * columns + row] = sums[0];
        }
        run_on(cpu, &chained(rows, columns, 0, true), &[], &mut y);
        assert_eq!(y, expected, "{rows} rows of {columns} in {lanes} lanes");
    }
}

/// A row has the bits that it has alone, however many there are and wherever it stands.
#[test]
fn rows_do_not_depend_on_their_number() {
    let softmax = |first: usize, rows: usize, columns: usize| {
        let g = Graph::new();
        let x = g.input("x", [rows, columns], F32);
        let compiled = g.compile(&[("y", x.softmax(1) * x)]).unwrap();
        let elements = numbers(40 * columns).into_iter().skip(first * columns).take(rows * columns);
        let x = Value::from_elements(x.ty(), elements.map(Scalar::F32));
        let inputs = compiled.inputs().with("x", x).unwrap();
        compiled.run(&mut compiled.state(), &inputs).unwrap().output("y").unwrap().to_f64()
    };
    for columns in [32, 35, 64, 70] {
        let alone: Vec<f64> = (0..40).flat_map(|row| softmax(row, 1, columns)).collect();
        for rows in (2..=9).chain([40]) {
            assert_eq!(softmax(0, rows, columns), alone[..rows * columns], "{rows} rows of {columns}");
        }
    }
}

/// Turns that run at once have partial results of their own, on lanes that do not fill a vector too.
#[test]
fn turns_at_once_add_to_results_of_their_own() {
    for (rows, columns) in (1..14).flat_map(|rows| [5, 16, 19].map(|columns| (rows, columns))) {
        let g = Graph::new();
        let x = g.input("x", [rows, columns], F32);
        let y = (x * 0.1).tanh().tanh();
        let values = Value::from_elements(x.ty(), numbers(rows * columns).into_iter().map(Scalar::F32));
        for output in [("least", y.min(0)), ("most", y.max(0)), ("sum", y.sum(0))] {
            let expected = g.interpret(&[output], &[("x", values.clone())]).unwrap()[output.0].to_f64();
            let compiled = g.compile(&[output]).unwrap();
            let inputs = compiled.inputs().with("x", values.clone()).unwrap();
            let mut state = compiled.state();
            let actual = compiled.run(&mut state, &inputs).unwrap().output(output.0).unwrap().to_f64();
            let apart = expected.iter().zip(actual).map(|(e, a)| (e - a).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-6, "{} of {rows} rows of {columns}", output.0);
        }
    }
}
