//! What tests of loops share.

use hitofude::prelude::*;

pub fn named<'a, 'g>(tensors: &'a [(String, Tensor<'g>)]) -> Vec<(&'a str, Tensor<'g>)> {
    tensors.iter().map(|(name, x)| (&**name, *x)).collect()
}

/// Halves until small: the number of turns depends on the start.
pub fn halved<'g>(g: &'g Graph, start: Tensor<'g>, factor: Tensor<'g>, limit: usize) -> Vec<Tensor<'g>> {
    let turns = g.constant(0.0, [], I32);
    g.while_loop(
        limit,
        &[start, turns],
        |carry| Ok(carry[0].abs().max(..).greater(0.3)),
        |carry| Ok(vec![carry[0] * factor, carry[1] + 1.0]),
    )
    .unwrap()
}
