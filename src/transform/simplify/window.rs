//! Rules about folds, the transposes of windows: the gradient of a convolution becomes a convolution.
//!
//! With a stride `s`, the elements `s·q + r` of a result, for each phase `r < s`, come from the places `s·a + r` of the
//! windows alone: `s` folds of stride 1, side by side (sub-pixel convolution, Shi et al. 2016).

use std::ops::Range;

use super::reduction::scale;
use super::{Match, Rule, matched};
use crate::ops::{Dot, Op, Section, Slide, Tensor};
use crate::types::{MAX_RANK, Shape};

/// A contraction takes as long to read an element of a window as to multiply it by so many numbers.
const READ: usize = 16;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "scale after fold", rewrite: scale_after_fold },
    Rule { name: "stride of one window", rewrite: stride_of_one_window },
    Rule { name: "fold of product", rewrite: fold_of_product },
    Rule { name: "fold in phases", rewrite: fold_in_phases },
    Rule { name: "fold axis by axis", rewrite: fold_axis_by_axis },
    Rule { name: "slice before windows", rewrite: slice_before_windows },
];

/// `fold(c · x)` → `c · fold(x)`: no factor stands between a fold and the product it is of.
fn scale_after_fold<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (_, _, x) = m.fold()?;
    let (factor, rest) = matched(x).scaled()?;
    Some(scale(factor, Tensor::apply(m.op.clone(), &[rest])))
}

/// A fold of a single window along an axis, whose stride may be far longer than that → one of stride 1, filled up with zeros.
fn stride_of_one_window<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (slides, shape, y) = m.fold()?;
    let is_alone = |slide: &Slide| slide.stride > 1 && y.shape().extents()[slide.axis] == 1;
    if !slides.iter().any(is_alone) {
        return None;
    }
    let (mut slides, mut extents) = (slides.to_vec(), shape.extents().to_vec());
    for slide in slides.iter_mut().filter(|slide| is_alone(slide)) {
        slide.stride = 1;
        extents[slide.axis] = slide.span();
    }
    Some(y.fold(&slides, Shape::of(&extents)).pad_to(vec![0; shape.rank()], shape, 0.0))
}

/// The slide with which each phase is folded: of stride 1 over every `stride`-th place.
fn phase(slide: &Slide) -> Slide {
    if slide.stride == 1 {
        return *slide;
    }
    Slide { size: slide.span().div_ceil(slide.stride), stride: 1, dilation: 1, ..*slide }
}

/// `fold(dot(y, w))`, where `y` alone has the positions and `w` alone the places → `dot(window(pad y), reverse w)`: a
/// contraction over windows of the padded `y`, with no sum of its own behind.
///
/// Places of a window outside of `y` meet the zeros of its padding: where `w` is infinite or NaN, they give NaN.
fn fold_of_product<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (slides, shape, product) = m.fold()?;
    let below = matched(product);
    let (dot, lhs, rhs) = below.dot()?;
    let moving = operand_of_positions(dot, slides, shape.rank())?;
    let factor = |operand| Factor { x: [lhs, rhs][operand], labels: dot.operand(operand).to_vec() };
    let (mut y, mut w) = (factor(moving), factor(1 - moving));
    let (positions, places) = dot.out().split_at(shape.rank());
    let mut out = positions.to_vec();
    let of_weights: usize = dot.sizes(lhs.shape(), rhs.shape())[1 - moving];
    let is_filled = fills_up(slides, of_weights / slides.iter().map(|slide| slide.size).product::<usize>());
    let (mut windows, mut strided) = (Vec::new(), Vec::new());
    for (slide, &place) in slides.iter().zip(places) {
        let position = positions[slide.axis];
        let phase = Slide { axis: y.axis(position)?, ..phase(slide) };
        if phase.size > 1 {
            y.x = y.x.pad(phase.axis as isize, phase.span() - 1, phase.span() - 1);
        }
        y.labels.push(place);
        windows.push(phase);
        let at = w.axis(place)?;
        if slide.stride == 1 {
            w.x = w.x.reverse(at as isize);
            continue;
        }
        w.x = if is_filled { by_phases(w.x, at, slide) } else { w.x.spread_apart(at, slide.dilation) };
        strided.push((Slide { size: w.x.shape().extents()[at], dilation: 1, ..*slide }, place));
        out.insert(out.iter().position(|&label| label == position)? + 1, phase_of(place));
    }
    y.x = y.x.windows(&windows);
    let product = Product { y, w, apart: vec![], out, moving };
    Some(merge_phases(product.in_phases(&strided)?, slides, shape))
}

/// Whether phases with fewer places are filled up with zeros, and computed with the others: that multiplies more, and reads
/// fewer windows. So many results are summed up over each window; a single one takes no contraction.
fn fills_up(slides: &[Slide], results: usize) -> bool {
    let (mut filled, mut apart) = ([1, 1], [1, 1]);
    for slide in slides {
        let size = phase(slide).size;
        let is_full = size * slide.stride == slide.span();
        filled = [filled[0] * size, filled[1] * size * slide.stride];
        apart = [apart[0] * if is_full { size } else { 2 * size - 1 }, apart[1] * slide.span()];
    }
    let cost = |[read, multiplied]: [usize; 2]| READ * read + results * multiplied;
    results > 1 && cost(filled) <= cost(apart)
}

