//! Random numbers against JAX (`tests/fixtures/make_random.py`), keys in the state, and dropout.

mod common;

use common::{assert_compiles_right, assert_gradient_right, run, value_for};
use hitofude::TensorType;
use hitofude::prelude::*;
use safetensors::{Dtype, SafeTensors};

const FIXTURES: &[u8] = include_bytes!("fixtures/random.safetensors");

fn fixture(file: &SafeTensors<'_>, name: &str) -> Value {
    let view = file.tensor(name).unwrap();
    let shape = Shape::new(view.shape()).unwrap();
    let (dtype, size) = match view.dtype() {
        Dtype::F32 => (F32, 4),
        Dtype::F64 => (F64, 8),
        Dtype::I32 => (I32, 4),
        Dtype::I64 => (I64, 8),
        _ => (Bool, 1),
    };
    let scalar = |bytes: &[u8]| match dtype {
        F32 => Scalar::F32(f32::from_le_bytes(bytes.try_into().unwrap())),
        F64 => Scalar::F64(f64::from_le_bytes(bytes.try_into().unwrap())),
        I32 => Scalar::I32(i32::from_le_bytes(bytes.try_into().unwrap())),
        I64 => Scalar::I64(i64::from_le_bytes(bytes.try_into().unwrap())),
        Bool => Scalar::Bool(bytes[0] != 0),
    };
    Value::from_elements(TensorType { dtype, shape }, view.data().chunks_exact(size).map(scalar))
}

const KEYS: [(&str, u64); 3] = [("0", 0), ("42", 42), ("wide", 0x9e37_79b9_7f4a_7c15)];

/// Everything that is drawn from a key, by the fixtures' names.
fn draws<'g>(key: Tensor<'g>, shape: &[usize]) -> Vec<(&'static str, Tensor<'g>)> {
    let shape = Shape::new(shape).unwrap();
    vec![
        ("bits_i32", key.random_bits(shape, I32)),
        ("bits_i64", key.random_bits(shape, I64)),
        ("uniform_f32", key.uniform(shape, F32)),
        ("uniform_f64", key.uniform(shape, F64)),
        ("normal_f32", key.normal(shape, F32)),
        ("normal_f64", key.normal(shape, F64)),
        ("bernoulli", key.bernoulli(0.3, shape)),
        ("randint_22", key.randint(-5..17, shape)),
        ("randint_1024", key.randint(0..1024, shape)),
        ("randint_all", key.randint(i32::MIN..i32::MAX, shape)),
    ]
}

/// Equal bit by bit; normal numbers, whose logarithm is another library's, to rounding.
fn assert_same(name: &str, expected: &Value, actual: &Value) {
    if !name.contains("normal") {
        assert_eq!(expected.ty(), actual.ty(), "{name}");
        assert_eq!(expected.elements(), actual.elements(), "{name}");
        return;
    }
    assert_close(name, expected, actual);
}

/// JAX's own ln(1 + x) in f64 is up to 90 units in the last place from the truth.
fn assert_close(name: &str, expected: &Value, actual: &Value) {
    let allowed = if expected.dtype() == F32 { 4.0 * f64::from(f32::EPSILON) } else { 32.0 * f64::EPSILON };
    for (e, a) in expected.to_f64().into_iter().zip(actual.to_f64()) {
        assert!(e == a || (e - a).abs() <= allowed * e.abs(), "{name}: {e:?} and {a:?}");
    }
}

/// Compiled, the same bits as the interpreter's; of normal numbers, and of the function they are made with, almost.
fn assert_compiles_same(g: &Graph, outputs: &[(&str, Tensor<'_>)], leaves: &[(&str, Value)]) {
    for (name, tensor) in outputs {
        let is_exact = !name.starts_with("normal") && *name != "erf_inv";
        let epsilon = if tensor.dtype() == F32 { f32::EPSILON.into() } else { f64::EPSILON };
        let tolerance = if is_exact { 0.0 } else { 4.0 * epsilon };
        assert_compiles_right(g, &[(name, *tensor)], leaves, tolerance);
    }
}

#[test]
fn numbers_are_those_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    for (key_name, seed) in KEYS {
        let shapes: [(&str, &[usize]); 5] =
            [("scalar", &[]), ("one", &[1]), ("odd", &[7]), ("none", &[0, 3]), ("cube", &[2, 3, 4])];
        for (shape_name, shape) in shapes {
            let g = Graph::new();
            let key = g.input("key", [], I64);
            let outputs = draws(key, shape);
            let leaves = [("key", Value::from(seed as i64))];
            let values = g.interpret(&outputs, &leaves).unwrap();
            let compiled = run(&g.compile(&outputs).unwrap(), &leaves);
            for (what, _) in &outputs {
                let expected = fixture(&file, &format!("{key_name}.{shape_name}.{what}"));
                assert_same(what, &expected, &values[*what]);
                assert_same(what, &expected, &compiled[*what]);
            }
            assert_compiles_same(&g, &outputs, &leaves);
        }
    }
}

/// The last of 70,001 numbers, compiled: loops, not straight-line code.
#[test]
fn many_numbers_are_those_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    let g = Graph::new();
    let draws = draws(g.input("key", [], I64), &[70_001]);
    let outputs: Vec<_> = draws.into_iter().map(|(what, all)| (what, all.slice(0, 69_951..70_001))).collect();
    let compiled = g.compile(&outputs).unwrap();
    for (key_name, seed) in KEYS {
        let values = run(&compiled, &[("key", Value::from(seed as i64))]);
        for (what, _) in &outputs {
            assert_same(what, &fixture(&file, &format!("{key_name}.long.{what}")), &values[*what]);
        }
    }
}

