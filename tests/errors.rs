//! What users read when they err: one page of typical mistakes.

use hitofude::graph::Origin;
use hitofude::nn::{Conv, Pool};
use hitofude::ops::Slide;
use hitofude::prelude::*;

/// The message of the first error of a graph, with this file's lines left out.
fn message(build: impl FnOnce(&Graph)) -> String {
    let g = Graph::new();
    build(&g);
    plain(&g.check().unwrap_err())
}

fn plain(error: &Error) -> String {
    let text = error.to_string();
    let stable: Vec<&str> = text.split("tests/errors.rs:").collect();
    let rest = |part: &&str| part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':').to_string();
    std::iter::once(stable[0].to_string())
        .chain(stable[1..].iter().map(rest))
        .collect::<Vec<_>>()
        .join("errors.rs:LINE")
}

#[test]
fn typical_mistakes() {
    let mut page = Vec::new();
    let mut show = |title: &str, message: String| page.push(format!("# {title}\n{message}\n"));

    show(
        "shapes that do not broadcast",
        message(|g| drop(format!("{:?}", g.input("a", [2, 3], F32) + g.input("b", [4], F32)))),
    );
    show(
        "mixed element types",
        message(|g| {
            let _ = g.input("a", [3], F32) * g.input("b", [3], F64);
        }),
    );
    show(
        "inner extents of a matrix product",
        message(|g| {
            let _ = g.input("a", [2, 3], F32).matmul(g.input("b", [4, 5], F32));
        }),
    );
    show(
        "matrix product with a scalar",
        message(|g| {
            let _ = g.input("a", [2, 3], F32).matmul(g.input("b", [], F32));
        }),
    );
    show(
        "linear without a fitting weight",
        message(|g| {
            let _ =
                g.input("x", [8, 3], F32).linear(g.parameter("w", [3, 1], F32), g.parameter("b", [1], F32));
        }),
    );
    show(
        "convolution of other channels",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 9, 9], F32), g.parameter("w", [6, 3, 3, 3], F32));
            let _ = x.conv2d(w, g.parameter("b", [6], F32), Conv::new().groups(3));
        }),
    );
    show(
        "kernel larger than the image",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 4], F32), g.parameter("w", [6, 3, 7], F32));
            let _ = x.conv1d(w, None, Conv::new().padding(1));
        }),
    );
    show(
        "same padding with a stride",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 9, 9], F32), g.parameter("w", [6, 3, 3, 3], F32));
            let _ = x.conv2d(w, None, Conv::new().same_padding().stride(2));
        }),
    );
    show(
        "a stride of nothing",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 9, 9], F32), g.parameter("w", [6, 3, 3, 3], F32));
            let _ = x.conv2d(w, None, Conv::new().stride(0));
        }),
    );
    show(
        "transposed convolution of other channels",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 9, 9], F32), g.parameter("w", [6, 3, 3, 3], F32));
            let _ = x.conv_transpose2d(w, None, Conv::new(), 0);
        }),
    );
    show(
        "an output padding as large as the stride",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 9], F32), g.parameter("w", [3, 6, 3], F32));
            let _ = x.conv_transpose1d(w, None, Conv::new().stride(2), 2);
        }),
    );
    show(
        "padding that leaves nothing",
        message(|g| {
            let (x, w) = (g.input("x", [8, 3, 1], F32), g.parameter("w", [3, 6, 3], F32));
            let _ = x.conv_transpose1d(w, None, Conv::new().padding(2), 0);
        }),
    );
    show(
        "a pool over more than there is",
        message(|g| {
            let _ = g.input("x", [8, 3, 4, 4], F32).max_pool2d(5);
        }),
    );
    show(
        "a pool with too much padding",
        message(|g| {
            let _ = g.input("x", [8, 3, 4, 4], F32).avg_pool2d(Pool::new(2).padding(2));
        }),
    );
    show(
        "a pool of a vector",
        message(|g| {
            let _ = g.input("x", [8], F32).max_pool2d(2);
        }),
    );
    show(
        "a fold of other windows",
        message(|g| {
            let slide = Slide { axis: 0, size: 3, stride: 1, dilation: 1 };
            let _ = g.input("x", [4, 3], F32).fold(&[slide], [7]);
        }),
    );
    show(
        "two windows along one axis",
        message(|g| {
            let slide = Slide { axis: 0, size: 3, stride: 1, dilation: 1 };
            let _ = g.input("x", [9], F32).windows(&[slide, slide]);
        }),
    );
    show(
        "padding with more than memory holds",
        message(|g| {
            let _ = g.input("x", [9], F32).pad(0, usize::MAX, usize::MAX);
        }),
    );
    show(
        "loss of (n,1) against (n)",
        message(|g| {
            let _ = g.input("y", [8, 1], F32).mse_loss(g.input("t", [8], F32));
        }),
    );
    show(
        "an axis that does not exist",
        message(|g| {
            let _ = g.input("v", [3], F32).sum(1);
        }),
    );
    show(
        "an axis named twice",
        message(|g| {
            let _ = g.input("x", [2, 2], F32).sum([0, -2]);
        }),
    );
    show(
        "mean of nothing",
        message(|g| {
            let _ = g.input("x", [0, 3], F32).mean(0);
        }),
    );
    show(
        "largest of nothing",
        message(|g| {
            let _ = g.input("x", [0, 3], F32).max(0);
        }),
    );
    show(
        "mean of integers",
        message(|g| {
            let _ = g.input("x", [3], I32).mean(..);
        }),
    );
    show(
        "exponential of integers",
        message(|g| {
            let _ = g.input("x", [3], I32).exp();
        }),
    );
    show(
        "arithmetic on truth values",
        message(|g| {
            let _ = g.input("x", [3], Bool) + g.input("y", [3], Bool);
        }),
    );
    show(
        "a condition that is no truth value",
        message(|g| {
            let x = g.input("x", [3], F32);
            let _ = x.select(x, x);
        }),
    );
    show(
        "reshape to another count",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).reshape([4]);
        }),
    );
    show(
        "permutation with a repeated axis",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).permute(&[0, 0]);
        }),
    );
    show(
        "transpose of a vector",
        message(|g| {
            let _ = g.input("v", [3], F32).transpose();
        }),
    );
    show(
        "broadcast to a smaller shape",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).broadcast_to([3]);
        }),
    );
    show(
        "squeeze of a long axis",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).squeeze(0);
        }),
    );
    show(
        "einsum that is none",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).einsum("ij", g.input("y", [3], F32));
        }),
    );
    show(
        "einsum with a result label that no operand has",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).einsum("ij,j->k", g.input("y", [3], F32));
        }),
    );
    show(
        "einsum of axes that differ",
        message(|g| {
            let _ = g.einsum("ij,j", &[g.input("x", [2, 3], F32), g.input("y", [4], F32)]);
        }),
    );
    show(
        "einsum with a digit",
        message(|g| {
            let _ = g.einsum("i1->i", &[g.input("x", [2, 3], F32)]);
        }),
    );
    show(
        "einsum of the wrong rank",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).einsum("ijk,k->ij", g.input("y", [3], F32));
        }),
    );
    show(
        "einsum of extents that do not agree",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).einsum("ij,jk->ik", g.input("y", [4, 5], F32));
        }),
    );
    show(
        "matrix times a vector of another length",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).matmul(g.input("v", [2], F32));
        }),
    );
    show(
        "an axis of a scalar",
        message(|g| {
            let _ = g.input("s", [], F32).mean(0);
        }),
    );
    show(
        "two optimisers that start one setting differently",
        message(|g| {
            let w = g.parameter("w", [], F32);
            for rate in [0.1, 0.2] {
                let _ = w.setting("learning_rate", rate);
            }
        }),
    );
    show(
        "a name taken already",
        message(|g| {
            g.input("x", [3], F32);
            g.parameter("x", [3], F32);
        }),
    );
    show(
        "inside scopes",
        message(|g| {
            let _encoder = g.scope("encoder");
            let _layer = g.scope("layer1");
            let _ = g.input("x", [3], F32) + g.input("y", [2], F32);
        }),
    );
    show(
        "only the first mistake is told",
        message(|g| {
            let bad = g.input("x", [3], F32) + g.input("y", [2], F32);
            let _ = bad.matmul(bad).transpose().mean(7);
        }),
    );
    show(
        "reshape to an extent that does not come out",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).reshape([4, -1]);
        }),
    );
    show(
        "reshape with two open extents",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).reshape([-1, -1]);
        }),
    );
    show(
        "cropping more than there is",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).pad_with(1, -2, -2, 0.0);
        }),
    );
    show(
        "indices that are floats",
        message(|g| {
            let _ = g.input("x", [5, 3], F32).take(0, g.input("rows", [4], F32));
        }),
    );
    show(
        "indices along an axis of another shape",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).take_along_axis(1, g.input("best", [2], I32));
        }),
    );
    show(
        "updates of another shape than what is picked",
        message(|g| {
            let (rows, updates) = (g.input("rows", [4], I32), g.input("updates", [4, 2], F32));
            let _ = g.input("x", [5, 3], F32).scatter_add(0, rows, updates);
        }),
    );
    show(
        "the diagonal of what is not square",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).diagonal(0, 1);
        }),
    );
    show(
        "a general contraction that names an axis twice",
        message(|g| {
            let (x, y) = (g.input("x", [2, 3], F32), g.input("y", [3, 2], F32));
            let _ = x.dot_general(y, &[(0, 1)], &[(0, 0)]);
        }),
    );
    show(
        "running sums of truth values",
        message(|g| {
            let _ = g.input("x", [3], Bool).cumsum(0);
        }),
    );
    show(
        "more of the largest than there are",
        message(|g| {
            let _ = g.input("x", [2, 3], F32).top_k(-1, 4);
        }),
    );
    show(
        "sorting a number",
        message(|g| {
            let _ = g.input("x", [], F32).sort(0, Order::Ascending);
        }),
    );
    show("another graph's tensor", {
        let other = Graph::new();
        let z = other.input("z", [3], F32);
        let g = Graph::new();
        let _ = g.input("x", [3], F32) + z;
        plain(&g.check().unwrap_err())
    });
    show(
        "too many elements",
        message(|g| {
            let _ = g.input("x", [1 << 40, 1 << 40], F32);
        }),
    );
    page.extend(deriving());
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("typical_mistakes", page.join("\n")));
}

