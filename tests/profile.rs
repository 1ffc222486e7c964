//! Where the time of a step goes: what is counted, and what is left alone. No time is asserted.

use std::collections::BTreeSet;

use hitofude::prelude::*;
use hitofude::schedule::Schedule;
use hitofude::{Options, Profile, Source, TaskProfile, Work};

#[path = "../benches/workloads/mod.rs"]
mod workloads;
use workloads::WORKLOADS;

fn filled(executable: &Executable) -> Inputs {
    workloads::start(executable).unwrap().1
}

/// One profile, which must have left the state alone.
fn profile(executable: &Executable) -> Profile {
    let state = executable.state();
    let before: Vec<Value> = state.signature().iter().map(|entry| state.get(&entry.name).unwrap()).collect();
    let profile = executable.profile(&state, &filled(executable), 3).unwrap();
    let after: Vec<Value> = state.signature().iter().map(|entry| state.get(&entry.name).unwrap()).collect();
    assert_eq!(before, after);
    profile
}

/// Every kernel of the schedule, named once.
fn assert_complete(profile: &Profile, schedule: &Schedule) {
    let expected: Vec<&String> = schedule.program.kernels().into_iter().map(|kernel| &kernel.name).collect();
    let found: Vec<&String> = profile.tasks.iter().flat_map(|task| &task.work.kernels).collect();
    assert_eq!(found, expected);
    let shares: f64 = profile.tasks.iter().map(|task| task.share).sum();
    assert!((shares - 1.0).abs() < 1e-12, "{shares}");
    assert!(profile.tasks.iter().all(|task| task.seconds >= 0.0 && task.share >= 0.0));
    assert!(profile.tasks.iter().all(|task| !task.work.sources.is_empty()));
    profile.tasks.iter().filter(|task| !task.parts.is_empty()).for_each(assert_divided);
}

/// A repeat's kernels make up all of it.
fn assert_divided(repeat: &TaskProfile) {
    let kernels: Vec<&String> = repeat.parts.iter().flat_map(|part| &part.work.kernels).collect();
    assert_eq!(kernels, repeat.work.kernels.iter().collect::<Vec<_>>());
    let sum = |of: fn(&Work) -> usize| repeat.parts.iter().map(|part| of(&part.work)).sum::<usize>();
    assert_eq!(sum(|work| work.bytes), repeat.work.bytes);
    assert_eq!(sum(|work| work.flops), repeat.work.flops);
    assert!(repeat.parts.iter().all(|part| part.seconds >= 0.0));
    for (of_parts, of_all) in [
        (repeat.parts.iter().map(|part| part.seconds).sum::<f64>(), repeat.seconds),
        (repeat.parts.iter().map(|part| part.share).sum::<f64>(), repeat.share),
    ] {
        assert!((of_parts - of_all).abs() <= 1e-12, "{of_parts} of {of_all}");
    }
}

#[test]
fn every_kernel_of_a_workload_is_named_once() {
    for name in ["seed", "tiny_mlp", "mnist_mlp_adam"] {
        let workload = WORKLOADS.iter().find(|workload| workload.name == name).unwrap();
        let g = Graph::new();
        let step = (workload.build)(&g).unwrap();
        assert_complete(&profile(&step.compile().unwrap()), &step.schedule().unwrap());
    }
}

/// Packing is greedy, and so may leave gaps: a fifth at most.
#[test]
fn the_arena_holds_little_more_than_is_in_use_at_one_time() {
    for workload in WORKLOADS {
        let (name, g) = (workload.name, Graph::new());
        let schedule = (workload.build)(&g).unwrap().schedule().unwrap();
        let (live, arena) = (schedule.live_bytes(), schedule.program.arena_bytes);
        assert!(live <= arena && arena <= live + live / 5, "{name}: {live} of {arena}");
        assert!(live > 0 || name == "gelu_chain", "{name}");
    }
    // A row and its sum: the sum waits for the row to be read again.
    let g = Graph::new();
    let x = g.input("x", [4096], F64).tanh();
    let f = g.function().output("y", x / x.sum(..));
    let schedule = f.schedule(&Options::default()).unwrap();
    assert!(schedule.live_bytes() <= 4096 * 8 + 64, "{}", schedule.live_bytes());
}