#[test]
fn derived_keys_are_those_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    for (key_name, seed) in KEYS {
        let g = Graph::new();
        let (key, data) = (g.input("key", [], I64), g.input("data", [4], I64));
        let by_number = key.fold_in(3.0);
        let outputs = [("split", key.split_keys(5)), ("fold_in", key.fold_in(data)), ("three", by_number)];
        let leaves =
            [("key", Value::from(seed as i64)), ("data", array![0i64, 3, 1 << 31, (1 << 32) - 1].into())];
        let values = g.interpret(&outputs, &leaves).unwrap();
        assert_eq!(values["split"], fixture(&file, &format!("{key_name}.split")));
        assert_eq!(values["fold_in"], fixture(&file, &format!("{key_name}.fold_in")));
        assert_eq!(values["three"].elements()[0], values["fold_in"].elements()[1]);
        assert_compiles_right(&g, &outputs, &leaves, 0.0);
    }
}

#[test]
fn erf_inv_is_that_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    for (dtype, name) in [(F32, "erf_inv.f32"), (F64, "erf_inv.f64")] {
        let g = Graph::new();
        let at = fixture(&file, "erf_inv.x").cast(dtype);
        let y = g.input("x", at.ty().shape, dtype).erf_inv();
        let leaves = [("x", at)];
        let actual = g.interpret(&[("y", y)], &leaves).unwrap()["y"].clone();
        assert_close(name, &fixture(&file, name), &actual);
        assert_compiles_same(&g, &[("erf_inv", y)], &leaves);
    }
}

/// Keys on a leading axis, by batching and without.
#[test]
fn many_keys_give_what_each_gives() {
    let g = Graph::new();
    let (key, keys) = (g.input("key", [], I64), g.input("keys", [3], I64));
    let of_one =
        [key.uniform([2, 2], F64), key.fold_in(5.0).normal([2, 2], F64), key.split_keys(4).cast(F64)];
    let names = ["uniform", "normal", "split"];
    let batched: Vec<_> = of_one.iter().map(|&one| g.vmap(one, &[(key, keys)]).unwrap()).collect();
    let direct =
        [keys.uniform([2, 2], F64), keys.fold_in(5.0).normal([2, 2], F64), keys.split_keys(4).cast(F64)];
    let outputs: Vec<_> = names.iter().copied().zip(batched).collect();
    let leaves = [("keys", array![1i64, -5, 42].into()), ("key", Value::from(42i64))];
    let all = g.interpret(&outputs, &leaves).unwrap();
    let at_once: Vec<_> = names.iter().copied().zip(direct).collect();
    assert_eq!(all, g.interpret(&at_once, &leaves).unwrap());
    let one: Vec<_> = names.iter().copied().zip(of_one).collect();
    for (name, value) in g.interpret(&one, &leaves).unwrap() {
        let last = all[&name].array::<f64>().unwrap().index_axis(ndarray::Axis(0), 2);
        assert_eq!(value, last.into(), "{name}");
    }
    assert_compiles_same(&g, &outputs, &leaves);
}

/// A probability for each element, of either float type: certain at 0 and at 1.
#[test]
fn probabilities_may_be_tensors() {
    let g = Graph::new();
    let key = g.input("key", [], I64);
    let p = g.input("p", [3], F64);
    let outputs = [
        ("wide", key.bernoulli(p, [4, 3])),
        ("same", key.uniform([4, 3], F64).less(p)),
        ("narrow", key.bernoulli(p.cast(F32), [3])),
        ("half", key.bernoulli(0.5, [3])),
    ];
    let leaves = [("key", Value::from(9i64)), ("p", array![0.0, 0.5, 1.0].into())];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["wide"], values["same"]);
    let truths = |name: &str| values[name].array::<bool>().unwrap().iter().copied().collect::<Vec<bool>>();
    assert!(truths("wide").chunks(3).all(|row| !row[0] && row[2]));
    assert_eq!(truths("narrow"), [false, truths("half")[1], true]);
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

