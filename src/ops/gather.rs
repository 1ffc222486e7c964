//! Gathering rows of a tensor by an integer tensor, and its transpose: adding rows where an integer tensor says.
//!
//! As in a contraction, axes carry labels: `gather[a*b,ac->acb]` makes `y[a,c,b] = table[a, indices[a,c], b]`, and
//! `scatter_add[acb,ac->a*b]` adds each `updates[a,c,b]` to `table[a, indices[a,c], b]` of a table of zeros. So each is the
//! derivative of the other, and batching is one more label.

use std::fmt;

use ndarray::{ArrayD, Dimension, IxDyn};

use super::reduce::resolve_axis;
use super::{Emitter, Mapped, Op, Reads, Rules, Site, Tensor, Types, Whole, Writer, expect_operands};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Instr, Var};
use crate::types::{DType, Element, MAX_RANK, Scalar, Shape, TensorType, Value, map_value};

/// The rows of the first operand, a table, at the second, the indices. An index below 0 means the first row, one too large
/// the last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    rows: Rows,
}

/// A table of zeros, with the first operand, the updates, added to the rows at the second, the indices. An index below 0
/// means the first row, one too large the last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScatterAdd {
    rows: Rows,
    /// The number of rows.
    extent: usize,
}

/// Which axes of a table and of indices belong to which axis of the places: the tensor that holds, for every index, the
/// row it picks. Axes of the places are their own labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rows {
    /// The picked axis of the table.
    axis: usize,
    /// The labels of the table's other axes.
    table: Vec<u8>,
    indices: Vec<u8>,
    /// The number of the places' axes.
    rank: usize,
}

impl Rules for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [table, indices] = expect_operands(operands)?;
        self.rows.places(table, indices).map(|shape| TensorType { shape, ..table })
    }

    /// Each row's cotangent is the sum of those of the places it was picked for.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let (table, indices) = (site.operands[0].shape(), site.operands[1]);
        let extent = table.extents()[self.rows.axis];
        (operand == 0).then(|| ScatterAdd { rows: self.rows.clone(), extent }.apply(dy, indices))
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        Some(self.apply(tangents[0]?, site.operands[1]))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let (table, indices) = (operands[0], operands[1]);
        let rows = self.rows.batched(table.samples.is_some(), indices.samples.is_some());
        Gather { rows }.apply(table.tensor, indices.tensor)
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        let row = self.rows.reader(operands[1]);
        map_value!(operands[0], x => self.rows.take(x, row, ty.shape).into())
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let table = types.operands[0].shape;
        let row = self.rows.row(types, index, emitter);
        let (offset, stride) = self.rows.address(index, table);
        emitter.picked(0, offset, row, stride, table.extents()[self.rows.axis] as i64)
    }

    fn reads(&self, types: &Types, operand: usize) -> Reads {
        if operand == 0 { Reads::Linear } else { reads_indices(types, types.result.shape) }
    }
}

impl Rules for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [updates, indices] = expect_operands(operands)?;
        if updates.dtype == DType::Bool {
            return Err(TypeError::DType { ty: updates, expected: "numbers" });
        }
        self.rows.table(self.extent, updates, indices).map(|shape| TensorType { shape, ..updates })
    }

    /// Each update's cotangent is that of its row.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        (operand == 0).then(|| Gather { rows: self.rows.clone() }.apply(dy, site.operands[1]))
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        Some(self.apply(tangents[0]?, site.operands[1]))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let (updates, indices) = (operands[0], operands[1]);
        let samples = updates.samples.or(indices.samples).unwrap_or(1);
        let rows = self.rows.batched(true, indices.samples.is_some());
        ScatterAdd { rows, ..*self }.apply(updates.with_axis(samples), indices.tensor)
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        let (rows, row) = (&self.rows, self.rows.reader(operands[1]));
        match operands[0] {
            Value::F32(x) => rows.add(x, row, ty.shape, |a, b| a + b).into(),
            Value::F64(x) => rows.add(x, row, ty.shape, |a, b| a + b).into(),
            Value::I32(x) => rows.add(x, row, ty.shape, i32::wrapping_add).into(),
            Value::I64(x) => rows.add(x, row, ty.shape, i64::wrapping_add).into(),
            Value::Bool(_) => unreachable!("refused by the type rule"),
        }
    }

    fn reads(&self, types: &Types, operand: usize) -> Reads {
        if operand == 0 { Reads::Once } else { reads_indices(types, types.operands[0].shape) }
    }

    fn whole(&self) -> Option<&dyn Whole> {
        Some(self)
    }
}