/// The label of an axis of phases. Labels of contractions are small numbers: these are free.
fn phase_of(place: u8) -> u8 {
    u8::MAX - place
}

/// An operand of a contraction, with its labels.
#[derive(Clone)]
struct Factor<'g> {
    x: Tensor<'g>,
    labels: Vec<u8>,
}

impl Factor<'_> {
    fn axis(&self, label: u8) -> Option<usize> {
        self.labels.iter().position(|&l| l == label)
    }
}

/// A contraction of windows and weights, to be.
#[derive(Clone)]
struct Product<'g> {
    y: Factor<'g>,
    w: Factor<'g>,
    /// The windows of the weights that have the places of some phases, in order, on axes behind all others.
    apart: Vec<Slide>,
    out: Vec<u8>,
    /// The operand that `y` is.
    moving: usize,
}

impl<'g> Product<'g> {
    /// The contraction with the phases of these slides. Phases of equally many places are computed together, and stand
    /// beside the others.
    fn in_phases(&self, slides: &[(Slide, u8)]) -> Option<Tensor<'g>> {
        let Some((&(slide, place), others)) = slides.split_first() else { return self.apply() };
        let axis = self.out.iter().position(|&label| label == phase_of(place))? as isize;
        let size = phase(&slide).size;
        let shorter = size * slide.stride - slide.span();
        let longer = slide.stride - shorter;
        let long = self.phases(&slide, place, 0..longer, size)?.in_phases(others)?;
        match (shorter, size) {
            (0, _) => Some(long),
            (_, 1) => Some(long.pad(axis, 0, shorter)),
            _ => {
                let short = self.phases(&slide, place, longer..slide.stride, size - 1)?.in_phases(others)?;
                Some(long.concat(&[short], axis))
            }
        }
    }

    /// That of some phases, which have so many places: the last ones of their windows.
    fn phases(&self, slide: &Slide, place: u8, phases: Range<usize>, places: usize) -> Option<Product<'g>> {
        let mut part = self.clone();
        let Product { y, w, apart, .. } = &mut part;
        let (seen, at) = (y.axis(place)?, w.axis(place)?);
        let size = y.x.shape().extents()[seen];
        y.x = y.x.slice(seen as isize, size - places..size);
        let end = phases.end + (places - 1) * slide.stride;
        w.x = w.x.slice(at as isize, phases.start..end);
        apart.push(Slide { axis: at, size: places, stride: 1, dilation: slide.stride });
        w.labels[at] = phase_of(place);
        w.labels.push(place);
        Some(part)
    }

    fn apply(&self) -> Option<Tensor<'g>> {
        let Product { y, w, apart, out, moving } = self;
        let x = if apart.is_empty() { w.x } else { w.x.windows(apart) };
        let turned = (1..=apart.len() as isize).fold(x, |x, behind| x.reverse(-behind));
        let w = Factor { x: turned, labels: w.labels.clone() };
        let [lhs, rhs] = if *moving == 0 { [y, &w] } else { [&w, y] };
        let dot = Dot::new(&lhs.labels, &rhs.labels, out).ok()?;
        Some(Tensor::apply(Op::Dot(dot), &[lhs.x, rhs.x]))
    }
}

/// The operand of the contraction that alone has all positions, where the other alone has all places of the windows, and
/// no tensor would get too many axes. `None` too where no windows overlap: the contraction stays as it is.
fn operand_of_positions(dot: &Dot, slides: &[Slide], rank: usize) -> Option<usize> {
    let alone = |axis: usize, operand: usize| !dot.operand(1 - operand).contains(&dot.out()[axis]);
    let moving = usize::from(!alone(slides.first()?.axis, 0));
    let has_all = slides
        .iter()
        .enumerate()
        .all(|(number, slide)| alone(slide.axis, moving) && alone(rank + number, 1 - moving));
    let strided = slides.iter().filter(|slide| slide.stride > 1).count();
    let ranks =
        [dot.operand(moving).len() + slides.len(), dot.operand(1 - moving).len() + strided, rank + strided];
    let overlap = slides.iter().any(|slide| slide.stride == 1 || phase(slide).size > 1);
    (has_all && overlap && ranks.into_iter().all(|rank| rank <= MAX_RANK)).then_some(moving)
}