/// Mistakes that show when something is derived, compiled or given.
fn deriving() -> Vec<String> {
    let g = Graph::new();
    let (x, n, w) = (g.input("x", [3], F32), g.input("n", [3], I32), g.parameter("w", [3], F32));
    let unused = g.parameter("unused", [2], F32);
    let _ = unused;
    let loss = (x * w).sum(..);
    let text = |title: &str, error: Error| format!("# {title}\n{}\n", plain(&error));
    let step = |loss| g.training_step(loss, Sgd::new(0.1)).and_then(|step| step.compile()).unwrap_err();
    let f = g.compile(&[("y", x * w)]).unwrap();
    vec![
        text("a loss that is no scalar", step(x * w)),
        text("a loss of integers", step(n.sum(..))),
        text("a gradient with respect to integers", g.grad(loss, &[n]).unwrap_err()),
        text("a parameter that the loss does not reach", step(loss)),
        text(
            "freezing what does not exist",
            g.training_step(loss, Sgd::new(0.1)).unwrap().freeze("W").compile().unwrap_err(),
        ),
        text(
            "freezing everything",
            g.training_step(loss, Sgd::new(0.1)).unwrap().freeze("w").freeze("unused").compile().unwrap_err(),
        ),
        text("two outputs of one name", g.compile(&[("y", x), ("y", w)]).unwrap_err()),
        text("updating an input", g.function().update(x, x * 2.0).compile().unwrap_err()),
        text("updating with another type", g.function().update(w, loss).compile().unwrap_err()),
        text("interpreting without an input", g.interpret(&[("y", loss)], &[]).unwrap_err()),
        text(
            "interpreting with a wrong input",
            g.interpret(&[("y", loss)], &[("x", array![1.0f32].into())]).unwrap_err(),
        ),
        text(
            "reading an output that is none",
            f.run(&mut f.state(), &f.inputs().with("x", array![1.0f32, 2.0, 3.0]).unwrap())
                .unwrap()
                .output("z")
                .unwrap_err(),
        ),
        text(
            "reading an output as another type",
            f.run(&mut f.state(), &f.inputs().with("x", array![1.0f32, 2.0, 3.0]).unwrap())
                .unwrap()
                .view::<f64>("y")
                .unwrap_err(),
        ),
        text("loading a file that is not there", f.state().load("no/such/file.safetensors").unwrap_err()),
    ]
}