impl Whole for ScatterAdd {
    /// Zeros, and then the updates one after the other, in row-major order: the same sum at every run.
    fn write(&self, types: &Types, writer: &mut dyn Writer) {
        let (table, updates) = (types.result, types.operands[0].shape);
        writer.each(table.shape.extents(), &mut |writer, index| {
            let zero = writer.emit(Instr::Constant(Scalar::from_f64(0.0, table.dtype)), table.dtype);
            writer.store(Affine::linear(index, table.shape.extents()), zero);
        });
        writer.each(updates.extents(), &mut |writer, index| {
            let row = self.rows.row(types, index, writer);
            let value = writer.operand(0, index);
            let (offset, stride) = self.rows.address(index, table.shape);
            writer.accumulate(offset, row, stride, self.extent as i64, value);
        });
    }
}

/// An index is read again for each place that differs in other axes.
fn reads_indices(types: &Types, places: Shape) -> Reads {
    if types.operands[1].shape.elements() < places.elements() { Reads::Repeatedly } else { Reads::Once }
}

impl Rows {
    /// The axes of the indices, in place of an axis of the table.
    fn in_place_of(axis: usize, table: usize, indices: usize) -> Rows {
        let label = |at: usize| if at < axis { at as u8 } else { (at + indices) as u8 };
        Rows {
            axis,
            table: (0..table.saturating_sub(1)).map(label).collect(),
            indices: (axis..axis + indices).map(|label| label as u8).collect(),
            rank: (table + indices).saturating_sub(1),
        }
    }

    /// Indices of the table's rank, which share every axis but the picked one with it.
    fn along(axis: usize, rank: usize) -> Rows {
        let others = (0..rank).filter(|&label| label != axis).map(|label| label as u8);
        Rows { axis, table: others.collect(), indices: (0..rank as u8).collect(), rank }
    }

    /// The elements with equal indices along two axes, in a new last axis; the indices are `0..`.
    fn diagonal(kept: usize, axis: usize, rank: usize) -> Rows {
        let mut labels = (0..rank).filter(|&at| at != kept && at != axis).zip(0u8..);
        let last = rank as u8 - 2;
        let label = |at: usize| if at == kept { last } else { labels.next().map_or(last, |label| label.1) };
        let table = (0..rank).filter(|&at| at != axis).map(label).collect();
        Rows { axis, table, indices: vec![last], rank: rank - 1 }
    }

    fn batched(&self, table: bool, indices: bool) -> Rows {
        let labels = |labels: &[u8], is_mapped: bool| {
            let sample = is_mapped.then_some(0);
            sample.into_iter().chain(labels.iter().map(|label| label + 1)).collect()
        };
        Rows {
            axis: self.axis + usize::from(table),
            table: labels(&self.table, table),
            indices: labels(&self.indices, indices),
            rank: self.rank + 1,
        }
    }

    /// The extents of the table without its picked axis.
    fn others(&self, table: Shape) -> Vec<usize> {
        table.without([self.axis].into_iter().collect()).extents().to_vec()
    }

    /// The shape of the places.
    fn places(&self, table: TensorType, indices: TensorType) -> Result<Shape, TypeError> {
        if !matches!(indices.dtype, DType::I32 | DType::I64) {
            return Err(TypeError::DType { ty: indices, expected: "i32 or i64 indices" });
        }
        if self.axis >= table.shape.rank() {
            return Err(TypeError::Axis { axis: self.axis as isize, ty: table });
        }
        if self.rank > MAX_RANK {
            return Err(TypeError::Invalid(format!("{table} picked by {indices} has more than 8 axes")));
        }
        let mut extents: Vec<Option<usize>> = vec![None; self.rank];
        let others = self.others(table.shape);
        let labelled = self.table.iter().zip(&others).chain(self.indices.iter().zip(indices.shape.extents()));
        for (&label, &extent) in labelled {
            let known = &mut extents[usize::from(label)];
            if known.is_some_and(|known| known != extent) {
                return Err(self.mismatch(table, indices));
            }
            *known = Some(extent);
        }
        let ranks = (self.table.len(), self.indices.len());
        let extents: Option<Vec<usize>> = extents.into_iter().collect();
        let Some(extents) = extents.filter(|_| ranks == (others.len(), indices.shape.rank())) else {
            return Err(self.mismatch(table, indices));
        };
        let places = Shape::of(&extents);
        if table.shape.extents()[self.axis] == 0 && places.elements() > 0 {
            return Err(TypeError::Invalid(format!("axis {} of {table} has nothing to pick", self.axis)));
        }
        Ok(places)
    }

