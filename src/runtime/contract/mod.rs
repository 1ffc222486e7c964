//! Contractions too large for code in the step itself: `out[i, j] (+)= Σₖ lhs[i, k] · rhs[k, j]` in tiles that fill
//! the processor's registers, for the widest vectors it has.
//!
//! Every index stands for several loop variables, by way of tables of offsets: transposes, windows and slices are
//! read in place. Either operand can be the one that fills vectors; where that pays, it is packed, a cache-sized panel at
//! a time. The blocking follows Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).

mod cache;
mod dot;
mod grid;
#[cfg(target_arch = "x86_64")]
mod in_turn;
mod kernels;
mod pack;
mod panel;
mod plan;
mod sequence;
mod share;
mod sums;
mod tile;
mod vector;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use super::team;
use crate::codegen::{self, Contract, Cpu, Library};
use crate::loops::{LARGE, PANEL, Tables};
use kernels::{Kernels, TALLEST};
use plan::{Plan, Way};
use sequence::Sequence;
use share::Share;
use vector::{Portable, Real};

/// The functions to call for the processors that code is generated for.
pub(crate) fn library(cpu: Cpu) -> Library {
    #[cfg(target_arch = "x86_64")]
    if cpu != Cpu::Baseline {
        if cpu == Cpu::Native && is_x86_feature_detected!("avx512f") {
            return library_of::<__m512, __m512d>();
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return library_of::<__m256, __m256d>();
        }
    }
    let _ = cpu;
    library_of::<Portable<f32>, Portable<f64>>()
}

fn library_of<F32: Kernels<Element = f32>, F64: Kernels<Element = f64>>() -> Library {
    Library {
        contract_f32: Contract { prepare: Prepared::<F32>::of, call: F32::contract },
        contract_f64: Contract { prepare: Prepared::<F64>::of, call: F64::contract },
        parallel: super::parallel::parallel,
        sort: super::sort::function,
    }
}

/// A contraction for vectors of some kind: what follows from its tables alone.
struct Prepared<V: Kernels> {
    tables: Tables,
    plan: Plan,
    /// All of it, if it is small.
    sequence: Option<Sequence<V>>,
}

impl<V: Kernels> Prepared<V> {
    fn of(tables: Tables) -> codegen::Prepared {
        let (left, right) = Side::of(&tables, null::<V::Element>(), null());
        let plan = Plan::of::<V, V::Element>(&left, &right, tables.depth_run);
        let mut prepared = Prepared::<V> { tables, plan, sequence: None };
        let arguments = Arguments { lhs: null(), rhs: null(), out: null_mut(), scale: V::Element::ONE };
        prepared.sequence = Sequence::of(&Operands::new(&prepared, &arguments));
        Arc::new(prepared)
    }

    /// What is of the rows, and what is of the columns.
    #[inline(always)]
    fn in_order<T>(&self, left: T, right: T) -> (T, T) {
        if self.plan.is_swapped { (right, left) } else { (left, right) }
    }

    /// If set, sums are added to what is there, times this.
    #[inline(always)]
    fn scale(&self, arguments: &Arguments<V::Element>) -> Option<V::Element> {
        self.tables.is_scaled.then_some(arguments.scale)
    }
}

/// What one call is given.
struct Arguments<T> {
    lhs: *const T,
    rhs: *const T,
    out: *mut T,
    scale: T,
}

/// One operand, the offsets of its own index in it and in the result, and its offsets at each depth.
#[derive(Clone, Copy)]
struct Side<'t, T> {
    operand: *const T,
    offsets: &'t [i32],
    out: &'t [i32],
    /// How far apart they lie here, and in the result, if evenly.
    step: Option<i32>,
    out_step: Option<i32>,
    /// So many offsets at a time step by one, here and in the result.
    run: usize,
    /// How far apart such runs begin here, if all are evenly and the result has them side by side.
    run_step: Option<usize>,
    depth: &'t [i32],
    /// How far apart the depths lie, if evenly.
    depth_step: Option<i32>,
}

impl<'t, T> Side<'t, T> {
    /// The left operand, with the rows, and the right one, with the columns.
    #[inline(always)]
    fn of(tables: &'t Tables, lhs: *const T, rhs: *const T) -> (Self, Self) {
        let Tables { row_lhs, row_out, row_run, row_run_step, depth_lhs, .. } = tables;
        let Tables { column_rhs, column_out, column_run, column_run_step, depth_rhs, .. } = tables;
        let ([left, right], [row_step, column_step]) = (tables.depth_steps, tables.out_steps);
        let [row_own_step, column_own_step] = tables.steps;
        (
            Side {
                operand: lhs,
                offsets: row_lhs,
                out: row_out,
                step: row_own_step,
                out_step: row_step,
                run: *row_run,
                run_step: *row_run_step,
                depth: depth_lhs,
                depth_step: left,
            },
            Side {
                operand: rhs,
                offsets: column_rhs,
                out: column_out,
                step: column_own_step,
                out_step: column_step,
                run: *column_run,
                run_step: *column_run_step,
                depth: depth_rhs,
                depth_step: right,
            },
        )
    }
}

