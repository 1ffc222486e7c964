//! Timing, the same for every benchmark.

use std::time::{Duration, Instant};

/// The median time of one call of `run`, which runs `inner` steps, over batches of calls for so many seconds.
pub fn median(inner: u64, seconds: f64, mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    run();
    let batch = (0.02 / started.elapsed().as_secs_f64().max(1e-9)).ceil().min(1e7) as u32;
    let mut times = Vec::new();
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    while times.len() < 5 || Instant::now() < deadline {
        let started = Instant::now();
        (0..batch).for_each(|_| run());
        times.push(started.elapsed().as_secs_f64() / f64::from(batch) / inner as f64);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