    /// The shape of the table with `extent` rows, to which updates of the places' shape go.
    fn table(&self, extent: usize, updates: TensorType, indices: TensorType) -> Result<Shape, TypeError> {
        if updates.shape.rank() != self.rank {
            return Err(self.mismatch(updates, indices));
        }
        let mut extents: Vec<usize> =
            self.table.iter().map(|&label| updates.shape.extents()[usize::from(label)]).collect();
        extents.insert(self.axis.min(extents.len()), extent);
        if extents.len() > MAX_RANK {
            return Err(TypeError::Invalid(format!("the table that {updates} goes to has more than 8 axes")));
        }
        let table = TensorType { shape: Shape::of(&extents), ..updates };
        let places = self.places(table, indices)?;
        if places == updates.shape { Ok(table.shape) } else { Err(self.mismatch(updates, indices)) }
    }

    fn mismatch(&self, lhs: TensorType, rhs: TensorType) -> TypeError {
        let [table, indices, places] = self.text();
        let expected = format!(
            "in `{table},{indices}->{places}` (table, indices, rows picked; `*` is the axis picked from) axes of one label \
             have one extent"
        );
        TypeError::Mismatch { lhs, rhs, expected }
    }

    /// The index of the row for a place, as i64.
    fn row(&self, types: &Types, place: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let at: Vec<Affine> = self.indices.iter().map(|&label| place[usize::from(label)].clone()).collect();
        let row = emitter.operand(1, &at);
        match types.operands[1].dtype {
            DType::I64 => row,
            _ => emitter.emit(Instr::Cast(row), DType::I64),
        }
    }

    /// The offset in the table of a place's element, were it in the first row; and from row to row.
    fn address(&self, place: &[Affine], table: Shape) -> (Affine, i64) {
        let mut at: Vec<Affine> = self.table.iter().map(|&label| place[usize::from(label)].clone()).collect();
        at.insert(self.axis, Affine::default());
        let stride: usize = table.extents()[self.axis + 1..].iter().product();
        (Affine::linear(&at, table.extents()), stride as i64)
    }

    /// Reads the row of a place.
    fn reader(&self, indices: &Value) -> impl Fn(&[usize]) -> usize {
        let (shape, rows) = (indices.ty().shape, indices.elements());
        move |place| {
            let at = self.indices.iter().zip(shape.extents());
            let flat = at.fold(0, |flat, (&label, extent)| flat * extent + place[usize::from(label)]);
            rows[flat].to_f64().max(0.0) as usize
        }
    }

    /// The table's index for a place, in the row that is nearest.
    fn source(&self, place: &[usize], row: usize, table: &[usize]) -> Vec<usize> {
        let mut at: Vec<usize> = self.table.iter().map(|&label| place[usize::from(label)]).collect();
        at.insert(self.axis, row.min(table[self.axis] - 1));
        at
    }

    fn take<T: Element>(
        &self,
        table: &ArrayD<T>,
        row: impl Fn(&[usize]) -> usize,
        places: Shape,
    ) -> ArrayD<T> {
        ArrayD::from_shape_fn(IxDyn(places.extents()), |place| {
            let place = place.as_array_view().to_vec();
            table[&self.source(&place, row(&place), table.shape())[..]]
        })
    }

    fn add<T: Element + Default>(
        &self,
        updates: &ArrayD<T>,
        row: impl Fn(&[usize]) -> usize,
        table: Shape,
        plus: impl Fn(T, T) -> T,
    ) -> ArrayD<T> {
        let mut sums = ArrayD::from_elem(IxDyn(table.extents()), T::default());
        for (place, &update) in updates.indexed_iter() {
            let place = place.as_array_view().to_vec();
            let sum = &mut sums[&self.source(&place, row(&place), table.extents())[..]];
            *sum = plus(*sum, update);
        }
        sums
    }
}

impl Rows {
    /// The labels of table, indices and places; `*` is the picked axis.
    fn text(&self) -> [String; 3] {
        let text = |labels: &[u8]| labels.iter().map(|&label| char::from(b'a' + label)).collect::<String>();
        let mut table = text(&self.table);
        table.insert(self.axis.min(table.len()), '*');
        let places: Vec<u8> = (0..self.rank as u8).collect();
        [table, text(&self.indices), text(&places)]
    }
}

