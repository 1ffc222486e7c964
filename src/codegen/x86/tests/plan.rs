//! Which loops run on vectors.

use super::{Isa, kernel};
use crate::Options;
use crate::codegen::x86::plan;
use crate::loops::{Access, Affine, Binary, BufferId, Combine, Instr, Kernel, LoopVar, Part, Stmt, Var};
use crate::prelude::*;

/// A sum across the order of memory reads blocks, and transposes them in registers.
#[test]
fn sums_of_sums_read_blocks() {
    let g = Graph::new();
    let x = g.input("x", [64, 64], F32);
    let program = g.function().output("y", (x * x.transpose()).sum(..)).schedule(&Options::default());
    let program = program.unwrap().program;
    for isa in [Isa::Avx512, Isa::Avx2] {
        let listing = kernel(&program, program.kernels()[0], isa).unwrap().listing();
        assert!(listing.contains("vunpcklps"), "{listing}");
    }
}

/// `y[a, b] = Σₖ x[b, k, a]²`: no block is read inside a sum that is no sum of sums, and lanes that lie apart cost more than
/// scalars.
#[test]
fn sums_in_loops_read_no_blocks() {
    let [a, b, k] = [0, 1, 2].map(LoopVar);
    let index = |terms: &[(LoopVar, i64)]| {
        terms.iter().fold(Affine::constant(0), |sum, &(var, step)| sum.plus(&Affine::var(var).scaled(step)))
    };
    let read = Access { buffer: BufferId(0), index: index(&[(b, 4 * 64), (k, 64), (a, 1)]) };
    let written = Access { buffer: BufferId(1), index: index(&[(a, 64), (b, 1)]) };
    let sum = Stmt::Reduce {
        var: k,
        body: vec![
            Stmt::Let { dst: Var(0), instr: Instr::Load(read) },
            Stmt::Let { dst: Var(1), instr: Instr::Binary(Binary::Mul, Var(0), Var(0)) },
        ],
        parts: vec![Part { dst: Var(2), combine: Combine::Sum, value: Var(1) }],
    };
    let inner = Stmt::For { var: b, body: vec![sum, Stmt::Store { access: written, value: Var(2) }] };
    let kernel = Kernel {
        name: "sums".into(),
        repeats: 0,
        extents: vec![64, 64, 4],
        dtypes: vec![DType::F32; 3],
        body: vec![Stmt::For { var: a, body: vec![inner] }],
        sources: vec![],
        is_parallel: false,
    };
    assert!(plan::plan(&kernel, Isa::Avx2, 8).vectors.is_empty());
}
