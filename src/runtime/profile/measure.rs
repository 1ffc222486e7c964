//! Timing a step's tasks one by one, and the kernels of repeats turn by turn.

use std::time::{Duration, Instant};

use super::Profile;
use crate::codegen::{Memory, Part, TaskCode, Turns};
use crate::error::{Error, Result};
use crate::loops::Place;
use crate::runtime::{Executable, Inputs, State};

/// Steps in which repeats are taken apart, at most.
const TAKEN_APART: u64 = 100;

/// Seconds that a task takes, and each kernel of a repeat.
pub(super) struct Times {
    pub whole: f64,
    pub parts: Vec<f64>,
}

impl Executable {
    /// Runs the tasks of the program one by one, all of them `steps` times over, and tells where the time goes: for each
    /// its median time, less that of reading the clock. Straight-line code is timed as one task. A repeat is timed as
    /// one, too; in some further steps, at most 100, its kernels run one by one on this thread, and the time of the
    /// repeat is divided as they take it.
    ///
    /// It works on a copy of the state: nothing is trained.
    ///
    /// # Errors
    /// As [`Executable::run`]; no steps.
    ///
    /// ```
    /// use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [32, 64], F32), g.parameter("w", [64, 16], F32));
    /// let f = g.compile(&[("y", x.matmul(w))])?;
    /// let inputs = f.inputs().with("x", Array2::<f32>::ones((32, 64)))?;
    /// let profile = f.profile(&f.state(), &inputs, 10)?;
    /// assert_eq!(profile.tasks[0].work.flops, 2 * 32 * 16 * 64);
    /// assert!(profile.tasks[0].work.sources[0].operator.starts_with("dot"));
    /// println!("{profile}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn profile(&self, state: &State, inputs: &Inputs, steps: u64) -> Result<Profile> {
        if steps == 0 {
            return Err(Error::Value(
                "profile takes the number of steps to time, at least 1; given 0".into(),
            ));
        }
        let inputs = self.check(state, inputs)?;
        let mut copy = state.clone();
        if self.code.tasks.is_empty() {
            let started = Instant::now();
            self.steps(&mut copy, inputs, steps);
            let whole = started.elapsed().as_secs_f64() / steps as f64;
            return Ok(Profile::new(steps, &self.work, &[Times { whole, parts: vec![] }]));
        }
        let (tasks, mut watch) = (&self.code.tasks, self.watch(&mut copy, inputs));
        // SAFETY: as in `Executable::steps`; the copy is ours alone, and tasks run as in a step, in its order.
        let (whole, parts) =
            unsafe { (watch.tasks(tasks, steps), watch.parts(tasks, steps.min(TAKEN_APART))) };
        let times = whole.into_iter().zip(parts).map(|(whole, parts)| Times { whole, parts });
        Ok(Profile::new(steps, &self.work, &times.collect::<Vec<_>>()))
    }

    fn watch(&self, state: &mut State, inputs: *const *const u8) -> Watch<impl Fn()> {
        let (outputs, arena) = (state.outputs.start(), state.arena.start());
        let memory = Memory { state: state.memory.start(), inputs, outputs, arena };
        let clock = median((0..101).map(|_| Instant::now().elapsed()).collect());
        Watch { memory, clean: || self.clean_vectors(), clock, turns: vec![] }
    }
}

/// Runs tasks and times them.
struct Watch<C> {
    memory: Memory,
    /// To be called before each task.
    clean: C,
    /// What it takes to read the clock.
    clock: Duration,
    /// The turns of the repeats around what runs.
    turns: Vec<u64>,
}

