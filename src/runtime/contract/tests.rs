//! Every library against sums written out, over shapes around the sizes of tiles, strips and panels.

use super::*;
use crate::loops::Tables;

/// The libraries of this machine.
fn libraries() -> [Library; 3] {
    [Cpu::Native, Cpu::WithoutAvx512, Cpu::Baseline].map(library)
}

/// Small integers, whose sums are exact in any order.
fn numbers(seed: usize, count: usize) -> Vec<f64> {
    (0..count).map(|at| ((at * 7 + seed * 13) % 11) as f64 - 5.0).collect()
}

/// Row-major offsets of a matrix, by row and by column, in memory or transposed.
fn matrix(rows: usize, columns: usize, is_transposed: bool) -> (Vec<i32>, Vec<i32>) {
    let (row, column) = if is_transposed { (1, rows) } else { (columns, 1) };
    let steps = |count: usize, step: usize| (0..count).map(|at| (at * step) as i32).collect();
    (steps(rows, row), steps(columns, column))
}

fn expected(tables: &Tables, lhs: &[f64], rhs: &[f64], out: &mut [f64], scale: f64) {
    for (&row_lhs, &row_out) in tables.row_lhs.iter().zip(&tables.row_out) {
        for (&column_rhs, &column_out) in tables.column_rhs.iter().zip(&tables.column_out) {
            let terms = tables.depth_lhs.iter().zip(&tables.depth_rhs);
            let sum: f64 =
                terms.map(|(l, r)| lhs[(row_lhs + l) as usize] * rhs[(column_rhs + r) as usize]).sum();
            let at = &mut out[(row_out + column_out) as usize];
            *at = if tables.is_scaled { *at + scale * sum } else { sum };
        }
    }
}

/// Computes a contraction once.
///
/// # Safety
/// The tables are made for vectors of the lengths there are.
unsafe fn run<T>(
    contract: Contract<T>,
    tables: &Tables,
    lhs: *const T,
    rhs: *const T,
    out: *mut T,
    scale: T,
) {
    let prepared = (contract.prepare)(tables.clone());
    // SAFETY: the caller's promise.
    unsafe { (contract.call)(Arc::as_ptr(&prepared).cast(), lhs, rhs, out, scale) };
}

/// Runs both element types of every library; lengths are those of the operands and of the result.
fn check(tables: &Tables, [lhs, rhs, out]: [usize; 3]) {
    let (lhs, rhs, start) = (numbers(1, lhs), numbers(2, rhs), numbers(3, out));
    let mut wanted = start.clone();
    expected(tables, &lhs, &rhs, &mut wanted, 3.0);
    for library in libraries() {
        let mut wide = start.clone();
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let (l, r, mut short) = (narrow(&lhs), narrow(&rhs), narrow(&start));
        // SAFETY: the tables are made for vectors of these lengths.
        unsafe {
            run(library.contract_f64, tables, lhs.as_ptr(), rhs.as_ptr(), wide.as_mut_ptr(), 3.0);
            run(library.contract_f32, tables, l.as_ptr(), r.as_ptr(), short.as_mut_ptr(), 3.0);
        }
        let (m, n, k) = (tables.row_out.len(), tables.column_out.len(), tables.depth_lhs.len());
        assert_eq!(wide, wanted, "f64 {m}×{n}×{k}");
        assert_eq!(short, narrow(&wanted), "f32 {m}×{n}×{k}");
    }
}

/// The layouts of two matrices and their product; whether that is added to what is there.
fn check_matrices(m: usize, n: usize, k: usize) {
    for layout in 0..16 {
        let is = |bit: usize| layout >> bit & 1 == 1;
        let (row_lhs, depth_lhs) = matrix(m, k, is(0));
        let (depth_rhs, column_rhs) = matrix(k, n, is(1));
        let (row_out, column_out) = matrix(m, n, is(2));
        let tables = Tables::new([row_lhs, row_out], [column_rhs, column_out], [depth_lhs, depth_rhs], is(3));
        check(&tables, [m * k, k * n, m * n]);
    }
}

