//! Threads and timing, the same for every benchmark.

use std::time::{Duration, Instant};

use hitofude::{Error, Result};

/// The number that follows `--threads`.
pub fn threads(argument: Option<String>) -> Result<usize> {
    let number = argument.and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::Value("--threads wants a number".into()))
}

/// Has large kernels use as many threads from here on.
pub fn use_threads(count: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build_global();
    pool.map_err(|error| Error::Value(error.to_string()))
}

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
