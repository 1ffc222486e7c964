//! Threads of rayon's pool that work for the steps of one thread. They stay awake from one kernel to the next, and a little
//! longer: a sleeping thread takes up to 50 µs to wake, as long as many kernels run. Nobody waits for a thread that has not
//! come yet: what is left to do goes to whoever is there, so a busy machine does not stall a step.

use std::cell::{Cell, OnceCell};
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a thread looks out for work before it goes back to the pool.
const PATIENCE: Duration = Duration::from_micros(200);

/// Looks between two looks at the clock.
const LOOKS: u32 = 64;

/// Looks after which the thread that waits for the others lets another run on its core.
const YIELDS: u32 = 1 << 12;

/// The shares of a job that are still to be taken, a range of numbers, and the job's own number: in one word.
#[derive(Clone, Copy)]
struct Left {
    job: u32,
    first: u16,
    end: u16,
}

impl Left {
    fn of(word: u64) -> Left {
        Left { job: (word >> 32) as u32, first: (word >> 16) as u16, end: word as u16 }
    }

    fn word(self) -> u64 {
        u64::from(self.job) << 32 | u64::from(self.first) << 16 | u64::from(self.end)
    }

    /// The share to do next, and what is left then. From kernel to kernel a thread gets much the same data, which is in its
    /// cache: who announces the job begins at the front, and the others at the back.
    fn take(self, from: End) -> Option<(u16, Left)> {
        (self.first < self.end).then(|| match from {
            End::Front => (self.first, Left { first: self.first + 1, ..self }),
            End::Back => (self.end - 1, Left { end: self.end - 1, ..self }),
        })
    }
}

#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

/// Runs one share of a job: what the job is, and the share's number.
type RunFn = unsafe fn(*const (), usize);

/// A value on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Line<T>(T);

/// The job at hand, and who is there to do it.
#[derive(Default)]
struct Team {
    run: AtomicPtr<()>,
    job: AtomicPtr<()>,
    /// The shares still to be taken.
    left: Line<AtomicU64>,
    done: Line<AtomicUsize>,
    /// Threads that are there, or were asked to come.
    members: AtomicUsize,
}

/// Runs `run` for each number below `shares`, on the threads of the current pool. What is computed must not depend on which
/// thread computes it.
pub(super) fn share<F: Fn(usize) + Sync>(shares: u16, run: &F) {
    thread_local! {
        static TEAM: OnceCell<Arc<Team>> = const { OnceCell::new() };
    }
    let others = threads() - 1;
    if shares < 2 || others == 0 {
        return (0..shares.into()).for_each(run);
    }
    unsafe fn run_share<F: Fn(usize) + Sync>(job: *const (), number: usize) {
        // SAFETY: `share` passes its closure, and does not return before all shares are done. A share has one thread.
        alone(|| unsafe { (*job.cast::<F>())(number) });
    }
    TEAM.with(|team| {
        let team = team.get_or_init(Arc::default);
        team.gather(others.min(usize::from(shares) - 1));
        team.announce(run_share::<F>, std::ptr::from_ref(run).cast(), shares);
        let all = Rest { team, shares: shares.into() };
        while team.work(End::Front) {}
        drop(all);
    });
}

thread_local! {
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` without the pool's threads.
pub(super) fn alone(f: impl FnOnce()) {
    IS_ALONE.set(true);
    f();
    IS_ALONE.set(false);
}

/// The threads that work for the steps of this one: those of the current pool, unless it is to be alone.
pub(super) fn threads() -> usize {
    if IS_ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// Waits, when dropped, until all shares are done: the job lives on the stack of who announced it.
struct Rest<'t> {
    team: &'t Team,
    shares: usize,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        let mut looks = 0;
        while self.team.done.0.load(Ordering::Acquire) < self.shares {
            looks += 1;
            if looks % YIELDS == 0 { std::thread::yield_now() } else { spin_loop() }
        }
    }
}

impl Team {
    /// Asks for as many threads as are missing.
    fn gather(self: &Arc<Team>, wanted: usize) {
        while self.members.load(Ordering::Relaxed) < wanted {
            self.members.fetch_add(1, Ordering::Relaxed);
            let team = self.clone();
            rayon::spawn(move || team.look_out());
        }
    }

    fn announce(&self, run: RunFn, job: *const (), shares: u16) {
        self.run.store(run as *mut (), Ordering::Relaxed);
        self.job.store(job.cast_mut(), Ordering::Relaxed);
        self.done.0.store(0, Ordering::Relaxed);
        let before = Left::of(self.left.0.load(Ordering::Relaxed));
        let left = Left { job: before.job.wrapping_add(1), first: 0, end: shares };
        self.left.0.store(left.word(), Ordering::Release);
    }

    /// Does one share, if there is one left.
    fn work(&self, from: End) -> bool {
        let mut word = self.left.0.load(Ordering::Acquire);
        while let Some((number, left)) = Left::of(word).take(from) {
            let (run, job) = (self.run.load(Ordering::Relaxed), self.job.load(Ordering::Relaxed));
            match self.left.0.compare_exchange_weak(word, left.word(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: the share was still to be taken when the job was read, so it is one of that job, and who
                    // announced it waits. A function was stored as a pointer.
                    unsafe { std::mem::transmute::<*mut (), RunFn>(run)(job, number.into()) };
                    self.done.0.fetch_add(1, Ordering::Release);
                    return true;
                }
                Err(other) => word = other,
            }
        }
        false
    }

    /// Works for the team until nothing has come for a while.
    fn look_out(&self) {
        let mut last = Instant::now();
        let mut looks = 0;
        loop {
            looks += 1;
            if self.work(End::Back) {
                looks = 0;
            } else if looks % LOOKS == 1 {
                match looks {
                    1 => last = Instant::now(),
                    _ if last.elapsed() > PATIENCE => break,
                    _ => {}
                }
            }
            spin_loop();
        }
        self.members.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs of changing sizes, one after the other, from several threads at a time.
    #[test]
    fn every_share_is_done_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let pool = &pool;
                scope.spawn(move || pool.install(|| run_jobs(seed)));
            }
        });
    }

    fn run_jobs(seed: usize) {
        for round in 0..3000 {
            let shares = (round * 7 + seed) % 23;
            let times: Vec<AtomicUsize> = (0..shares).map(|_| AtomicUsize::new(0)).collect();
            let sum = AtomicUsize::new(0);
            share(shares as u16, &|number| {
                times[number].fetch_add(1, Ordering::Relaxed);
                sum.fetch_add(number * round, Ordering::Relaxed);
            });
            assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1), "round {round}");
            assert_eq!(sum.into_inner(), shares * shares.saturating_sub(1) / 2 * round);
        }
    }

    /// Threads go back to the pool when there is nothing to do, and others come when there is.
    #[test]
    fn threads_return_to_their_pool() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for _ in 0..3 {
            pool.install(|| share(2, &|_| {}));
            // A thread of the pool that works for a team would keep this from being done by both.
            let barrier = std::sync::Barrier::new(2);
            std::thread::sleep(2 * PATIENCE);
            pool.broadcast(|_| barrier.wait());
        }
    }
}