impl fmt::Display for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [table, indices, places] = self.rows.text();
        write!(f, "gather[{table},{indices}->{places}]")
    }
}

impl fmt::Display for ScatterAdd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [table, indices, places] = self.rows.text();
        write!(f, "scatter_add[{places},{indices}->{table} of {}]", self.extent)
    }
}

impl Rows {
    /// The labels that print as these texts.
    fn parse(table: &str, indices: &str, places: &str) -> Option<Rows> {
        let rank = places.len();
        let label = |c: char| places.find(c).map(|label| label as u8);
        let axis = table.find('*')?;
        let table: Option<Vec<u8>> = table.chars().filter(|&c| c != '*').map(label).collect();
        Some(Rows { axis, table: table?, indices: indices.chars().map(label).collect::<Option<_>>()?, rank })
    }
}

impl Gather {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Gather> {
        let (operands, places) = text.attributes.split_once("->").filter(|_| text.name == "gather")?;
        let (table, indices) = operands.split_once(',')?;
        Rows::parse(table, indices, places).map(|rows| Gather { rows })
    }

    #[track_caller]
    fn apply<'g>(&self, table: Tensor<'g>, indices: Tensor<'g>) -> Tensor<'g> {
        Tensor::apply(Op::Gather(self.clone()), &[table, indices])
    }
}

impl ScatterAdd {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<ScatterAdd> {
        let (operands, result) = text.attributes.split_once("->").filter(|_| text.name == "scatter_add")?;
        let ((places, indices), (table, extent)) = (operands.split_once(',')?, result.split_once(" of ")?);
        Some(ScatterAdd { rows: Rows::parse(table, indices, places)?, extent: extent.parse().ok()? })
    }

    #[track_caller]
    fn apply<'g>(&self, updates: Tensor<'g>, indices: Tensor<'g>) -> Tensor<'g> {
        Tensor::apply(Op::ScatterAdd(self.clone()), &[updates, indices])
    }
}

