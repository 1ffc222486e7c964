//! Values and gradients in f64 that JAX gives (`tests/fixtures/make.py`), and the functions of ours that are held
//! against them.

use hitofude::TensorType;
use hitofude::prelude::*;
use safetensors::SafeTensors;

use super::{assert_compiles_right, distance};

/// A function: its name, its inputs, and itself.
pub type Case = (&'static str, &'static [&'static str], for<'g> fn(&'g Graph, &[Tensor<'g>]) -> Tensor<'g>);

fn fixture(file: &SafeTensors<'_>, name: &str) -> Value {
    let view = file.tensor(name).unwrap();
    let shape = Shape::new(view.shape()).unwrap();
    let words = view.data().chunks_exact(8).map(|bytes| <[u8; 8]>::try_from(bytes).unwrap());
    match name {
        "labels" => Value::from_elements(
            TensorType::new(I64, shape),
            words.map(|word| Scalar::I64(i64::from_le_bytes(word))),
        ),
        _ => Value::from_elements(
            TensorType::new(F64, shape),
            words.map(|word| Scalar::F64(f64::from_le_bytes(word))),
        ),
    }
}

/// Holds values and gradients, interpreted and compiled, against a file's.
pub fn assert_like_jax(file: &[u8], cases: &[Case], tolerance: f64) {
    let file = SafeTensors::deserialize(file).unwrap();
    for (name, inputs, build) in cases {
        let g = Graph::new();
        let value = |leaf: &str| fixture(&file, &format!("{name}.{leaf}"));
        let leaves: Vec<Tensor<'_>> =
            inputs.iter().map(|leaf| g.input(leaf, value(leaf).ty().shape, F64)).collect();
        let y = build(&g, &leaves);
        let weights = g.input("weights", y.shape(), F64);
        let gradients =
            g.grad((y * weights).sum(..), &leaves).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut given: Vec<(&str, Value)> = inputs.iter().map(|leaf| (*leaf, value(leaf))).collect();
        given.push(("weights", value("weights")));
        if g.leaf("labels").is_some() {
            given.push(("labels", fixture(&file, "labels")));
        }
        let names: Vec<String> = inputs.iter().map(|leaf| format!("d{leaf}")).collect();
        let mut outputs = vec![("y", y)];
        outputs.extend(names.iter().map(String::as_str).zip(gradients));
        let values = g.interpret(&outputs, &given).unwrap();
        for (output, _) in &outputs {
            let (expected, actual) = (value(output), &values[*output]);
            let apart = distance(&expected, actual);
            assert!(apart < tolerance, "{name}.{output}: {apart:e} from JAX\n{expected:?}\n{actual:?}");
        }
        assert_compiles_right(&g, &outputs, &given, tolerance);
    }
}
