//! Loops as text and pictures, and what users read when they err.

mod common;

use common::loops::{halved, named};
use common::value_for;
use hitofude::prelude::*;

fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The message with this file's lines left out.
fn plain(error: &Error) -> String {
    let text = error.to_string();
    let mut parts = text.split("tests/loop_texts.rs:");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        text + "loop_texts.rs:LINE" + part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':')
    })
}

#[test]
fn mistakes_in_loops() {
    let mut page = Vec::new();
    let mut show = |title: &str, build: fn(&Graph) -> Result<()>| {
        page.push(format!("# {title}\n{}\n", plain(&build(&Graph::new()).unwrap_err())));
    };
    show("a carry that changes its shape", |g| {
        let (h, xs) = (g.input("h", [3], F32), g.input("xs", [5, 2], F32));
        g.scan(&[h], &[xs], |c, x| Ok((vec![c[0].concat(&[x[0]], 0)], vec![]))).map(drop)
    });
    show("a carry that changes its element type", |g| {
        let n = g.input("n", [], I32);
        g.repeat(3, &[n, n], |c| Ok((vec![c[0], c[1].cast(F32) * 0.5], vec![]))).map(drop)
    });
    show("a carry forgotten", |g| {
        let (h, xs) = (g.input("h", [2], F32), g.input("xs", [5, 2], F32));
        g.scan(&[h, h], &[xs], |c, x| Ok((vec![c[0] + x[0]], vec![c[1]]))).map(drop)
    });
    show("slices of different lengths", |g| {
        let (xs, ys) = (g.input("xs", [5, 2], F32), g.input("ys", [4, 2], F32));
        g.scan(&[], &[xs, ys], |_, x| Ok((vec![], vec![x[0] * x[1]]))).map(drop)
    });
    show("slices of a scalar", |g| {
        let x = g.input("x", [], F32);
        g.scan(&[x], &[x], |c, x| Ok((vec![c[0] * x[0]], vec![]))).map(drop)
    });
    show("nothing to walk along", |g| {
        let x = g.input("x", [], F32);
        g.scan(&[x], &[], |c, _| Ok((vec![c[0] * 2.0], vec![]))).map(drop)
    });
    show("a mistake in a body", |g| {
        let (h, xs) = (g.input("h", [3], F32), g.input("xs", [5, 2], F32));
        g.scan(&[h], &[xs], |c, x| Ok((vec![c[0] + x[0]], vec![]))).map(drop)
    });
    show("a condition that is a number", |g| {
        let x = g.input("x", [], F32);
        g.while_loop(9, &[x], |c| Ok(c[0] - 1.0), |c| Ok(vec![c[0] * 0.5])).map(drop)
    });
    show("a condition for each element", |g| {
        let x = g.input("x", [3], F32);
        g.while_loop(9, &[x], |c| Ok(c[0].greater(1.0)), |c| Ok(vec![c[0] * 0.5])).map(drop)
    });
    show("branches of different types", |g| {
        let x = g.input("x", [3], F32);
        g.cond(x.sum(..).less(0.0), &[x], |x| Ok(vec![x[0]]), |x| Ok(vec![x[0].sum(..)])).map(drop)
    });
    show("branches of different counts", |g| {
        let x = g.input("x", [3], F32);
        g.cond(x.sum(..).less(0.0), &[x], |x| Ok(vec![x[0], x[0]]), |x| Ok(vec![x[0]])).map(drop)
    });
    show("reverse mode through a while loop", |g| {
        let x = g.input("x", [], F32);
        let y = g.while_loop(9, &[x], |c| Ok(c[0].greater(1.0)), |c| Ok(vec![c[0] * 0.5]))?;
        g.grad(y[0], &[x]).map(drop)
    });
    show("a carry used outside its loop", |g| {
        let x = g.input("x", [], F32);
        let mut kept = x;
        g.repeat(3, &[x], |c| {
            kept = c[0];
            Ok((vec![c[0] * 2.0], vec![]))
        })?;
        let f = g.compile(&[("y", kept + x)])?;
        f.run(&mut f.state(), &f.inputs().with("x", 1.0f32)?).map(drop)
    });
    assert_text("mistakes_in_loops", &page.join("\n"));
}