/// A fold with strides → a fold of stride 1 in each phase, and the phases put together; without a fold where windows do
/// not overlap.
fn fold_in_phases<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (slides, shape, mut y) = m.fold()?;
    let overlaps = |slide: &Slide| slide.stride > 1 && phase(slide).size > 1;
    let widens = |slide: &Slide| overlaps(slide) || slide.stride > 1 && slide.dilation > 1;
    let is_strided = slides.iter().any(|slide| slide.stride > 1);
    if !is_strided || y.shape().rank() + slides.iter().filter(|slide| widens(slide)).count() > MAX_RANK {
        return None;
    }
    // Where each axis goes: a phase behind its positions, the places of a phase behind all others.
    let mut order: Vec<usize> = (0..shape.rank()).collect();
    let (mut phases, mut places) = (Vec::new(), Vec::new());
    let mut axis = shape.rank();
    for slide in slides {
        y = by_phases(y, axis, slide);
        if overlaps(slide) {
            y = split(y, axis, slide.stride);
        }
        if slide.stride == 1 || overlaps(slide) {
            phases.push(phase(slide));
            places.push(axis);
            axis += 1;
        }
        if slide.stride > 1 {
            order.insert(order.iter().position(|&from| from == slide.axis)? + 1, axis);
            axis += 1;
        }
    }
    for phase in &mut phases {
        phase.axis = order.iter().position(|&from| from == phase.axis)?;
    }
    order.extend(places);
    y = y.permute(&order);
    let mut extents = y.shape().extents()[..y.shape().rank() - phases.len()].to_vec();
    phases.iter().for_each(|phase| extents[phase.axis] += phase.span() - 1);
    let folded = if phases.is_empty() { y } else { y.fold(&phases, Shape::of(&extents)) };
    Some(merge_phases(folded, slides, shape))
}

/// A strided fold over several axes, that is of too many axes to be split in phases → one fold after the other.
fn fold_axis_by_axis<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (slides, shape, y) = m.fold()?;
    let (last, others) = slides.split_last()?;
    if others.is_empty() || slides.iter().all(|slide| slide.stride == 1) {
        return None;
    }
    let mut extents = y.shape().extents()[..y.shape().rank() - 1].to_vec();
    extents[last.axis] = shape.extents()[last.axis];
    Some(y.fold(&[*last], Shape::of(&extents)).fold(others, shape))
}

/// `slice dot(window x, y)` → `dot(window(slice x), y)`, where only positions of windows of stride 1 are left out: the
/// gradient of a padded convolution is padded by less, and computes nothing outside of the image.
fn slice_before_windows<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Section::Slice { start, shape }, product) = m.section()? else { return None };
    let below = matched(product);
    let (dot, lhs, rhs) = below.dot()?;
    let views = [matched(lhs), matched(rhs)];
    let moving = (0..2).find(|&operand| views[operand].windows().is_some())?;
    let (slides, image) = views[moving].windows()?;
    let labels = dot.operand(moving);
    let mut image = image;
    for (axis, label) in dot.out().iter().enumerate() {
        if shape.extents()[axis] == product.shape().extents()[axis] {
            continue;
        }
        let at =
            labels.iter().position(|l| l == label).filter(|_| !dot.operand(1 - moving).contains(label))?;
        let slide = slides.iter().find(|slide| slide.axis == at && slide.stride == 1)?;
        let end = start[axis] + shape.extents()[axis] + slide.span() - 1;
        image = image.slice(at as isize, start[axis]..end);
    }
    let mut factors = [lhs, rhs];
    factors[moving] = image.windows(slides);
    Some(Tensor::apply(Op::Dot(dot.clone()), &factors))
}

/// An axis of places as rows of one place a phase. Where there is none stands −0, which changes no sum.
fn by_phases<'g>(x: Tensor<'g>, axis: usize, slide: &Slide) -> Tensor<'g> {
    if slide.stride == 1 {
        return x;
    }
    let apart = x.spread_apart(axis, slide.dilation);
    let missing = phase(slide).size * slide.stride - slide.span();
    if missing > 0 { apart.pad_with(axis as isize, 0, missing as isize, -0.0) } else { apart }
}

/// An axis as two, the second of this extent.
fn split<'g>(x: Tensor<'g>, axis: usize, inner: usize) -> Tensor<'g> {
    let mut extents = x.shape().extents().to_vec();
    let outer = extents[axis] / inner;
    extents.splice(axis..=axis, [outer, inner]);
    x.reshape(Shape::of(&extents))
}

/// Phases that stand behind their positions put between them, cut or filled up with zeros to this shape.
fn merge_phases<'g>(x: Tensor<'g>, slides: &[Slide], shape: Shape) -> Tensor<'g> {
    let stride = |axis| slides.iter().find(|slide| slide.axis == axis).map_or(1, |slide| slide.stride);
    let full = x.shape();
    let mut extents = full.extents().iter();
    let mut merged = Vec::new();
    for axis in 0..shape.rank() {
        let phases = if stride(axis) > 1 { 2 } else { 1 };
        merged.push(extents.by_ref().take(phases).product());
    }
    let mut result = x.reshape(Shape::of(&merged));
    for (axis, (have, &want)) in merged.into_iter().zip(shape.extents()).enumerate() {
        if have > want {
            result = result.slice(axis as isize, 0..want);
        } else if have < want {
            result = result.pad(axis as isize, 0, want - have);
        }
    }
    result
}