#[test]
fn matrices_of_all_sizes_and_layouts() {
    let sizes = [
        (1, 1, 1),
        (2, 3, 4),
        (12, 32, 8),
        (13, 33, 257),
        (5, 16, 300),
        (25, 10, 64),
        (7, 700, 3),
        (30, 47, 31),
        (57, 97, 517),
        (2, 1104, 1000),
        // Rows that are copied: as they compete for lines of the cache, are far away, meet very many columns, or end in a
        // tile of one.
        (1024, 50, 20),
        (1000, 70, 140),
        (30, 1310, 40),
        (61, 100, 33),
    ];
    for (m, n, k) in sizes {
        check_matrices(m, n, k);
    }
}

#[test]
fn tiles_of_all_shapes() {
    for m in 1..=2 * TALLEST {
        // One to four vectors of each width, and some that are not full.
        for n in [1, 3, 4, 8, 11, 12, 16, 24, 32, 37, 48, 64, 70] {
            check_matrices(m, n, 9);
        }
    }
}

/// One to three depths are all added row by row, and further ones are not.
#[test]
fn tiles_of_few_depths() {
    for depth in 1..=5 {
        for m in 1..=TALLEST + 1 {
            for n in [8, 16, 32, 64] {
                check_matrices(m, n, depth);
            }
        }
    }
}

/// Columns in panels of eight or sixteen, as operands and as results: some panels, one, and more than a cache holds.
#[test]
fn panels_are_read_and_written_where_they_lie() {
    for (m, panels, k) in [(1, 3, 5), (13, 2, 64), (64, 8, 784), (17, 1, 33), (29, 10, 1), (14, 70, 520)] {
        for width in [8, 16] {
            let (n, length) = (panels * width, (k * width) as i32);
            let columns = grid(&[(panels, length), (width, 1)]);
            let across = grid(&[(panels, (m * width) as i32), (width, 1)]);
            let rows = |step: usize| grid(&[(m, step as i32)]);
            let depth = |step: usize| grid(&[(k, step as i32)]);
            let read =
                Tables::new([rows(k), rows(n)], [columns, grid(&[(n, 1)])], [depth(1), depth(width)], false);
            check(&read, [m * k, n * k, m * n]);
            let written =
                Tables::new([rows(1), rows(width)], [grid(&[(n, 1)]), across], [depth(m), depth(n)], true);
            check(&written, [m * k, n * k, m * n]);
        }
    }
}

/// A convolution of rows: columns are positions in several images, depths are places in the window.
#[test]
fn windows_are_read_in_place() {
    let (images, width, window, channels) = (3, 21, 5, 4);
    let positions = width - window + 1;
    let images_and_positions = |per_image: usize| -> Vec<i32> {
        (0..images * positions).map(|at| (at / positions * per_image + at % positions) as i32).collect()
    };
    let tables = Tables::new(
        [
            (0..channels).map(|c| c * window as i32).collect(),
            (0..channels).map(|c| c * positions as i32).collect(),
        ],
        [images_and_positions(width), images_and_positions(channels as usize * positions)],
        [(0..window as i32).collect(), (0..window as i32).collect()],
        false,
    );
    let channels = channels as usize;
    check(&tables, [channels * window, images * width, images * channels * positions]);
}

/// Windows that move by two: the last one ends with its image, and some vectors begin in one row and end in the next.
#[test]
fn every_other_window() {
    for (images, positions, window, channels) in
        [(1, 64, 3, 20), (3, 50, 7, 64), (5, 14, 3, 30), (2, 9, 2, 13)]
    {
        let width = 2 * (positions - 1) + window;
        let tables = Tables::new(
            [grid(&[(channels, window as i32)]), grid(&[(channels, positions as i32)])],
            [
                grid(&[(images, width as i32), (positions, 2)]),
                grid(&[(images, (channels * positions) as i32), (positions, 1)]),
            ],
            [grid(&[(window, 1)]), grid(&[(window, 1)])],
            false,
        );
        check(&tables, [channels * window, images * width, images * channels * positions]);
    }
}

/// Offsets for the values of several variables, given their extents and steps; the last one moves fastest.
fn grid(vars: &[(usize, i32)]) -> Vec<i32> {
    vars.iter().fold(vec![0], |offsets, &(extent, step)| {
        offsets.iter().flat_map(|start| (0..extent as i32).map(move |at| start + step * at)).collect()
    })
}