/// Wherever a tensor of another graph is given, it is refused.
#[test]
fn foreign_tensors_are_refused_everywhere() {
    let other = Graph::new();
    let foreign = (0..50).fold(other.input("z", [], F64), |z, _| z.sin());
    let g = Graph::new();
    let x = g.input("x", [], F64);
    let refused = |what: &str, error: Error| {
        let text = error.to_string();
        assert!(text.contains("belongs to another graph") && text.contains("errors.rs"), "{what}: {text}");
    };
    refused("grad", g.grad(foreign, &[x]).unwrap_err());
    refused("grad", g.grad(x.sin(), &[foreign]).unwrap_err());
    refused("vjp", g.vjp(x, &[x], foreign).unwrap_err());
    refused("jvp", g.jvp(foreign, &[(x, x)]).unwrap_err());
    refused("jvp", g.jvp(x, &[(x, foreign)]).unwrap_err());
    refused("vmap", g.vmap(foreign, &[(x, x)]).unwrap_err());
    refused("jacobian", g.jacobian(x, foreign).unwrap_err());
    refused("hessian", g.hessian(foreign, x).unwrap_err());
    refused("hessian_vector_product", g.hessian_vector_product(x, x, foreign).unwrap_err());
    refused("interpret", g.interpret(&[("y", foreign)], &[]).unwrap_err());
    assert!(g.compile(&[("y", foreign)]).unwrap_err().to_string().contains("another graph"));
    assert!(g.training_step(foreign, Sgd::new(0.1)).err().unwrap().to_string().contains("another graph"));
}

/// They are called by the standard library, or by what stands for the function, whose lines say nothing about the user's
/// program.
#[test]
fn operators_passed_on_as_functions_are_of_the_call_before() {
    let mistake = message(|g| {
        let _ = [g.input("a", [2], I32)].map(Tensor::exp);
    });
    assert!(mistake.contains("errors.rs:LINE"), "{mistake}");

    let applied = Tensor::relu as fn(_) -> _;
    let g = Graph::new();
    let line = line!() + 1;
    let x = g.input("x", [3], F32);
    applied(x);
    let _ = [x].map(Tensor::tanh);
    for node in g.nodes() {
        let Origin::User(place) = &node.origin else { panic!("the user wrote all of {g}") };
        assert_eq!((place.location.file(), place.location.line()), (file!(), line), "{}", node.op);
    }
}