#[test]
fn numbers_are_spread_as_they_say() {
    let g = Graph::new();
    let key = g.input("key", [], I64);
    let (u, n) = (key.uniform([1 << 16], F64), key.fold_in(1.0).normal([1 << 16], F64));
    let die = key.fold_in(2.0).randint(1..7, [6 << 13]).one_hot(7).cast(F64).sum(0);
    let outputs = [
        ("u1", u.mean(..)),
        ("u2", u.square().mean(..)),
        ("n1", n.mean(..)),
        ("n2", n.square().mean(..)),
        ("n4", n.square().square().mean(..)),
        ("die", die),
    ];
    let values = run(&g.compile(&outputs).unwrap(), &[("key", Value::from(1i64))]);
    let near = |name: &str, expected: f64, by: f64| {
        assert!((values[name].to_f64()[0] - expected).abs() < by, "{name}: {:?}", values[name]);
    };
    near("u1", 0.5, 0.005);
    near("u2", 1.0 / 3.0, 0.005);
    near("n1", 0.0, 0.02);
    near("n2", 1.0, 0.03);
    near("n4", 3.0, 0.2);
    let faces = values["die"].to_f64();
    assert!(
        faces[0] == 0.0 && faces[1..].iter().all(|count| (count / 8192.0 - 1.0).abs() < 0.05),
        "{faces:?}"
    );
}

/// A model with dropout, whose parameter learns which elements of `x` were kept, step by step.
fn recorder(g: &Graph, shape: [usize; 2]) -> TrainingStep<'_> {
    let x = g.input("x", shape, F32);
    let w = g.parameter("w", shape, F32);
    let dropped = (x + w).dropout(0.25, g.random_key("dropout", 7).fold_in(1.0));
    g.training_step(dropped.sum(..), Sgd::new(1.0)).unwrap().output("dropped", dropped)
}

#[test]
fn dropout_keeps_what_flax_would_keep_step_by_step() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    let Value::Bool(kept) = fixture(&file, "dropout.kept") else { panic!("truth values") };
    let g = Graph::new();
    let step = recorder(&g, [4, 5]).compile().unwrap();
    let (mut state, inputs) = (step.state(), step.inputs().with("x", Array2::<f32>::ones((4, 5))).unwrap());
    let mut w = ndarray::ArrayD::<f32>::zeros(vec![4, 5]);
    for kept in kept.outer_iter() {
        let dropped = step.run(&mut state, &inputs).unwrap().output("dropped").unwrap();
        let scale = 1.0f32 / 0.75;
        let expected = ndarray::Zip::from(&kept)
            .and(&w)
            .map_collect(|&kept, w| if kept { (1.0 + w) * scale } else { 0.0 });
        assert!(common::distance(&expected.into(), &dropped) < 1e-6);
        // The gradient goes where the values went.
        w.zip_mut_with(&kept, |w, &kept| *w -= if kept { scale } else { 0.0 });
        assert!(common::distance(&w.clone().into(), &state.get("w").unwrap()) < 1e-6);
    }
    assert_eq!(state.get("dropout").unwrap(), fixture(&file, "dropout.key"));
}

/// Many steps in one call are many calls, to the bit; the same key repeats a run. In registers and in loops.
#[test]
fn a_run_can_be_repeated_from_its_key() {
    for shape in [[1, 2], [40, 30]] {
        let g = Graph::new();
        let step = recorder(&g, shape).compile().unwrap();
        let inputs = step.inputs().with("x", Array2::<f32>::ones((shape[0], shape[1]))).unwrap();
        let trained = |seed: f64, many: bool| {
            let mut state = step.state();
            state.set_number("dropout", seed).unwrap();
            let (calls, steps) = if many { (1, 9) } else { (9, 1) };
            for _ in 0..calls {
                step.run_many(&mut state, &inputs, steps).unwrap();
            }
            (state.get("w").unwrap(), state.get("dropout").unwrap())
        };
        assert_eq!(trained(7.0, true), trained(7.0, false));
        assert_ne!(trained(7.0, true).0, trained(8.0, true).0);
        let roles: Vec<String> = step.state().signature().iter().map(|entry| entry.name.clone()).collect();
        assert!(roles.contains(&"dropout".to_string()));
    }
}