impl<T> Side<'_, T> {
    /// Whether lanes lie as packing would have them: those of a strip side by side, depth after depth.
    fn is_in_panels(&self) -> bool {
        let is_strip = self.run > 1 && self.run * size_of::<T>() <= PANEL;
        is_strip && self.depth_step == Some(self.run as i32)
    }

    /// Bytes that are read, about: windows have elements in common.
    fn bytes(&self) -> usize {
        let span = |offsets: &[i32]| match (offsets.first(), offsets.last()) {
            (Some(first), Some(&last)) => last.abs_diff(*first) as usize,
            _ => 0,
        };
        let elements = (self.offsets.len() * self.depth.len()).min(span(self.offsets) + span(self.depth) + 1);
        elements * size_of::<T>()
    }
}

/// What one call works on.
struct Operands<'t, T> {
    rows: Side<'t, T>,
    columns: Side<'t, T>,
    out: *mut T,
    /// If set, sums are added to what is there, times this.
    scale: Option<T>,
    /// So many depths at a time lie side by side in both operands.
    depth_run: usize,
    way: Way,
}

// SAFETY: threads share the operands to read and write different parts of the result.
unsafe impl<T: Sync> Sync for Operands<'_, T> {}

impl<'t, T> Operands<'t, T> {
    #[inline(always)]
    fn new<V: Kernels<Element = T>>(prepared: &'t Prepared<V>, arguments: &Arguments<T>) -> Operands<'t, T> {
        let Prepared { tables, plan, .. } = prepared;
        let (left, right) = Side::of(tables, arguments.lhs, arguments.rhs);
        let (rows, columns) = prepared.in_order(left, right);
        let scale = prepared.scale(arguments);
        Operands { rows, columns, out: arguments.out, scale, depth_run: tables.depth_run, way: plan.way }
    }
}

impl<T> Operands<'_, T> {
    /// How many threads the work is worth.
    #[inline(always)]
    fn worth(&self) -> usize {
        self.rows.offsets.len() * self.columns.offsets.len() * self.rows.depth.len() / WORTH_A_THREAD
    }
}

/// Multiplications that pay for another thread, 10 µs of them: handing them over takes about one.
const WORTH_A_THREAD: usize = LARGE / 2;

/// Computes the result in as many shares as there are threads, if the work is worth it. What an element becomes does
/// not depend on the shares.
///
/// # Safety
/// The arguments are good; the processor has the vector's instructions.
#[inline(always)]
unsafe fn contract<V: Kernels>(prepared: &Prepared<V>, arguments: &Arguments<V::Element>) {
    if let Some(sequence) = &prepared.sequence {
        // SAFETY: the caller's promise.
        return unsafe { sequence.run(prepared, arguments) };
    }
    let operands = &Operands::new(prepared, arguments);
    let compute = match operands.way {
        Way::InPlace => V::in_place,
        Way::Packed => V::packed,
        Way::Dots => V::dots,
    };
    let (rows, columns, worth) =
        (operands.rows.offsets.len(), operands.columns.offsets.len(), operands.worth());
    if worth < 2 {
        // SAFETY: the caller's promise.
        return unsafe { compute(operands, &Share { rows: 0..rows, columns: 0..columns }) };
    }
    // Shares are whole strips and tiles.
    let strip = if operands.way == Way::Dots { dot::COLUMNS } else { 2 * V::LANES };
    let threads = worth.min(team::threads());
    let splits_columns = columns >= 2 * strip * threads || columns / strip >= rows / TALLEST;
    let (length, unit) = if splits_columns { (columns, strip) } else { (rows, 1) };
    let shares = parts(length, length.div_ceil(threads), unit).count();
    team::share(shares as u16, &|number| {
        let part = parts(length, length.div_ceil(threads), unit).nth(number).unwrap_or(0..0);
        let (rows, columns) = if splits_columns { (0..rows, part) } else { (part, 0..columns) };
        // SAFETY: the caller's promise; no two shares have an element in common.
        unsafe { compute(operands, &Share { rows, columns }) };
    });
}

/// A range cut into parts of about equal length, at most `most` and multiples of `unit` but for the last.
fn parts(length: usize, most: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let part = if length <= most {
        length.max(1)
    } else {
        length.div_ceil(length.div_ceil(most)).next_multiple_of(unit)
    };
    (0..length).step_by(part).map(move |start| start..(start + part).min(length))
}

#[cfg(test)]
mod tests;
