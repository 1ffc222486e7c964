//! Derived gradients as text, one snapshot a lesson. Review a changed one as a reader: is it still what a careful
//! person would write?

use hitofude::nn::{Conv, CrossEntropy, Pool};
use hitofude::ops::Op;
use hitofude::prelude::*;
use hitofude::{Options, dump};

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn assert_text(name: &str, text: &str) {
    settings().bind(|| insta::assert_snapshot!(name, text));
}

/// The value and its gradient in each variable, simplified.
fn gradient<'g>(g: &'g Graph, y: Tensor<'g>, wrt: &[(&str, Tensor<'g>)]) -> Graph {
    let tensors: Vec<Tensor<'_>> = wrt.iter().map(|x| x.1).collect();
    let gradients = g.grad(y, &tensors).unwrap();
    let start = g.function().output("y", y);
    let named = wrt.iter().zip(gradients);
    let function = named.fold(start, |function, ((name, _), d)| function.output(&format!("d_{name}"), d));
    let simplified = function.optimised(&Options::default()).unwrap();
    simplified.validate().unwrap();
    simplified
}

/// One snapshot: inputs of f64 by name and shape, and the expression over them.
macro_rules! lesson {
    ($name:ident, $(#[doc = $doc:literal])* [$($input:ident $shape:tt),*] $y:expr) => {
        $(#[doc = $doc])*
        #[test]
        fn $name() {
            let g = Graph::new();
            $(let $input = g.input(stringify!($input), $shape, F64);)*
            let text = gradient(&g, $y, &[$((stringify!($input), $input)),*]).to_string();
            assert_text(stringify!($name), &text);
        }
    };
}

lesson!(broadcast_is_summed_back, [x [2, 3], b [3]] (x * b).sum(..));
lesson!(stretched_axis_is_summed_back, [x [2, 3], c [2, 1]] (x * c).sum(..));
lesson!(shared_subexpression_is_derived_once, [x [3]] { let t = x.tanh(); (t * t.exp()).sum(..) });
lesson!(chain_of_three_rules, [x [3]] x.sin().exp().tanh().sum(..));
lesson!(value_used_twice, [x[3]](x * x).sum(..));
lesson!(mean_divides_by_count, [x [4]] x.mean(..));
lesson!(matrix_product, [a [2, 3], b [3, 4]] a.matmul(b).sum(..));
lesson!(bilinear_form, [x [3], a [3, 3]] x.matmul(a).matmul(x));
lesson!(relu_is_a_select, [x [3]] x.relu().sum(..));
lesson!(untaken_branch_gets_zero, [x [3]] x.greater(0.0).select(x.sqrt(), -x).sum(..));
lesson!(maximum_shares_a_tie, [a [3], b [3]] a.maximum(b).sum(..));
lesson!(largest_element, [x [2, 3]] x.max(1).sum(..));
lesson!(quotient, [a[3], b[3]](a / b).sum(..));
lesson!(power, [x [3]] x.pow(3.0).sum(..));
lesson!(
    dropout_shares_its_mask,
    /// The mask is drawn once, and taken by the value and by the gradient.
    [x [3]] x.dropout(0.25, x.graph().random_key("key", 7)).square().sum(..)
);
lesson!(a_given_rule_is_written_out, [x [3]] x.exp().log1p().custom_vjp(&[x], |x, _, dy| vec![dy * x[0].sigmoid()]).sum(..));
lesson!(
    a_section_is_computed_anew,
    /// `exp` stands there twice: for the gradient behind the barrier.
    [x [3]] x.exp().sin().checkpoint(&[x]).sum(..)
);
lesson!(transpose_is_absorbed, [a [2, 3], b [2, 4]] a.transpose().matmul(b).square().sum(..));
lesson!(reshape_is_undone, [x [2, 3]] x.reshape([6]).exp().sum(..));
lesson!(stopped_gradient, [x[3]](x * x.stop_gradient()).sum(..));
lesson!(squared_error, [x [4, 2], t [4, 2]] x.mse_loss(t));
lesson!(log_of_sum_of_exponentials, [x [3]] x.exp().sum(..).log());
lesson!(product_of_elements, [x [3]] x.prod(..));

lesson!(softmax_of_rows, [x [2, 3]] x.softmax(-1).square().sum(..));
lesson!(log_softmax_of_rows, [x [2, 3]] x.log_softmax(-1).square().sum(..));
lesson!(logsumexp_of_rows, [x [2, 3]] x.logsumexp(-1).sum(..));
lesson!(layer_normalisation, [x [2, 3], w [3], b [3]] x.layer_norm(w, b, 1e-5).sin().sum(..));
lesson!(rms_normalisation, [x [2, 3], w [3]] x.rms_norm(w, 1e-5).sin().sum(..));
lesson!(batch_normalisation, [x [2, 3, 4], w [3], b [3]] x.batch_norm(w, b, 1e-5).sin().sum(..));
lesson!(group_normalisation, [x [2, 4, 3], w [4], b [4]] x.group_norm(2, w, b, 1e-5).sin().sum(..));
lesson!(instance_normalisation, [x [2, 3, 4], w [3], b [3]] x.instance_norm(w, b, 1e-5).sin().sum(..));
lesson!(linear_layer, [x [4, 3], w [2, 3], b [2]] x.linear(w, b).tanh().sum(..));
lesson!(attention, [q [2, 3, 4], k [2, 5, 4], v [2, 5, 4]] q.attention(k, v, None).tanh().sum(..));
lesson!(sigmoid, [x [3]] x.sigmoid().sum(..));
lesson!(softplus, [x [3]] x.softplus().sum(..));
lesson!(silu, [x [3]] x.silu().sum(..));
lesson!(mish, [x [3]] x.mish().sum(..));
lesson!(elu, [x [3]] x.elu(1.0).sum(..));
lesson!(leaky_relu, [x [3]] x.leaky_relu(0.1).sum(..));
lesson!(hard_swish, [x [3]] x.hard_swish().sum(..));
lesson!(relu6, [x [3]] x.relu6().sum(..));
lesson!(hard_tanh, [x [3]] x.hard_tanh(-1.0, 1.0).sum(..));
lesson!(hard_sigmoid, [x [3]] x.hard_sigmoid().sum(..));
lesson!(log_sigmoid, [x [3]] x.log_sigmoid().sum(..));
lesson!(gelu, [x [3]] x.gelu().sum(..));
lesson!(gelu_by_tanh, [x [3]] x.gelu_tanh().sum(..));
lesson!(l1_loss, [x [4, 2], t [4, 2]] x.l1_loss(t));
lesson!(huber_loss, [x [4, 2], t [4, 2]] x.huber_loss(t, 1.0));
lesson!(smooth_l1_loss, [x [4, 2], t [4, 2]] x.smooth_l1_loss(t, 1.0));
lesson!(bce_with_logits, [x [4], t [4]] x.bce_with_logits(t));
lesson!(kl_divergence, [x [2, 3], t [2, 3]] x.log_softmax(-1).kl_div(t.stop_gradient()));
lesson!(cross_entropy_of_probabilities, [x [2, 3], t [2, 3]] x.cross_entropy_of_probabilities(t.stop_gradient()));
lesson!(convolution, [x [2, 3, 6, 6], w [4, 3, 3, 3], b [4]] {
    x.conv2d(w, b, Conv::new().padding(1)).tanh().sum(..)
});
lesson!(convolution_with_stride, [x [2, 3, 7, 7], w [4, 3, 3, 3]] {
    x.conv2d(w, None, Conv::new().stride(2)).tanh().sum(..)
});
lesson!(convolution_with_stride_of_many_channels, [x [2, 24, 9], w [4, 24, 3]] {
    x.conv1d(w, None, Conv::new().stride(2).padding(1)).tanh().sum(..)
});
lesson!(convolution_in_groups, [x [2, 4, 9], w [6, 2, 3]] {
    x.conv1d(w, None, Conv::new().dilation(2).groups(2)).tanh().sum(..)
});
lesson!(transposed_convolution, [x [2, 3, 4], w [3, 5, 4]] {
    x.conv_transpose1d(w, None, Conv::new().stride(2).padding(1), 0).tanh().sum(..)
});
lesson!(max_pooling, [x [2, 4, 6]] x.max_pool2d(2).tanh().sum(..));
lesson!(max_pooling_with_overlap, [x [2, 7]] x.max_pool1d(Pool::new(3).stride(2).padding(1)).tanh().sum(..));
lesson!(global_max_pooling, [x [2, 3, 4]] x.global_max_pool().tanh().sum(..));
lesson!(average_pooling, [x [2, 4, 6]] x.avg_pool2d(2).tanh().sum(..));

#[test]
fn cross_entropy_with_integer_targets() {
    let g = Graph::new();
    let (x, t) = (g.input("x", [2, 3], F64), g.input("t", [2], I32));
    let text = gradient(&g, x.cross_entropy(t), &[("x", x)]).to_string();
    assert_text("cross_entropy_with_integer_targets", &text);
    let text = gradient(&g, x.log_softmax(-1).nll_loss(t), &[("x", x)]).to_string();
    assert_text("negative_log_likelihood", &text);
    let weighted = CrossEntropy::new().class_weights(g.input("w", [3], F64)).label_smoothing(0.1);
    let text = gradient(&g, x.cross_entropy_with(t, weighted), &[("x", x)]).to_string();
    assert_text("cross_entropy_weighted_and_smoothed", &text);
}

#[test]
fn second_derivative() {
    let g = Graph::new();
    let x = g.input("x", [], F64);
    let dx = g.grad(x.tanh(), &[x]).unwrap()[0];
    assert_text("second_derivative", &gradient(&g, dx, &[("x", x)]).to_string());
}

#[test]
fn hessian_vector_product() {
    let g = Graph::new();
    let (x, v) = (g.input("x", [3], F64), g.input("v", [3], F64));
    let y = (x * x * x).sum(..);
    let along = (g.grad(y, &[x]).unwrap()[0] * v).sum(..);
    assert_text("hessian_vector_product", &gradient(&g, along, &[("x", x)]).to_string());
}

/// The memo's model on `samples` samples; on one without a batch axis for 0.
fn memo(g: &Graph, samples: usize) -> TrainingStep<'_> {
    let (x, target) = match samples {
        0 => (g.input("x", [3], F32), g.input("target", [1], F32)),
        n => (g.input("x", [n, 3], F32), g.input("target", [n, 1], F32)),
    };
    let weight = g.parameter("weight", [1, 3], F32);
    let bias = g.parameter("bias", [1], F32);
    let output = x.linear(weight, bias);
    g.training_step(output.mse_loss(target), Sgd::new(0.01)).unwrap().output("output", output)
}

#[test]
fn memo_gradient() {
    let g = Graph::new();
    assert_text(
        "memo_gradient",
        &memo(&g, 0).gradient().unwrap().optimised(&Options::default()).unwrap().to_string(),
    );
}

#[test]
fn memo_step() {
    let g = Graph::new();
    assert_text(
        "memo_step",
        &memo(&g, 0).function().unwrap().optimised(&Options::default()).unwrap().to_string(),
    );
}

#[test]
fn memo_step_on_a_batch() {
    let g = Graph::new();
    let step = memo(&g, 8).function().unwrap().optimised(&Options::default()).unwrap();
    assert_text("memo_step_on_a_batch", &step.to_string());
}

#[test]
fn memo_schedule_on_a_batch() {
    let g = Graph::new();
    assert_text("memo_schedule_on_a_batch", &memo(&g, 8).schedule().unwrap().program.to_string());
}

#[test]
fn memo_step_as_dot() {
    let g = Graph::new();
    let dot = dump::dot(&memo(&g, 0).function().unwrap().optimised(&Options::default()).unwrap());
    // Tooltips hold lines of this file, and of no other: nodes carry the place of the user's call.
    let mut parts = dot.split("tests/snapshots.rs:");
    let start = parts.next().unwrap_or_default().to_string();
    let stable = parts.fold(start, |text, part| {
        text + "tests/snapshots.rs" + part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':')
    });
    assert!(!stable.contains("src/"), "{stable}");
    assert_text("memo_step_as_dot", &stable);
}

/// No more arithmetic than `e = x·Wᵀ + b − t; L = mean(e²); W ← W − (2·lr/n)·eᵀx; b ← b − (2·lr/n)·Σe`.
#[test]
fn memo_step_has_no_more_arithmetic_than_by_hand() {
    // dot, +, −, square; mean: sum and quotient; 2·lr/n; dot, ·, −; sum, ·, −. One sample needs no sums.
    for (samples, by_hand) in [(0, 10), (1, 10), (2, 13), (8, 13), (7, 13)] {
        let g = Graph::new();
        let step = memo(&g, samples).function().unwrap().optimised(&Options::default()).unwrap();
        let is_arithmetic = |op: &Op| matches!(op, Op::Elementwise(_) | Op::Reduce(_) | Op::Dot(_));
        let count = step.nodes().filter(|node| is_arithmetic(&node.op)).count();
        assert!(count <= by_hand, "{samples} samples: {count} > {by_hand}\n{step}");
    }
}
