//! Rows that fill no vector: as many at a time as there are lanes.

use super::{Isa, kernel};
use crate::Options;
use crate::prelude::*;

/// The listing of the kernel that has the result.
fn listing(rows: usize, columns: usize, f: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> String {
    listing_for(Isa::Avx512, rows, columns, f)
}

fn listing_for(
    isa: Isa,
    rows: usize,
    columns: usize,
    f: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>,
) -> String {
    let g = Graph::new();
    let y = f(g.input("x", [rows, columns], F32));
    let program = g.function().output("y", y).schedule(&Options::default()).unwrap().program;
    kernel(&program, program.kernels()[0], isa).unwrap().listing()
}

/// How often the listing has a text.
fn count(listing: &str, text: &str) -> usize {
    listing.matches(text).count()
}

#[test]
fn lanes_are_rows() {
    let listing = listing(1600, 10, |x| x.sum(1));
    // Sixteen rows are read, and nine sums added: no lanes are combined.
    assert_eq!(count(&listing, "{z}, [r"), 16, "{listing}");
    assert_eq!(count(&listing, "vaddps"), 9, "{listing}");
    assert_eq!(count(&listing, "[rsp"), 0, "{listing}");
}

#[test]
fn rows_that_are_left_over_are_taken_one_by_one() {
    let [whole, more] = [1600, 1606].map(|rows| listing(rows, 10, |x| x.sum(1)));
    assert_eq!(count(&more, "vunpcklps"), count(&whole, "vunpcklps"), "{more}");
    assert!(count(&more, "vaddps") > count(&whole, "vaddps"), "{more}");
}

/// What is stored only to be loaded again stays in registers.
#[test]
fn a_softmax_is_stored_once() {
    let listing = listing(64, 10, |x| x.softmax(1));
    assert_eq!(count(&listing, "{z}, [r"), 16, "{listing}");
    assert_eq!(count(&listing, "vmovups [r"), 16, "{listing}");
}

/// Rows of up to two narrow vectors are two blocks, the second of which needs no mask if it has one, two or four columns.
#[test]
fn narrow_vectors_take_rows_of_two_blocks() {
    let listing = |columns| listing_for(Isa::Avx2, 64, columns, |x| x.softmax(1));
    for columns in [9, 10, 12] {
        let listing = listing(columns);
        let counts = (count(&listing, "vunpcklps") > 0, count(&listing, "vmaskmov"));
        assert_eq!(counts, (true, 0), "{columns} columns\n{listing}");
    }
    assert_eq!(count(&listing(17), "vunpcklps"), 0);
}

/// Without sums, and with none to spare where rows fill vectors themselves, lanes are columns.
#[test]
fn other_rows_stay_as_they_are() {
    assert_eq!(count(&listing(64, 10, |x| x * 2.0), "vunpcklps"), 0);
    assert_eq!(count(&listing(64, 16, |x| x - x.mean(1).unsqueeze(1)), "vunpcklps"), 0);
    assert_eq!(count(&listing(64, 17, |x| x.sum(1)), "vunpcklps"), 0);
    assert_eq!(count(&listing(12, 10, |x| x.sum(1)), "vunpcklps"), 0);
}
