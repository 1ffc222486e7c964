//! The safe call: what it allocates, where things lie, what it refuses.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hitofude::prelude::*;
use hitofude::{Cache, Options};

/// Counts this thread's allocations.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

// SAFETY: defers to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn linear(samples: usize, columns: usize) -> Executable {
    let g = Graph::new();
    let anew = Options { cache: Cache::Off, ..Options::default() };
    let (x, t) = (g.input("x", [samples, columns], F32), g.input("target", [samples, 1], F32));
    let output = x.linear(g.parameter("weight", [1, columns], F32), g.parameter("bias", [1], F32));
    g.training_step(output.mse_loss(t), Sgd::new(0.01))
        .unwrap()
        .output("output", output)
        .compile_with(&anew)
        .unwrap()
}

fn ones(step: &Executable, samples: usize, columns: usize) -> Inputs {
    let (x, t) = (Array2::<f32>::ones((samples, columns)), Array2::<f32>::ones((samples, 1)));
    step.inputs().with("x", x).unwrap().with("target", t).unwrap()
}

#[test]
fn a_step_allocates_nothing() {
    // Straight-line code, and loop nests.
    for (samples, columns) in [(1, 3), (64, 20)] {
        let step = linear(samples, columns);
        let (mut state, inputs) = (step.state(), ones(&step, samples, columns));
        let before = ALLOCATIONS.get();
        let mut sum = 0.0;
        for _ in 0..100 {
            let report = step.run(&mut state, &inputs).unwrap();
            sum += report.loss()
                + report.number("output").unwrap()
                + f64::from(report.view::<f32>("output").unwrap()[[0, 0]]);
        }
        step.run_many(&mut state, &inputs, 100).unwrap();
        assert!(sum.is_finite());
        // Array views keep their shape inline up to four axes.
        assert_eq!(ALLOCATIONS.get() - before, 0);
    }
}

#[test]
fn parameters_are_updated_where_they_are() {
    let step = linear(4, 3);
    let (mut state, inputs) = (step.state(), ones(&step, 4, 3));
    let address = |state: &State| state.view::<f32>("weight").unwrap().as_ptr();
    let before = (address(&state), state.get("weight").unwrap());
    step.run(&mut state, &inputs).unwrap();
    step.run_many(&mut state, &inputs, 10).unwrap();
    state.set("weight", array![[1.0f32, 2.0, 3.0]]).unwrap();
    assert_eq!(address(&state), before.0);
    assert_ne!(state.get("weight").unwrap(), before.1);
}

#[test]
fn one_program_trains_many_states_on_many_threads() {
    let step = linear(4, 3);
    let inputs = ones(&step, 4, 3);
    let train = |rate: f64| {
        let mut state = step.state();
        state.set_number("learning_rate", rate).unwrap();
        step.run_many(&mut state, &inputs, 50).unwrap();
        state.get("weight").unwrap()
    };
    let alone: Vec<Value> = (0..8).map(|i| train(0.001 * f64::from(i))).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let train = &train;
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || train(0.001 * f64::from(i)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn a_clone_is_a_snapshot() {
    let step = linear(4, 3);
    let (mut state, inputs) = (step.state(), ones(&step, 4, 3));
    let snapshot = state.clone();
    step.run(&mut state, &inputs).unwrap();
    assert_eq!(snapshot.get("weight").unwrap(), step.state().get("weight").unwrap());
    let copied = inputs.clone();
    drop(inputs);
    assert!(step.run(&mut state, &copied).unwrap().loss() < 1.0);
}

#[test]
fn wrong_inputs_are_refused_by_name_and_type() {
    let step = linear(1, 3);
    let message = |result: Result<Inputs>| result.unwrap_err().to_string();
    let shape = message(step.inputs().with("x", array![0.1f32, 0.2, 0.3]));
    assert_eq!(shape, "input `x` is f32[1,3], but the value given is f32[3]");
    let dtype = message(step.inputs().with("x", array![[0.1f64, 0.2, 0.3]]));
    assert_eq!(dtype, "input `x` is f32[1,3], but the value given is f64[1,3]");
    let name = message(step.inputs().with("X", array![[0.1f32, 0.2, 0.3]]));
    assert_eq!(name, "there is no input `X`; known: `x` (f32[1,3]), `target` (f32[1,1])");
    let partial = step.inputs().with("x", array![[0.1f32, 0.2, 0.3]]).unwrap();
    let missing = step.run(&mut step.state(), &partial).unwrap_err().to_string();
    assert_eq!(missing, "input `target` (f32[1,1]) has no value; set it with `inputs.set(\"target\", …)`");
    let state = step.state().set("weight", array![1.0f32]).unwrap_err().to_string();
    assert_eq!(state, "state `weight` is f32[1,3], but the value given is f32[1]");
}

#[test]
fn memory_of_another_program_is_refused() {
    let (step, other) = (linear(1, 3), linear(1, 3));
    let (inputs, foreign) = (ones(&step, 1, 3), ones(&other, 1, 3));
    assert!(
        step.run(&mut other.state(), &inputs)
            .unwrap_err()
            .to_string()
            .contains("the state given came from another")
    );
    assert!(
        step.run(&mut step.state(), &foreign)
            .unwrap_err()
            .to_string()
            .contains("the inputs given came from another")
    );
}

#[test]
fn running_zero_times_changes_nothing() {
    let step = linear(1, 3);
    let mut state = step.state();
    step.run_many(&mut state, &ones(&step, 1, 3), 0).unwrap();
    assert_eq!(state.get("weight").unwrap(), Value::from(array![[0.0f32, 0.0, 0.0]]));
}

#[test]
fn programs_can_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<Executable>();
    check::<State>();
    check::<Inputs>();
}

#[test]
fn code_memory_is_given_back() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        status.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0)
    };
    (0..20).for_each(|_| drop(linear(1, 3)));
    let before = resident();
    (0..400).for_each(|_| drop(linear(1, 3)));
    assert!(resident() < before + 256, "{} pages more", resident() - before);
}