/// Columns that lie one beside the other in the result, but in another order.
#[test]
fn columns_are_written_in_the_order_of_the_result() {
    let (m, k) = (6, 64);
    let (row_lhs, depth) = matrix(m, k, false);
    let (column_rhs, _) = matrix(8, k, false);
    let (row_out, column_out) = (grid(&[(m, 8)]), grid(&[(2, 4), (2, 1), (2, 2)]));
    assert_eq!(column_out, [0, 2, 1, 3, 4, 6, 5, 7]);
    let tables = Tables::new([row_lhs, row_out], [column_rhs, column_out], [depth.clone(), depth], false);
    check(&tables, [m * k, 8 * k, m * 8]);
}

/// A convolution of images of `size` by windows of 5, and the gradient of its weights.
fn convolution([images, inputs, outputs, size]: [usize; 4], is_gradient: bool) -> (Tables, [usize; 3]) {
    let positions = size - 4;
    let image = |channels: usize, size: usize, shape: [usize; 3]| {
        let [channel_step, plane, row] = [size * size, channels * size * size, size].map(|step| step as i32);
        let [count, height, width] = shape;
        match count {
            0 => grid(&[(channels, channel_step), (height, row), (width, 1)]),
            _ => grid(&[(count, plane), (height, row), (width, 1)]),
        }
    };
    let area = (positions * positions) as i32;
    let channels = [grid(&[(outputs, 25 * inputs as i32)]), grid(&[(outputs, area)])];
    let windows = [image(inputs, size, [0, 5, 5]), grid(&[(inputs, 25), (5, 5), (5, 1)])];
    let pixels = [
        image(inputs, size, [images, positions, positions]),
        image(outputs, positions, [images, positions, positions]),
    ];
    let lengths = [outputs * inputs * 25, images * inputs * size * size, images * outputs * area as usize];
    let ([weights, out], [window, weight], [input, output]) = (channels, windows, pixels);
    match is_gradient {
        false => (Tables::new([weights, out], [input, output], [weight, window], false), lengths),
        true => (
            Tables::new([out, weights], [window, weight], [output, input], true),
            [lengths[2], lengths[1], lengths[0]],
        ),
    }
}

#[test]
fn convolutions_are_computed_in_every_way() {
    let cases = [
        ([3, 1, 6, 32], false, Way::InPlace, false),
        ([2, 5, 4, 18], false, Way::InPlace, false),
        ([2, 3, 16, 14], false, Way::InPlace, false),
        ([2, 3, 16, 14], true, Way::Packed, true),
        ([2, 16, 16, 12], false, Way::Packed, true),
        ([8, 3, 16, 20], true, Way::Packed, false),
        ([3, 1, 6, 32], true, Way::Dots, false),
        ([3, 1, 5, 32], true, Way::Dots, false),
        ([2, 8, 128, 32], false, Way::Packed, false),
        // Images that no second cache holds, some windows of them at a time.
        ([8, 32, 3, 34], false, Way::InPlace, false),
    ];
    for (sizes, is_gradient, way, is_swapped) in cases {
        let (tables, lengths) = convolution(sizes, is_gradient);
        check(&tables, lengths);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(plan::<__m512>(&tables), (way, is_swapped), "{sizes:?} {is_gradient}");
        let _ = (way, is_swapped);
    }
}

/// How a contraction is computed, and whether its operands change places.
#[cfg(target_arch = "x86_64")]
fn plan<V: Kernels>(tables: &Tables) -> (Way, bool) {
    let (left, right) = Side::of(tables, std::ptr::null::<f32>(), std::ptr::null());
    let plan = Plan::of::<V, f32>(&left, &right, tables.depth_run);
    (plan.way, plan.is_swapped)
}

