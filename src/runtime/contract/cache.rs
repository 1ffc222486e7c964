//! The processor's first cache, and what competes for its lines.

use std::sync::LazyLock;

use super::TALLEST;

/// Bytes of a line.
pub(super) const LINE: usize = 64;

/// The distance of lines that compete with each other.
pub(super) const PERIOD: usize = 4096;

/// Whether neighbours lie a multiple of so many bytes apart.
pub(super) fn steps_by_multiple<T>(offsets: &[i32], bytes: usize) -> bool {
    let step = |pair: &[i32]| (pair[1] - pair[0]).unsigned_abs() as usize * size_of::<T>();
    offsets.get(..2).is_some_and(|pair| step(pair).is_multiple_of(bytes))
}

/// Whether tiles of rows wait for less if each is copied before it is used several times: its rows, or their depths,
/// compete for more lines than the cache holds.
pub(super) fn is_crowded<T>(rows: &[i32], depth: &[i32]) -> bool {
    *WAYS < TALLEST && (steps_by_multiple::<T>(rows, PERIOD) || steps_by_multiple::<T>(depth, PERIOD))
}

/// Lines that the cache holds of those that compete with each other.
static WAYS: LazyLock<usize> = LazyLock::new(|| ways().unwrap_or(8));

#[cfg(target_arch = "x86_64")]
fn ways() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    // AMD64 Architecture Programmer's Manual, volume 3, E.4.15; Intel's has the same fields in leaf 4.
    const AMD: u32 = 0x8000_001d;
    const INTEL: u32 = 4;
    let has = |leaf: u32| __cpuid(leaf & 0x8000_0000).eax >= leaf;
    [AMD, INTEL].into_iter().filter(|&leaf| has(leaf)).find_map(|leaf| {
        let first = __cpuid_count(leaf, 0);
        let is_of_data = first.eax & 0x1f == 1;
        is_of_data.then(|| (first.ebx >> 22) as usize + 1)
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn ways() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    /// Linux finds out by itself.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_says_the_same() {
        let told = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index0/ways_of_associativity");
        if let (Ok(told), Some(found)) = (told, super::ways()) {
            assert_eq!(told.trim().parse(), Ok(found));
        }
    }
}
