//! Sorting rows for generated code, in the row of positions itself: nothing is allocated.

use std::cmp::Ordering;

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

unsafe extern "C" fn ascending<T: Key>(keys: *const u8, positions: *mut i64, count: usize, first: usize) {
    // SAFETY: the caller keeps the contract of `sort`.
    unsafe { sort::<T>(keys.cast(), positions, [count, first], Order::Ascending) }
}

unsafe extern "C" fn descending<T: Key>(keys: *const u8, positions: *mut i64, count: usize, first: usize) {
    // SAFETY: the caller keeps the contract of `sort`.
    unsafe { sort::<T>(keys.cast(), positions, [count, first], Order::Descending) }
}

/// Writes the positions of the first keys in order; equal keys stay in the order they stand in.
///
/// # Safety
/// There are `count` keys and places for `first` positions, all of these types and aligned, and they do not overlap. That
/// is what the loop IR's verifier found of the rows that generated code passes.
unsafe fn sort<T: Key>(keys: *const T, positions: *mut i64, [count, first]: [usize; 2], order: Order) {
    // SAFETY: the contract of this function; an entry is as large as a position.
    let (keys, entries) = unsafe {
        (std::slice::from_raw_parts(keys, count), std::slice::from_raw_parts_mut(positions.cast(), first))
    };
    T::sort(keys, entries, order);
}

/// An element to sort by.
trait Key: PartialOrd + Sized {
    /// Puts the positions of the first keys in order into the entries, as many as there are.
    fn sort(keys: &[Self], entries: &mut [u64], order: Order) {
        sort_by_key(keys, entries, order);
    }
}

impl Key for f64 {}
impl Key for i64 {}

impl Key for f32 {
    fn sort(keys: &[f32], entries: &mut [u64], order: Order) {
        sort_by_rank(keys, entries, order, |key| {
            let bits = (key + 0.0).to_bits(); // −0 is 0.
            let rank = bits ^ ((bits as i32 >> 31) as u32 | 1 << 31);
            if key.is_nan() { u32::MAX } else { rank }
        });
    }
}

impl Key for i32 {
    fn sort(keys: &[i32], entries: &mut [u64], order: Order) {
        sort_by_rank(keys, entries, order, |key| key as u32 ^ 1 << 31);
    }
}

impl Key for u8 {
    fn sort(keys: &[u8], entries: &mut [u64], order: Order) {
        sort_by_rank(keys, entries, order, u32::from);
    }
}

fn sort_by_key<T: PartialOrd>(keys: &[T], entries: &mut [u64], order: Order) {
    let compare = |&a: &u64, &b: &u64| order.compare(&keys[a as usize], &keys[b as usize]).then(a.cmp(&b));
    sort_first(entries, keys.len(), |at| at as u64, compare);
}

/// As [`Key::sort`], by numbers that are larger for larger keys and the same for equal ones: an entry holds its key's rank
/// above its position, so that one comparison of numbers is one of entries.
fn sort_by_rank<T: PartialOrd + Copy>(
    keys: &[T],
    entries: &mut [u64],
    order: Order,
    rank: impl Fn(T) -> u32,
) {
    if u32::try_from(keys.len()).is_err() {
        return sort_by_key(keys, entries, order);
    }
    let flip = if order == Order::Descending { u32::MAX } else { 0 };
    let entry = |at: usize| u64::from(rank(keys[at]) ^ flip) << 32 | at as u64;
    sort_first(entries, keys.len(), entry, u64::cmp);
    entries.iter_mut().for_each(|entry| *entry &= u64::from(u32::MAX));
}

/// Fills the entries with the first of `count` in order, no two of which are equal.
fn sort_first(
    entries: &mut [u64],
    count: usize,
    entry: impl Fn(usize) -> u64,
    compare: impl Fn(&u64, &u64) -> Ordering,
) {
    entries.iter_mut().enumerate().for_each(|(at, place)| *place = entry(at));
    let first = entries.len();
    if first < count {
        // A heap of the first entries so far, its last one at the root.
        (0..first / 2).rev().for_each(|root| sink(entries, root, &compare));
        let mut last = entries[0];
        for next in (first..count).map(entry) {
            if compare(&next, &last).is_lt() {
                entries[0] = next;
                sink(entries, 0, &compare);
                last = entries[0];
            }
        }
    }
    entries.sort_unstable_by(compare);
}

/// Lets an entry of a heap sink below those that come after it.
fn sink(heap: &mut [u64], mut at: usize, compare: &impl Fn(&u64, &u64) -> Ordering) {
    while 2 * at + 1 < heap.len() {
        let mut child = 2 * at + 1;
        if child + 1 < heap.len() && compare(&heap[child], &heap[child + 1]).is_lt() {
            child += 1;
        }
        if compare(&heap[child], &heap[at]).is_lt() {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}