#[test]
fn tensors_of_another_graph_are_refused() {
    let other = Graph::new();
    let foreign = other.input("z", [], F64);
    let refused = |error: Error| assert!(error.to_string().contains("belongs to another graph"), "{error}");
    let fresh = || Box::leak(Box::new(Graph::new()));
    let g = fresh();
    refused(g.repeat(2, &[foreign], |c| Ok((c.to_vec(), vec![]))).unwrap_err());
    let g = fresh();
    refused(g.scan(&[], &[foreign], |_, x| Ok((vec![], x.to_vec()))).unwrap_err());
    let g = fresh();
    let x = g.input("x", [], F64);
    refused(g.repeat(2, &[x], |_| Ok((vec![foreign], vec![]))).unwrap_err());
    let g = fresh();
    let x = g.input("x", [], F64);
    refused(g.repeat(2, &[x], |c| Ok((vec![c[0] + foreign], vec![]))).unwrap_err());
    let g = fresh();
    let x = g.input("x", [], F64);
    refused(g.cond(x.less(1.0), &[x], |_| Ok(vec![foreign]), |x| Ok(x.to_vec())).unwrap_err());
    let g = fresh();
    let x = g.input("x", [], F64);
    refused(g.while_loop(3, &[x], |_| Ok(foreign.less(1.0)), |x| Ok(x.to_vec())).unwrap_err());
}

/// The text of a graph as it is read again: every node is the user's.
fn without_origins(graph: &Graph) -> String {
    let line =
        |line: &str| line.split_once(" ;").map_or(line.to_string(), |(node, _)| format!("{node} ; user"));
    graph.to_string().lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn loops_are_read_from_their_text() {
    let g = Graph::new();
    let (x, w) = (g.input("x", [3, 2], F64), g.input("w", [2], F64));
    let (last, rows) = g
        .scan_backward(&[w], &[x], |carry, x| {
            let (inner, _) = g.repeat(4, &[carry[0]], |c| Ok((vec![(c[0] * x[0]).sin()], vec![])))?;
            let end = halved(&g, inner[0], w.sum(..), 9);
            Ok((vec![end[0]], vec![inner[0]]))
        })
        .unwrap();
    let graph = g.function().output("last", last[0]).output("rows", rows[0]).graph().unwrap();
    let again = Graph::parse(&graph.to_string()).unwrap();
    assert_eq!(again.to_string(), without_origins(&graph));
    let given = [("x", value_for(x, 1)), ("w", value_for(w, 2))];
    let outputs = again.outputs();
    let values = again.interpret(&named(&outputs), &given).unwrap();
    assert_eq!(values, g.interpret(&[("last", last[0]), ("rows", rows[0])], &given).unwrap());
    let broken = graph.to_string().replacen("= sin f64[2]", "= sin f64[3]", 1);
    let line = broken.lines().position(|line| line.contains("f64[3] (")).unwrap() + 1;
    let message = Graph::parse(&broken).unwrap_err().to_string();
    assert!(message.starts_with(&format!("line {line} of the graph's text: `sin`")), "{message}");
}

/// An exponential average, its gradient and its loops.
#[test]
fn a_small_loop_as_text() {
    let g = Graph::new();
    let (xs, decay, start) =
        (g.input("xs", [1000], F64), g.input("decay", [], F64), g.input("start", [], F64));
    let (last, means) = g
        .scan(&[start], &[xs], |carry, x| {
            let mean = decay * carry[0] + (1.0 - decay) * x[0];
            Ok((vec![mean], vec![mean]))
        })
        .unwrap();
    let y = last[0] + means[0].square().sum(..);
    let slope = g.grad(y, &[decay]).unwrap()[0];
    let function = g.function().output("y", y).output("d_decay", slope);
    let graph = function.optimised(&hitofude::Options::default()).unwrap();
    graph.validate().unwrap();
    assert_text("loop_and_its_gradient", &graph.to_string());
    assert_eq!(Graph::parse(&graph.to_string()).unwrap().to_string(), without_origins(&graph));
    let schedule = function.schedule(&hitofude::Options::default()).unwrap();
    assert_text("loop_and_its_gradient_schedule", &schedule.program.to_string());
}

#[test]
fn pictures_show_bodies_and_turns() {
    let g = Graph::new();
    let x = g.input("x", [3, 2], F64);
    let (_, rows) = g
        .scan(&[], &[x], |_, x| {
            let (y, _) = g.repeat(40, &[x[0]], |c| Ok((vec![c[0].sin() * x[0]], vec![])))?;
            Ok((vec![], vec![halved(&g, y[0], x[0].sum(..), 9)[0]]))
        })
        .unwrap();
    let function = g.function().output("y", rows[0]);
    let graph = hitofude::dump::dot(&function.graph().unwrap());
    let schedule = hitofude::dump::schedule_dot(&function.schedule(&hitofude::Options::default()).unwrap());
    for (picture, frames) in [
        (&graph, ["subgraph cluster_body_n", "subgraph cluster_body_n", "label=\"sin\"", "while[9] carry1"]),
        (&schedule, ["label=\"3 turns\"", "label=\"40 turns\"", "label=\"at most 9 turns\"", "subgraph"]),
    ] {
        assert_eq!(picture.matches('{').count(), picture.matches('}').count());
        assert!(frames.iter().all(|frame| picture.contains(frame)), "{picture}");
    }
    // Two loops inside one.
    assert_eq!(graph.matches("cluster_body_").count(), 3);
}
