//! Sorting rows for generated code, by the standard library's sort, which allocates nothing.

use crate::codegen::SortFn;
use crate::loops::Order;
use crate::types::DType;

/// The function for elements of this type and this order.
pub(super) fn function(dtype: DType, order: Order) -> SortFn {
    match (dtype, order) {
        (DType::F32, Order::Ascending) => ascending::<f32>,
        (DType::F32, Order::Descending) => descending::<f32>,
        (DType::F64, Order::Ascending) => ascending::<f64>,
        (DType::F64, Order::Descending) => descending::<f64>,
        (DType::I32, Order::Ascending) => ascending::<i32>,
        (DType::I32, Order::Descending) => descending::<i32>,
        (DType::I64, Order::Ascending) => ascending::<i64>,
        (DType::I64, Order::Descending) => descending::<i64>,
        // A bool is a byte of 0 or 1.
        (DType::Bool, Order::Ascending) => ascending::<u8>,
        (DType::Bool, Order::Descending) => descending::<u8>,
    }
}

unsafe extern "C" fn ascending<T: PartialOrd>(keys: *const u8, positions: *mut i64, count: usize) {
    // SAFETY: the caller keeps the contract of `sort`.
    unsafe { sort::<T>(keys.cast(), positions, count, Order::Ascending) }
}

unsafe extern "C" fn descending<T: PartialOrd>(keys: *const u8, positions: *mut i64, count: usize) {
    // SAFETY: the caller keeps the contract of `sort`.
    unsafe { sort::<T>(keys.cast(), positions, count, Order::Descending) }
}

/// Writes the positions of the keys in order; equal keys stay in the order they stand in.
///
/// # Safety
/// There are `count` keys and places for as many positions, all of these types and aligned, and they do not overlap. That
/// is what the loop IR's verifier found of the rows that generated code passes.
unsafe fn sort<T: PartialOrd>(keys: *const T, positions: *mut i64, count: usize, order: Order) {
    // SAFETY: the contract of this function.
    let (keys, positions) = unsafe {
        (std::slice::from_raw_parts(keys, count), std::slice::from_raw_parts_mut(positions, count))
    };
    positions.iter_mut().zip(0..).for_each(|(position, at)| *position = at);
    positions.sort_unstable_by(|&a, &b| order.compare(&keys[a as usize], &keys[b as usize]).then(a.cmp(&b)));
}