/// Rows drawn in the step itself: many steps of one call, each on its own minibatch, fit a line.
#[test]
fn minibatches_are_drawn_in_the_step() {
    let g = Graph::new();
    let (x, t) = (g.input("x", [200, 2], F32), g.input("t", [200, 1], F32));
    let rows = g.random_key("batch", 3).randint(0..200, [16]);
    let output = x.take(0, rows).linear(g.parameter("w", [1, 2], F32), g.parameter("b", [1], F32));
    let loss = output.mse_loss(t.take(0, rows));
    let step = g.training_step(loss, Sgd::new(0.1)).unwrap().output("rows", rows).compile().unwrap();
    let points = Array2::from_shape_fn((200, 2), |(i, j)| ((i * (j + 3)) % 17) as f32 / 8.0 - 1.0);
    let targets = points.dot(&array![[2.0f32], [-1.0]]) + 0.5;
    let inputs = step.inputs().with("x", points).unwrap().with("t", targets).unwrap();
    let mut state = step.state();
    let first = step.run(&mut state, &inputs).unwrap().output("rows").unwrap();
    assert_ne!(step.run(&mut state, &inputs).unwrap().output("rows").unwrap(), first);
    assert!(step.run_many(&mut state, &inputs, 1000).unwrap().loss() < 1e-6);
    assert!(common::distance(&state.get("w").unwrap(), &array![[2.0f32, -1.0]].into()) < 1e-3);
}

#[test]
fn the_gradient_of_dropout_is_its_mask() {
    let g = Graph::new();
    let (x, key) = (g.input("x", [6, 7], F64), g.input("key", [], I64));
    let leaves = [("x", value_for(x, 3)), ("key", Value::from(12i64))];
    for rate in [0.0, 0.3, 1.0] {
        let y = x.dropout(rate, key);
        assert_gradient_right(&g, (y.sin() * x).sum(..), &[("x", x)], &leaves);
        let dx = g.grad(y.sum(..), &[x]).unwrap()[0];
        let values = g.interpret(&[("y", y), ("dx", dx)], &leaves).unwrap();
        let pairs = values["y"].to_f64().into_iter().zip(values["dx"].to_f64());
        for ((y, dx), x) in pairs.zip(leaves[0].1.to_f64()) {
            assert!((y - x * dx).abs() < 1e-14 && (dx == 0.0 || dx == 1.0 / (1.0 - rate)), "{y} {dx} {x}");
        }
        assert_compiles_right(&g, &[("y", y), ("dx", dx)], &leaves, 1e-15);
    }
    // All of it, and none of it, even where it is not finite.
    let z = g.input("z", [3], F32);
    let outputs = [("all", z.dropout(0.0, key)), ("none", z.dropout(1.0, key))];
    let leaves = [("z", array![1.0f32, f32::NAN, f32::INFINITY].into()), ("key", Value::from(0i64))];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["none"], array![0.0f32, 0.0, 0.0].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

#[test]
fn mistakes_with_keys_are_told() {
    let message = |build: fn(&Graph)| {
        let g = Graph::new();
        build(&g);
        g.check().unwrap_err().to_string()
    };
    let bits = message(|g| drop(format!("{:?}", g.input("x", [3], F32).uniform([2], F32))));
    assert!(bits.contains("f32[3,2] is not supported here; expected an i64 key"), "{bits}");
    assert!(bits.contains("tests/random.rs"), "{bits}");
    let dtype = message(|g| drop(format!("{:?}", g.random_key("k", 0).uniform([2], I32))));
    assert!(dtype.contains("uniform: i32[2] is not supported here; expected f32 or f64"), "{dtype}");
    let data = message(|g| drop(format!("{:?}", g.random_key("k", 0).fold_in(g.input("x", [], F32)))));
    assert!(data.contains("expected an i32 counter"), "{data}");
    let empty = message(|g| drop(format!("{:?}", g.random_key("k", 0).randint(3..3, []))));
    assert!(empty.contains("there is no integer in 3..3"), "{empty}");
    let rate = message(|g| drop(format!("{:?}", g.input("x", [3], F32).dropout(1.5, g.random_key("k", 0)))));
    assert!(rate.contains("dropout: a rate of 1.5 is no probability"), "{rate}");
    let whole = message(|g| drop(format!("{:?}", g.input("x", [3], I32).dropout(0.5, g.random_key("k", 0)))));
    assert!(whole.contains("dropout: i32[3] is not supported here"), "{whole}");
    let deep = message(|g| drop(format!("{:?}", g.input("k", [1; 5], I64).random_bits([1; 4], I32))));
    assert!(deep.contains("9 axes"), "{deep}");
    // No gradient goes through bits.
    let g = Graph::new();
    let x = g.input("x", [], F32);
    let u = g.random_key("k", 0).uniform([3], F32);
    assert_eq!(
        g.interpret(&[("d", g.grad((u * x).sum(..), &[x]).unwrap()[0])], &[("x", 1f32.into())])
            .unwrap()
            .len(),
        1
    );
}
