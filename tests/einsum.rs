//! `einsum` and the general contraction, against loops over all labels.

mod common;

use std::collections::BTreeMap;

use common::{assert_compiles_right, assert_gradient_right, distance, value_for};
use hitofude::prelude::*;
use ndarray::{ArrayD, IxDyn};

/// The sum over all labels of the products of the elements they lead to.
fn by_loops(spec: &str, operands: &[&ArrayD<f64>], out: &str) -> ArrayD<f64> {
    let terms: Vec<Vec<char>> = spec.split(',').map(|term| term.chars().collect()).collect();
    let mut extents = BTreeMap::new();
    for (term, operand) in terms.iter().zip(operands) {
        extents.extend(term.iter().copied().zip(operand.shape().iter().copied()));
    }
    let labels: Vec<char> = extents.keys().copied().collect();
    let all: Vec<usize> = extents.values().copied().collect();
    let shape: Vec<usize> = out.chars().map(|label| extents[&label]).collect();
    let mut sum = ArrayD::zeros(IxDyn(&shape));
    for index in ndarray::indices(IxDyn(&all)) {
        let at = |term: &[char]| -> Vec<usize> {
            term.iter().map(|label| index[labels.iter().position(|l| l == label).unwrap()]).collect()
        };
        let product: f64 = terms.iter().zip(operands).map(|(term, x)| x[&at(term)[..]]).product();
        sum[&at(&out.chars().collect::<Vec<_>>())[..]] += product;
    }
    sum
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Labels of the operands and of the result (`None`: left to `einsum`), what the result's should be, and the operands'
/// shapes.
type Case = (&'static str, Option<&'static str>, &'static str, &'static [&'static [usize]]);

const CASES: &[Case] = &[
    ("ij,jk", Some("ik"), "ik", &[&[2, 3], &[3, 4]]),
    ("ij,jk", None, "ik", &[&[2, 3], &[3, 4]]),
    ("bj,ja", None, "ab", &[&[2, 3], &[3, 4]]),
    ("ij,jk,kl", Some("il"), "il", &[&[2, 3], &[3, 4], &[4, 5]]),
    ("ij,jk,kl,lm,mn", Some("ni"), "ni", &[&[2, 3], &[3, 4], &[4, 2], &[2, 3], &[3, 2]]),
    ("ijk", Some("ki"), "ki", &[&[2, 3, 4]]),
    ("ijk", None, "ijk", &[&[2, 3, 4]]),
    ("ba", None, "ab", &[&[2, 3]]),
    ("ij", Some(""), "", &[&[2, 3]]),
    ("ii", None, "", &[&[3, 3]]),
    ("ii", Some("i"), "i", &[&[3, 3]]),
    ("iii", Some("i"), "i", &[&[3, 3, 3]]),
    ("ijij", Some("ji"), "ji", &[&[2, 3, 2, 3]]),
    ("iji,jk", Some("ik"), "ik", &[&[2, 3, 2], &[3, 4]]),
    ("ij,j", Some("j"), "j", &[&[2, 3], &[3]]),
    ("ij,kl", Some("jl"), "jl", &[&[2, 3], &[2, 4]]),
    ("i,j", None, "ij", &[&[2], &[3]]),
    ("i,i,i", Some("i"), "i", &[&[4], &[4], &[4]]),
    ("i,i,i", None, "", &[&[4], &[4], &[4]]),
    ("Ij,jA", None, "AI", &[&[2, 3], &[3, 4]]),
    (",ij,", Some("ji"), "ji", &[&[], &[2, 3], &[]]),
    ("bqhd,bkhd", Some("bhqk"), "bhqk", &[&[2, 3, 2, 4], &[2, 5, 2, 4]]),
    ("nkcd,kefg", Some("necfdg"), "necfdg", &[&[2, 3, 3, 4], &[3, 2, 2, 2]]),
    ("abkc,bkde", Some("dabec"), "dabec", &[&[2, 2, 3, 2], &[2, 3, 4, 2]]),
    ("ij,ik,jk", Some(""), "", &[&[2, 3], &[2, 4], &[3, 4]]),
    ("i,ij,j", None, "", &[&[2], &[2, 3], &[3]]),
    ("ij,jk", Some("ik"), "ik", &[&[2, 0], &[0, 4]]),
];

#[test]
fn specifications_mean_their_loops() {
    for (inputs, given, out, shapes) in CASES {
        let g = Graph::new();
        let operands: Vec<Tensor<'_>> = (NAMES.iter().zip(*shapes))
            .map(|(name, shape)| g.input(name, Shape::new(shape).unwrap(), F64))
            .collect();
        let spec = given.map_or(inputs.to_string(), |out| format!("{inputs} -> {out}"));
        let y = g.einsum(&spec, &operands);
        g.check().unwrap_or_else(|error| panic!("{spec}: {error}"));
        let leaves: Vec<(&str, Value)> = NAMES
            .iter()
            .zip(&operands)
            .zip(1..)
            .map(|((name, x), seed)| (*name, value_for(*x, seed)))
            .collect();
        let arrays: Vec<&ArrayD<f64>> = leaves.iter().map(|leaf| leaf.1.array::<f64>().unwrap()).collect();
        let expected = by_loops(inputs, &arrays, out);
        let y_at = &g.interpret(&[("y", y)], &leaves).unwrap()["y"];
        assert!(distance(&expected.into(), y_at) < 1e-14, "{spec}\n{g}");
        assert_compiles_right(&g, &[("y", y)], &leaves, 1e-14);
        if leaves.iter().all(|leaf| !leaf.1.to_f64().is_empty()) {
            let named: Vec<(&str, Tensor<'_>)> = NAMES.into_iter().zip(operands).collect();
            assert_gradient_right(&g, (y * y).sum(..), &named, &leaves);
        }
    }
}

/// `...` is the axes it stands for, and broadcasts.
#[test]
fn an_ellipsis_stands_for_axes() {
    let cases: &[(&str, &str, &[&[usize]])] = &[
        ("...ij,...jk->...ik", "abij,abjk->abik", &[&[2, 3, 4, 2], &[2, 3, 2, 5]]),
        ("...ij,...jk", "abij,bjk->abik", &[&[2, 3, 4, 2], &[3, 2, 5]]),
        ("...ij,jk", "abij,jk->abik", &[&[2, 3, 4, 2], &[2, 5]]),
        ("i...,i...->...", "iab,ib->ab", &[&[4, 2, 3], &[4, 3]]),
        ("i...->...i", "iab->abi", &[&[4, 2, 3]]),
        ("...->", "ab->", &[&[2, 3]]),
        ("...ii->...i", "abii->abi", &[&[2, 3, 4, 4]]),
        ("...,...", "ab,ab->ab", &[&[2, 3], &[2, 3]]),
    ];
    for (spec, written_out, shapes) in cases {
        let g = Graph::new();
        let operands: Vec<Tensor<'_>> = (NAMES.iter().zip(*shapes))
            .map(|(name, shape)| g.input(name, Shape::new(shape).unwrap(), F64))
            .collect();
        let pair = [("short", g.einsum(spec, &operands)), ("long", g.einsum(written_out, &operands))];
        let leaves: Vec<(&str, Value)> = NAMES
            .iter()
            .zip(&operands)
            .zip(1..)
            .map(|((name, x), seed)| (*name, value_for(*x, seed)))
            .collect();
        let values = g.interpret(&pair, &leaves).unwrap_or_else(|error| panic!("{spec}: {error}"));
        assert!(distance(&values["long"], &values["short"]) < 1e-14, "{spec}");
        assert_compiles_right(&g, &pair, &leaves, 1e-14);
    }
    // An extent of 1 under the ellipsis stretches.
    let g = Graph::new();
    let (x, y) = (g.input("x", [1, 4, 2], F64), g.input("y", [3, 2], F64));
    let stretched = g.einsum("...k,...k->...", &[x, y.unsqueeze(1)]);
    let expected = y.matmul(x.squeeze(0).transpose());
    let leaves = [("x", value_for(x, 1)), ("y", value_for(y, 2))];
    let values = g.interpret(&[("s", stretched), ("e", expected)], &leaves).unwrap();
    assert!(distance(&values["e"], &values["s"]) < 1e-14);
}

/// The contraction that leaves least comes first: here from the right, 40 times less work.
#[test]
fn many_operands_are_contracted_in_a_good_order() {
    let g = Graph::new();
    let (a, b) = (g.input("a", [40, 40], F64), g.input("b", [40, 40], F64));
    let v = g.input("v", [40], F64);
    let y = g.einsum("ij,jk,k->i", &[a, b, v]);
    assert_eq!(y.id(), a.einsum("ab,b->a", b.einsum("ab,b->a", v)).id());
}

#[test]
fn the_general_contraction_orders_its_axes() {
    let g = Graph::new();
    let (x, y) = (g.input("x", [2, 3, 4, 5], F64), g.input("y", [5, 6, 3, 2], F64));
    let outputs = [
        ("one batch axis", x.dot_general(y, &[(1, 2)], &[(3, 0)])),
        ("two", x.dot_general(y, &[(1, -2), (0, 3)], &[(-1, 0)])),
        ("none", x.dot_general(y, &[], &[(0, 3), (3, 0)])),
    ];
    let leaves = [("x", value_for(x, 1)), ("y", value_for(y, 2))];
    let (a, b) = (leaves[0].1.array::<f64>().unwrap(), leaves[1].1.array::<f64>().unwrap());
    let values = g.interpret(&outputs, &leaves).unwrap();
    for (name, spec, out) in [
        ("one batch axis", "abcd,dfbh", "bacfh"),
        ("two", "abcd,dfba", "bacf"),
        ("none", "abcd,dfha", "bcfh"),
    ] {
        assert!(distance(&by_loops(spec, &[a, b], out).into(), &values[name]) < 1e-14, "{name}");
    }
    assert_compiles_right(&g, &outputs, &leaves, 1e-13);
}
