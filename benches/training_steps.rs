//! Training steps of models from tiny to middle-sized: time a step, called and looped inside, and compile time.
//!
//! `cargo bench --bench training_steps -- [--json|--profile] [--threads N] [--cpu CPU] [NAME…]`. Data is noise of the right
//! shapes; a step is forward, loss, gradient and update. Times are medians over repeated batches. Large kernels may use as
//! many threads as `--threads` says, one by default. Code is for this processor with all it can do, or for lesser ones:
//! `--cpu without-avx512` or `--cpu baseline`. `benches/peers/compare.py` runs other systems on the same work.

use std::time::Instant;

use hitofude::prelude::*;
use hitofude::{Cache, Cpu, Options};
use timing::median;
use workloads::{WORKLOADS, Workload};

mod timing;
mod workloads;

/// Where the time of a step goes.
fn profile(workload: &Workload, cpu: Cpu) -> Result<()> {
    let step = (workload.build)(&Graph::new())?.compile_with(&Options { cpu, ..Options::default() })?;
    let (state, inputs, _) = workloads::start(&step)?;
    println!("{}\n{}", workload.name, step.profile(&state, &inputs, 100)?);
    Ok(())
}

fn measure(workload: &Workload, cpu: Cpu, json: bool) -> Result<()> {
    let g = Graph::new();
    let built = (workload.build)(&g)?;
    let started = Instant::now();
    let step = built.compile_with(&Options { cache: Cache::Off, cpu, ..Options::default() })?;
    let compile_ms = started.elapsed().as_secs_f64() * 1e3;
    let (mut state, inputs, _) = workloads::start(&step)?;
    let report = step.compile_report();
    let call = median(1, 1.0, || {
        step.run(&mut state, &inputs).expect("state and inputs are the step's own");
    });
    let looped = median(1000, 1.0, || {
        let count = if call < 1e-4 { 1000 } else { 1 };
        step.run_many(&mut state, &inputs, count).expect("state and inputs are the step's own");
    });
    let looped = if call < 1e-4 { looped } else { looped * 1000.0 };
    let name = workload.name;
    let (arena, kernels) = (report.arena_bytes, report.kernels);
    for (mode, seconds) in [("call", call), ("loop", looped)] {
        let us = seconds * 1e6;
        match json {
            true => println!(
                r#"{{"work":"{name}","mode":"{mode}","us_per_step":{us:.6},"compile_ms":{compile_ms:.3},"arena_bytes":{arena},"kernels":{kernels}}}"#
            ),
            false => println!(
                "{name:<16}{mode:<6}{us:>14.4} µs{compile_ms:>10.2} ms{kernels:>8} kernels{arena:>12} bytes"
            ),
        }
    }
    Ok(())
}

/// What the command line asks for.
struct Settings {
    json: bool,
    profile: bool,
    threads: usize,
    cpu: Cpu,
    names: Vec<String>,
}

fn settings(mut arguments: impl Iterator<Item = String>) -> Result<Settings> {
    let mut settings = Settings { json: false, profile: false, threads: 1, cpu: Cpu::Native, names: vec![] };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {} // Cargo's own
            "--json" => settings.json = true,
            "--profile" => settings.profile = true,
            "--threads" => settings.threads = timing::threads(arguments.next())?,
            "--cpu" => {
                settings.cpu = match arguments.next().as_deref() {
                    Some("native") => Cpu::Native,
                    Some("without-avx512") => Cpu::WithoutAvx512,
                    Some("baseline") => Cpu::Baseline,
                    _ => return Err(Error::Value("--cpu wants native, without-avx512 or baseline".into())),
                }
            }
            name if WORKLOADS.iter().any(|workload| workload.name == name) => settings.names.push(argument),
            other => {
                let known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
                return Err(Error::Value(format!("no workload `{other}`; there are {}", known.join(", "))));
            }
        }
    }
    Ok(settings)
}

fn main() -> Result<()> {
    let Settings { json, profile: profiled, threads, cpu, names } = settings(std::env::args().skip(1))?;
    timing::use_threads(threads)?;
    let wanted = |workload: &&Workload| names.is_empty() || names.iter().any(|name| name == workload.name);
    WORKLOADS.iter().filter(wanted).try_for_each(|workload| match profiled {
        true => profile(workload, cpu),
        false => measure(workload, cpu, json),
    })
}