/// The bytes of the arena for `f(x · w) · v`, of which only `x · w` and `f(x · w)` are scratch.
fn arena_between_products(columns: usize, f: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> usize {
    let g = Graph::new();
    let (x, w) = (g.input("x", [columns, 64], F32), g.input("w", [64, columns], F32));
    let function = g.function().output("y", f(x.matmul(w)).matmul(g.input("v", [columns, 64], F32)));
    function.schedule(&Options::default()).unwrap().program.arena_bytes
}

#[test]
fn results_take_the_place_of_operands_that_die() {
    let bytes = 64 * 64 * 4;
    assert_eq!(arena_between_products(64, |z| (z + 1.0).relu()), bytes);
    // Every element is read again after its place would have been taken.
    assert_eq!(arena_between_products(64, |z| z + z.transpose()), 2 * bytes);
    assert_eq!(arena_between_products(64, |z| z.matmul(z)), 2 * bytes);
}

#[test]
fn loop_nests_are_a_task_each() {
    let workload = WORKLOADS.iter().find(|workload| workload.name == "mnist_mlp").unwrap();
    let g = Graph::new();
    let step = (workload.build)(&g).unwrap().compile().unwrap();
    let (tasks, kernels) = (profile(&step).tasks.len(), step.compile_report().kernels);
    assert_eq!(tasks, kernels);
}

#[test]
fn flops_and_bytes_of_a_matmul_are_exact() {
    let (m, n, k) = (96, 80, 64);
    let g = Graph::new();
    let (x, w) = (g.input("x", [m, k], F32), g.input("w", [k, n], F32));
    let f = g.compile(&[("y", x.matmul(w))]).unwrap();
    let profile = profile(&f);
    let flops: usize = profile.tasks.iter().map(|task| task.work.flops).sum();
    assert_eq!(flops, 2 * m * n * k);
    let bytes: usize = profile.tasks.iter().map(|task| task.work.bytes).sum();
    assert_eq!(bytes, 4 * (m * k + k * n + m * n));
}

#[test]
fn elementwise_work_is_counted_as_it_runs() {
    let g = Graph::new();
    let x = g.input("x", [50, 40], F64);
    let row = g.input("row", [40], F64);
    // A product, a sum and a function of each element; and a sum of rows, to which each element adds.
    let y = (x * row + row).tanh();
    let f = g.compile(&[("y", y)]).unwrap();
    let profile = profile(&f);
    assert_eq!(profile.tasks.len(), 1);
    assert_eq!(profile.tasks[0].work.flops, 3 * 50 * 40);
    assert_eq!(profile.tasks[0].work.bytes, 8 * (2 * 50 * 40 + 40));

    let total = g.compile(&[("total", x.sum(1))]).unwrap();
    let work = self::profile(&total).tasks[0].work.clone();
    assert_eq!((work.flops, work.bytes), (50 * 40, 8 * (50 * 40 + 50)));
}

#[test]
fn only_the_part_that_is_read_counts() {
    let g = Graph::new();
    let x = g.input("x", [1000, 8], F32);
    let f = g.compile(&[("y", x.slice(0, 100..300) * 2.0)]).unwrap();
    assert_eq!(profile(&f).tasks[0].work.bytes, 2 * 4 * 200 * 8);
}

#[test]
fn straight_line_code_is_one_task_without_scratch_memory() {
    let g = Graph::new();
    let x = g.input("x", [3], F32);
    let w = g.parameter("w", [1, 3], F32);
    let step = g.training_step(x.matmul(w.transpose()).square().sum(..), Sgd::new(0.1)).unwrap();
    let profile = profile(&step.compile().unwrap());
    assert_eq!(profile.tasks.len(), 1);
    // x, w, w, the rate, and the loss.
    assert_eq!(profile.tasks[0].work.bytes, 4 * (3 + 3 + 3 + 1 + 1));
}

#[test]
fn a_loop_is_one_task_with_all_its_turns() {
    let g = Graph::new();
    let x = g.input("x", [2000], F32);
    let y = g.repeat(7, &[x], |y| Ok((vec![y[0] * 0.5 + 1.0], vec![]))).unwrap().0[0];
    let f = g.function().output("y", y);
    let (profile, schedule) = (profile(&f.compile().unwrap()), f.schedule(&Options::default()).unwrap());
    assert_complete(&profile, &schedule);
    let looped = profile.tasks.iter().find(|task| task.work.flops > 0).unwrap();
    assert_eq!(looped.work.flops, 7 * 2 * 2000);
}

#[test]
fn the_kernels_of_a_loop_are_told_apart() {
    let g = Graph::new();
    let (xs, w) = (g.input("xs", [9, 64, 32], F32), g.parameter("w", [48, 32], F32));
    let u = g.parameter("u", [48, 48], F32);
    let last = g.scan(&[g.input("h", [64, 48], F32)], &[xs], |carry, slices| {
        Ok((vec![(slices[0].matmul(w.transpose()) + carry[0].matmul(u.transpose())).tanh()], vec![]))
    });
    let step = g.training_step(last.unwrap().0[0].square().mean(..), Sgd::new(0.1)).unwrap();
    let profile = profile(&step.compile().unwrap());
    assert_complete(&profile, &step.schedule().unwrap());
    let parts: Vec<&TaskProfile> = profile.tasks.iter().flat_map(|task| &task.parts).collect();
    assert!(parts.iter().all(|part| part.work.runs == 9), "{profile}");
    let square =
        parts.iter().find(|part| part.work.flops == 9 * 2 * 64 * 48 * 48).expect("the product with u");
    let Source { operator, origin } = &square.work.sources[0];
    assert!(operator.starts_with("dot") && origin.contains("tests/profile.rs:"), "{operator} of {origin}");
    assert!(profile.to_string().contains(", 9 times"), "{profile}");
}

#[test]
fn the_kernels_of_strips_are_told_apart() {
    let g = Graph::new();
    let x = g.input("x", [40_000, 8], F32);
    let hidden = x.matmul(g.parameter("w", [8, 32], F32)).relu();
    let loss = hidden.matmul(g.parameter("v", [32, 1], F32)).square().mean(..);
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap();
    let profile = profile(&step.compile().unwrap());
    assert_complete(&profile, &step.schedule().unwrap());
    let parts: Vec<&TaskProfile> = profile.tasks.iter().flat_map(|task| &task.parts).collect();
    assert!(parts.len() > 3, "{profile}");
    assert!(parts.iter().all(|part| part.work.runs > 1 && !part.work.sources.is_empty()), "{profile}");
}

/// A loop in a loop in a loop, and so on.
fn nested<'g>(g: &'g Graph, depth: usize, x: Tensor<'g>) -> Result<Tensor<'g>> {
    let body = |x: Tensor<'g>| if depth > 1 { nested(g, depth - 1, x) } else { Ok((x * 0.9).tanh()) };
    Ok(g.repeat(2, &[x], |x| Ok((vec![body(x[0])?], vec![])))?.0[0])
}

#[test]
fn loops_far_in_each_other_are_timed_as_one() {
    for depth in 1..=5 {
        let g = Graph::new();
        let x = g.input("x", [3000], F32);
        let f = g.function().output("y", nested(&g, depth, x).unwrap());
        let (profile, schedule) = (profile(&f.compile().unwrap()), f.schedule(&Options::default()).unwrap());
        assert_complete(&profile, &schedule);
        let looped = profile.tasks.iter().find(|task| task.work.flops > 0).unwrap();
        assert_eq!(looped.work.flops, (1 << depth) * 2 * 3000);
        assert_eq!(looped.parts.is_empty(), depth > 3, "{depth}: {profile}");
    }
}

#[test]
fn work_is_traced_to_the_callers_lines() {
    let g = Graph::new();
    let (x, target) = (g.input("x", [64, 40], F32), g.input("target", [64, 8], F32));
    let w = g.parameter("w", [8, 40], F32);
    let loss = x.linear(w, g.parameter("b", [8], F32)).mse_loss(target);
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap().compile().unwrap();
    let profile = profile(&step);
    let origins: BTreeSet<String> = profile
        .tasks
        .iter()
        .flat_map(|task| &task.work.sources)
        .map(|source| source.origin.clone())
        .collect();
    assert!(origins.iter().any(|origin| origin.contains("tests/profile.rs:")), "{origins:?}");
    assert!(origins.iter().any(|origin| origin.starts_with("update w")), "{origins:?}");
    assert!(profile.to_string().contains("tests/profile.rs:"), "{profile}");
}

#[test]
fn misuse_is_an_error() {
    let g = Graph::new();
    let x = g.input("x", [3], F32);
    let (f, other) = (g.compile(&[("y", x + 1.0)]).unwrap(), g.compile(&[("y", x * 2.0)]).unwrap());
    assert!(f.profile(&f.state(), &f.inputs(), 1).is_err());
    assert!(f.profile(&f.state(), &filled(&other), 1).is_err());
    let message = f.profile(&f.state(), &filled(&f), 0).unwrap_err().to_string();
    assert!(message.contains("at least 1"), "{message}");
}
