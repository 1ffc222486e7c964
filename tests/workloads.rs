//! The workloads of the benchmark: what their schedules are, and that their steps are those of the interpreter.

#[path = "../benches/workloads/mod.rs"]
mod workloads;

use hitofude::prelude::*;
use workloads::WORKLOADS;

/// A lost fusion shows up as a changed snapshot.
#[test]
fn schedules_are_as_they_were() {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for workload in WORKLOADS {
        let g = Graph::new();
        let program = (workload.build)(&g).unwrap().schedule().unwrap().program;
        settings
            .bind(|| insta::assert_snapshot!(format!("schedule_of_{}", workload.name), program.to_string()));
    }
}