#[test]
fn small_contractions_of_even_tiles_are_sequences() {
    for (m, n, k, is_rhs_across, expected) in [
        (16, 16, 16, false, true),
        (64, 32, 16, true, true),
        // The last vector begins with columns of the one before.
        (16, 22, 16, false, true),
        // All columns are fewer than a vector's lanes.
        (16, 3, 16, false, false),
        // Worth two threads.
        (256, 256, 16, true, false),
    ] {
        let (row_lhs, depth_lhs) = matrix(m, k, false);
        let (depth_rhs, column_rhs) = matrix(k, n, is_rhs_across);
        let (row_out, column_out) = matrix(m, n, false);
        let tables = Tables::new([row_lhs, row_out], [column_rhs, column_out], [depth_lhs, depth_rhs], false);
        assert_eq!(is_sequence::<Portable<f32>>(&tables), expected, "{m} {n} {k}");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(is_sequence::<__m512>(&tables), expected && n != 22, "{m} {n} {k}");
    }
}

fn is_sequence<V: Kernels<Element = f32>>(tables: &Tables) -> bool {
    let prepared = Prepared::<V>::of(tables.clone());
    prepared.downcast_ref::<Prepared<V>>().unwrap().sequence.is_some()
}

/// Many rows of a few columns: the large operand is not packed for a shallow sum, unless that fills vectors for longer.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_small_operand_is_the_one_packed() {
    for (n, k, is_lhs_across, is_rhs_across, way, is_swapped) in [
        (8, 8, false, false, Way::InPlace, false),
        (8, 8, false, true, Way::Packed, false),
        (12, 16, false, true, Way::Packed, false),
        (2, 32, true, false, Way::Packed, true),
    ] {
        let (row_lhs, depth_lhs) = matrix(1000, k, is_lhs_across);
        let (depth_rhs, column_rhs) = matrix(k, n, is_rhs_across);
        let (row_out, column_out) = matrix(1000, n, false);
        let tables = Tables::new([row_lhs, row_out], [column_rhs, column_out], [depth_lhs, depth_rhs], false);
        assert_eq!(plan::<__m512>(&tables), (way, is_swapped), "{n} {k}");
    }
    // Windows that fill vectors but for the end of rows are read in place by a few channels, and packed for more.
    let (tables, _) = convolution([32, 16, 6, 18], false);
    assert_eq!(plan::<__m256>(&tables), (Way::InPlace, false));
    let (tables, _) = convolution([32, 16, 32, 32], false);
    assert_eq!(plan::<__m256>(&tables), (Way::Packed, false));
}

/// Windows read backwards: ends of runs lie as far apart as in a run that goes up.
#[test]
fn reversed_operands_are_read_in_place() {
    let backwards = |outer: usize, inner: usize| -> Vec<i32> {
        let steps = grid(&[(outer, inner as i32), (inner, -1)]);
        steps.iter().map(|at| at + inner as i32 - 1).collect()
    };
    for (m, n, outer, inner) in [(20usize, 40usize, 8, 5), (3, 64, 8, 4), (64, 3, 8, 5), (20, 40, 1, 37)] {
        let depth = backwards(outer, inner);
        let k = depth.len();
        let row_lhs = grid(&[(m, k as i32)]);
        let columns = backwards(n.div_ceil(inner), inner)[..n].to_vec();
        let span = (n.div_ceil(inner) * inner) as i32;
        let by_row = Tables::new(
            [row_lhs.clone(), grid(&[(m, n as i32)])],
            [columns, grid(&[(n, 1)])],
            [depth.clone(), grid(&[(k, span)])],
            false,
        );
        check(&by_row, [m * k, k * span as usize, m * n]);
        let by_column = Tables::new(
            [row_lhs, grid(&[(m, 1)])],
            [grid(&[(n, k as i32)]), grid(&[(n, m as i32)])],
            [depth.clone(), depth],
            true,
        );
        check(&by_column, [m * k, n * k, m * n]);
    }
}

