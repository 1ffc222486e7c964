//! A schedule as Graphviz DOT: kernels with their loops, and the buffers between them.

use std::fmt::Write;

use super::escaped;
use crate::loops::{Place, Task};
use crate::schedule::Schedule;

/// The schedule in the DOT language: boxes are kernels in the order they run, ellipses are buffers.
pub fn schedule_dot(schedule: &Schedule) -> String {
    let mut text = String::from("digraph schedule {\n");
    text += "  graph [rankdir=TB, fontname=\"Helvetica\"];\n  node [fontname=\"Courier\", fontsize=10, style=filled];\n";
    text += "  edge [fontname=\"Helvetica\", fontsize=9, color=\"#475569\"];\n";
    for (index, buffer) in schedule.program.buffers.iter().enumerate() {
        let (name, fill) = (escaped(&buffer.name), colour(buffer.place));
        let (dtype, elements, place) = (buffer.dtype, buffer.elements, buffer.place);
        let _ = writeln!(
            text,
            "  b{index} [shape=ellipse, fillcolor=\"{fill}\", label=\"{name}\\nb{index}: {dtype} × {elements}\\n{place}\"];"
        );
    }
    boxes(&schedule.program.tasks, 0, &mut 0, &mut text);
    for (index, kernel) in schedule.program.kernels().into_iter().enumerate() {
        let (reads, writes) = kernel.reads_and_writes();
        for read in reads {
            let _ = writeln!(text, "  b{} -> k{index};", read.index());
        }
        for write in writes {
            let _ = writeln!(text, "  k{index} -> b{} [style=bold, color=\"#b91c1c\"];", write.index());
        }
        if index > 0 {
            let _ = writeln!(text, "  k{} -> k{index} [style=dotted, label=\"then\"];", index - 1);
        }
    }
    text + "}\n"
}

/// The kernels, those of a repeat in a frame.
fn boxes(tasks: &[Task], depth: usize, next: &mut usize, text: &mut String) {
    for task in tasks {
        match task {
            Task::Run(kernel) => {
                let loops = escaped(&kernel.to_string()).replace('\n', "\\l");
                let _ = writeln!(
                    text,
                    "  k{next} [shape=box, fillcolor=\"#f8fafc\", label=\"{next}: {loops}\"];"
                );
                *next += 1;
            }
            Task::Repeat(repeat) => {
                let at_most = if repeat.condition.is_some() { "at most " } else { "" };
                let shared = if repeat.is_parallel { ", shared by threads" } else { "" };
                let _ = writeln!(
                    text,
                    "  subgraph cluster_{next}_{depth} {{ label=\"{at_most}{} turns{shared}\";",
                    repeat.turns
                );
                boxes(&repeat.tasks, depth + 1, next, text);
                *text += "  }\n";
            }
        }
    }
}

fn colour(place: Place) -> &'static str {
    match place {
        Place::State { .. } => "#dcfce7",
        Place::Input { .. } => "#dbeafe",
        Place::Output { .. } => "#e0e7ff",
        Place::Arena { .. } => "#f1f5f9",
    }
}