impl<C: Fn()> Watch<C> {
    /// The median time of each task in steps of them all, in seconds.
    ///
    /// # Safety
    /// The tasks are those of a step, and the memory is of its layout and nobody else's.
    unsafe fn tasks(&self, tasks: &[TaskCode], steps: u64) -> Vec<f64> {
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); tasks.len()];
        for _ in 0..steps {
            for (task, times) in tasks.iter().zip(&mut times) {
                let started = Instant::now();
                // SAFETY: the caller's promise.
                unsafe { self.run(task) };
                times.push(started.elapsed());
            }
        }
        times.into_iter().map(|times| median(times).saturating_sub(self.clock).as_secs_f64()).collect()
    }

    /// The median time of each kernel of tasks that are repeats, in steps of all tasks, in seconds.
    ///
    /// # Safety
    /// As above.
    unsafe fn parts(&mut self, tasks: &[TaskCode], steps: u64) -> Vec<Vec<f64>> {
        let kernels = |task: &TaskCode| task.turns.as_ref().map_or(0, Turns::kernels);
        let mut times: Vec<Vec<Vec<Duration>>> =
            tasks.iter().map(|task| vec![vec![]; kernels(task)]).collect();
        if times.iter().all(Vec::is_empty) {
            return vec![vec![]; tasks.len()];
        }
        for _ in 0..steps {
            for (task, times) in tasks.iter().zip(&mut times) {
                let mut step = vec![Duration::ZERO; times.len()];
                // SAFETY: the caller's promise.
                match &task.turns {
                    Some(turns) => unsafe { self.take_apart(turns, &mut step) },
                    None => unsafe { self.run(task) },
                }
                times.iter_mut().zip(step).for_each(|(times, time)| times.push(time));
            }
        }
        let medians =
            |times: Vec<Vec<Duration>>| times.into_iter().map(|times| median(times).as_secs_f64()).collect();
        times.into_iter().map(medians).collect()
    }

    unsafe fn run(&self, task: &TaskCode) {
        (self.clean)();
        // SAFETY: the caller's promise.
        unsafe { task.run(self.memory) };
    }

    /// Does all turns of a repeat, and adds what each kernel takes to its time.
    unsafe fn take_apart(&mut self, turns: &Turns, times: &mut [Duration]) {
        for turn in 0..turns.count as u64 {
            // SAFETY: the caller's promise: a bool lies there.
            if turns.condition.is_some_and(|place| unsafe { self.address(place).read() } == 0) {
                break;
            }
            self.turns.push(turn);
            for part in &turns.parts {
                match part {
                    Part::Kernel(kernel, number) => {
                        (self.clean)();
                        let started = Instant::now();
                        // SAFETY: the caller's promise.
                        unsafe { kernel.call(self.memory, &self.turns) };
                        times[*number] += started.elapsed().saturating_sub(self.clock);
                    }
                    // SAFETY: the caller's promise.
                    Part::Repeat(inner) => unsafe { self.take_apart(inner, times) },
                }
            }
            self.turns.pop();
        }
    }

    unsafe fn address(&self, place: Place) -> *const u8 {
        let Memory { state, inputs, outputs, arena } = self.memory;
        // SAFETY: the caller's promise: the blocks have that layout.
        unsafe {
            match place {
                Place::State { offset } => state.add(offset),
                Place::Output { offset } => outputs.add(offset),
                Place::Arena { offset } => arena.add(offset),
                Place::Input { index } => inputs.add(index).read(),
            }
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use crate::Executable;
    use crate::prelude::*;

    /// A step taken apart does what a step does, and each kernel was timed.
    fn check(f: &Executable, inputs: &[(&str, Value)]) {
        let set = |set: Inputs, (name, value): &(&str, Value)| set.with(name, value.clone()).unwrap();
        let inputs = inputs.iter().fold(f.inputs(), set);
        let (mut whole, mut apart) = (f.state(), f.state());
        f.run(&mut whole, &inputs).unwrap();
        let pointers = f.check(&apart, &inputs).unwrap();
        // SAFETY: as in `Executable::profile`.
        let times = unsafe { f.watch(&mut apart, pointers).parts(&f.code.tasks, 1) };
        for entry in f.state().signature() {
            assert_eq!(whole.get(&entry.name).unwrap(), apart.get(&entry.name).unwrap(), "{}", entry.name);
        }
        let [whole, apart] = [whole, apart].map(|state| {
            f.layout.outputs.iter().map(|entry| state.outputs.read(entry).unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(whole, apart);
        let repeats = f.work.iter().zip(times).filter(|(work, _)| !work.parts.is_empty());
        let repeats: Vec<_> = repeats.collect();
        assert!(!repeats.is_empty());
        for (work, times) in repeats {
            assert_eq!(work.parts.len(), times.len(), "{:?}", work.whole.kernels);
        }
    }

    fn ramp(shape: &[usize]) -> Value {
        let mut next = 0.0;
        let number = || {
            next += 1.0_f32;
            (next * 0.37).sin()
        };
        ArrayD::from_shape_simple_fn(shape, number).into()
    }

    #[test]
    fn loops_in_loops_and_their_gradients() {
        let g = Graph::new();
        let (x, w) = (g.input("x", [5, 40, 30], F32), g.parameter("w", [30, 30], F32));
        let nested = g.scan(&[g.input("h", [40, 30], F32)], &[x], |carry, slices| {
            let inner =
                g.repeat(3, &[carry[0] + slices[0]], |h| Ok((vec![h[0].matmul(w).tanh()], vec![])))?;
            Ok((inner.0, vec![]))
        });
        let loss = nested.unwrap().0[0].square().mean(..);
        let f = g.training_step(loss, Sgd::new(0.1)).unwrap().compile().unwrap();
        check(&f, &[("x", ramp(&[5, 40, 30])), ("h", ramp(&[40, 30]))]);
    }

    #[test]
    fn a_loop_that_ends_when_its_condition_does() {
        let g = Graph::new();
        let x = g.input("x", [3000], F32);
        let y = g.while_loop(
            50,
            &[x],
            |carry| Ok(carry[0].square().sum(..).less(1e6)),
            |carry| Ok(vec![carry[0] * 1.5]),
        );
        check(&g.compile(&[("y", y.unwrap()[0])]).unwrap(), &[("x", ramp(&[3000]))]);
    }

    #[test]
    fn strips_of_a_large_batch() {
        let g = Graph::new();
        let x = g.input("x", [40_000, 8], F32);
        let hidden = x.matmul(g.parameter("w", [8, 32], F32)).relu();
        let loss = hidden.matmul(g.parameter("v", [32, 1], F32)).square().mean(..);
        let f = g.training_step(loss, Sgd::new(0.1)).unwrap().compile().unwrap();
        check(&f, &[("x", ramp(&[40_000, 8]))]);
    }
}