/// NaN and infinities reach every sum that they are part of, and no other.
#[test]
fn what_is_not_finite_stays_where_it_belongs() {
    let (tables, [lhs, rhs, out]) = convolution([2, 3, 16, 14], false);
    let mut right = vec![1.0f32; rhs];
    right[0] = f32::NAN;
    let left = vec![0.0f32; lhs];
    for library in libraries() {
        let mut found = vec![1.0f32; out];
        // SAFETY: the tables are made for vectors of these lengths; what is packed in is this thread's, and as long as it says.
        unsafe {
            std::slice::from_raw_parts_mut(panel::start(), panel::MOST_BYTES / 4).fill(f32::NAN);
            std::slice::from_raw_parts_mut(panel::rows(), panel::ROWS_BYTES / 4).fill(f32::NAN);
            run(library.contract_f32, &tables, left.as_ptr(), right.as_ptr(), found.as_mut_ptr(), 1.0);
        }
        for (at, x) in found.iter().enumerate() {
            assert_eq!(x.is_nan(), at % 100 == 0 && at < 1600, "{at}");
            assert!(x.is_nan() || *x == 0.0);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let product = |m: usize, n: usize, k: usize, is_transposed: bool| {
        let (row_lhs, depth_lhs) = matrix(m, k, false);
        let (depth_rhs, column_rhs) = matrix(k, n, is_transposed);
        let (row_out, column_out) = matrix(m, n, false);
        let tables = Tables::new([row_lhs, row_out], [column_rhs, column_out], [depth_lhs, depth_rhs], false);
        (tables, [m * k, k * n, m * n])
    };
    let cases = [
        product(301, 130, 260, true),
        product(2049, 17, 257, true),
        product(23, 1500, 260, true),
        // All of the right operand is far away, and no half of it.
        product(3, 1104, 1000, false),
        convolution([32, 16, 6, 18], false),
    ];
    for (tables, [lhs, rhs, out]) in cases {
        let work = tables.row_out.len() * tables.column_out.len() * tables.depth_lhs.len();
        assert!(work >= LARGE, "too small to be split");
        let waves =
            |count: usize, pace: f32| (0..count).map(|at| (at as f32 * pace).sin()).collect::<Vec<f32>>();
        let (lhs, rhs) = (waves(lhs, 0.37), waves(rhs, 0.73));
        for library in libraries() {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![0.0f32; out];
                let address = out.as_mut_ptr() as usize;
                // SAFETY: the tables are made for vectors of these lengths.
                pool.install(|| unsafe {
                    run(library.contract_f32, &tables, lhs.as_ptr(), rhs.as_ptr(), address as *mut f32, 1.0);
                });
                out
            };
            let alone = run(1);
            assert!(run(2) == alone && run(3) == alone);
        }
    }
}

/// Generated code has legacy SSE moves, which crawl while upper halves of vector registers are in use.
#[cfg(target_arch = "x86_64")]
#[test]
fn upper_halves_of_registers_are_clean_after_a_call() {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid_count, _xgetbv};

    #[target_feature(enable = "xsave")]
    fn in_use() -> bool {
        const UPPER_HALVES: u64 = 1 << 2;
        // SAFETY: the caller has found out that component 1 can be read.
        unsafe { _xgetbv(1) & UPPER_HALVES != 0 }
    }
    let can_tell = is_x86_feature_detected!("xsave") && __cpuid_count(13, 1).eax & 1 << 2 != 0;
    if !can_tell || !is_x86_feature_detected!("avx") {
        return;
    }
    let (row_lhs, depth_lhs) = matrix(40, 50, false);
    let (depth_rhs, column_rhs) = matrix(50, 60, false);
    let (row_out, column_out) = matrix(40, 60, false);
    let tables = Tables::new([row_lhs, row_out], [column_rhs, column_out], [depth_lhs, depth_rhs], false);
    let (lhs, rhs) = (vec![1.0f32; 40 * 50], vec![1.0f32; 50 * 60]);
    let mut out = vec![0.0f32; 40 * 60];
    for library in libraries() {
        // SAFETY: AVX and XSAVE were found; tables and memory are as in the tests above.
        unsafe {
            asm!("vpcmpeqd xmm0, xmm0, xmm0", "vinsertf128 ymm0, ymm0, xmm0, 1", out("xmm0") _);
            assert!(in_use(), "the test could not fail");
            asm!("vzeroupper", clobber_abi("C"));
            run(library.contract_f32, &tables, lhs.as_ptr(), rhs.as_ptr(), out.as_mut_ptr(), 1.0);
            assert!(!in_use());
        }
    }
}