impl<'g> Tensor<'g> {
    /// The rows of an axis at these positions, which take the axis's place, as `numpy.take` with `mode="clip"`: an index
    /// below 0 picks the first row, one too large the last.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3, 2], F32);
    /// let rows = x.take(0, g.input("rows", [4], I32));
    /// let at = [("x", array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]].into()), ("rows", array![2, 0, -7, 9].into())];
    /// let expected = array![[5.0f32, 6.0], [1.0, 2.0], [1.0, 2.0], [5.0, 6.0]];
    /// assert_eq!(g.interpret(&[("rows", rows)], &at)?["rows"], expected.into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take(self, axis: isize, indices: Tensor<'g>) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(axis) => {
                let rows = Rows::in_place_of(axis, self.shape().rank(), indices.shape().rank());
                Gather { rows }.apply(self, indices)
            }
            Err(error) => self.poison("take", error),
        }
    }

    /// The rows of this table `[n, d]` for integer indices `[…]`: `[…, d]`, as `torch.nn.functional.embedding`. Indices
    /// out of range are treated as by [`Tensor::take`]. A step of plain gradient descent reads and writes only the rows that
    /// were looked up, if these are a few of many.
    #[track_caller]
    pub fn embedding(self, indices: Tensor<'g>) -> Tensor<'g> {
        self.take(0, indices)
    }

    /// For each index along an axis the element there, as `numpy.take_along_axis` and `torch.gather`: for axis 1 of a
    /// matrix `y[i, j] = x[i, indices[i, j]]`. The indices have this tensor's extents but for the axis. Indices out of
    /// range are treated as by [`Tensor::take`].
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, best) = (g.input("x", [2, 3], F32), g.input("best", [2, 1], I32));
    /// let y = x.take_along_axis(1, best);
    /// let at = [("x", array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]].into()), ("best", array![[2], [0]].into())];
    /// assert_eq!(g.interpret(&[("y", y)], &at)?["y"], array![[3.0f32], [4.0]].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_along_axis(self, axis: isize, indices: Tensor<'g>) -> Tensor<'g> {
        match self.rows_along(axis, indices) {
            Ok(rows) => Gather { rows }.apply(self, indices),
            Err(error) => self.poison("take_along_axis", error),
        }
    }

    /// This tensor with updates added to the rows of an axis at these positions: the updates have the shape that
    /// [`Tensor::take`] gives for the same indices. Where an index comes up several times, all its updates are added, in
    /// row-major order. An index below 0 means the first row, one too large the last.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, updates) = (g.input("x", [3], F32), g.input("updates", [4], F32));
    /// let y = x.scatter_add(0, g.input("rows", [4], I32), updates);
    /// let at = [
    ///     ("x", array![10.0f32, 20.0, 30.0].into()),
    ///     ("rows", array![1, 0, 1, 9].into()),
    ///     ("updates", array![1.0f32, 2.0, 3.0, 4.0].into()),
    /// ];
    /// assert_eq!(g.interpret(&[("y", y)], &at)?["y"], array![12.0f32, 24.0, 34.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scatter_add(self, axis: isize, indices: Tensor<'g>, updates: Tensor<'g>) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(axis) => {
                let rows = Rows::in_place_of(axis, self.shape().rank(), indices.shape().rank());
                self.plus_rows("scatter_add", rows, indices, updates)
            }
            Err(error) => self.poison("scatter_add", error),
        }
    }

    /// This tensor with each update added at the index given for it along an axis, as `torch.scatter_add`: for axis 1 of
    /// a matrix `x[i, indices[i, j]] += updates[i, j]`. Indices and updates have one shape, and this tensor's extents but
    /// for the axis; indices out of range and those that come up several times are treated as by [`Tensor::scatter_add`].
    #[track_caller]
    pub fn scatter_add_along_axis(self, axis: isize, indices: Tensor<'g>, updates: Tensor<'g>) -> Tensor<'g> {
        match self.rows_along(axis, indices) {
            Ok(rows) => self.plus_rows("scatter_add_along_axis", rows, indices, updates),
            Err(error) => self.poison("scatter_add_along_axis", error),
        }
    }

    /// Rows picked by indices of this tensor's shape but for an axis.
    fn rows_along(self, axis: isize, indices: Tensor<'g>) -> Result<Rows, TypeError> {
        let (lhs, rhs) = (self.ty(), indices.ty());
        let axis = resolve_axis(axis, lhs)?;
        let others = |ty: TensorType| ty.shape.without([axis].into_iter().collect());
        if lhs.shape.rank() == rhs.shape.rank() && others(lhs) == others(rhs) || indices.is_poison() {
            return Ok(Rows::along(axis, lhs.shape.rank()));
        }
        let expected = format!("the indices differ from the tensor's shape in axis {axis} only");
        Err(TypeError::Mismatch { lhs, rhs, expected })
    }

    /// The sum of this tensor and updates for its rows.
    #[track_caller]
    fn plus_rows(self, op: &str, rows: Rows, indices: Tensor<'g>, updates: Tensor<'g>) -> Tensor<'g> {
        let picked = match rows.places(self.ty(), indices.ty()) {
            Ok(shape) => TensorType { shape, ..self.ty() },
            Err(error) => return self.poison(op, error),
        };
        if updates.ty() != picked && !updates.is_poison() {
            let expected = format!("the updates must be {picked}, as what {} picks", indices.ty());
            return self.poison(op, TypeError::Mismatch { lhs: self.ty(), rhs: updates.ty(), expected });
        }
        let extent = self.shape().extents()[rows.axis];
        self + ScatterAdd { rows, extent }.apply(updates, indices)
    }

    /// The elements with equal indices along two axes of one extent, as a new last axis: `numpy.diagonal`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2, 2], F32);
    /// let (diagonal, trace) = (x.diagonal(0, 1), x.diagonal(0, 1).sum(..));
    /// let values = g.interpret(&[("d", diagonal), ("t", trace)], &[("x", array![[1.0f32, 2.0], [3.0, 4.0]].into())])?;
    /// assert_eq!((&values["d"], &values["t"]), (&array![1.0f32, 4.0].into(), &5.0f32.into()));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn diagonal(self, first: isize, second: isize) -> Tensor<'g> {
        let (kept, axis) = match (resolve_axis(first, self.ty()), resolve_axis(second, self.ty())) {
            (Ok(kept), Ok(axis)) if kept != axis => (kept, axis),
            (Ok(axis), Ok(_)) => return self.poison("diagonal", TypeError::RepeatedAxis { axis }),
            (Err(error), _) | (_, Err(error)) => return self.poison("diagonal", error),
        };
        let extents = self.shape();
        let (rows, columns) = (extents.extents()[kept], extents.extents()[axis]);
        if rows != columns {
            let message = format!("axes {kept} and {axis} of {} differ in extent", self.ty());
            return self.poison("diagonal", TypeError::Invalid(message));
        }
        let position = self.graph.iota([rows], 0, DType::I64);
        Gather { rows: Rows::diagonal(kept, axis, extents.rank()) }.apply(self, position)
    }
}
