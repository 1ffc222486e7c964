//! Floor 8: files. State as safetensors, the format that PyTorch, JAX and the rest read and write.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::runtime::State;
use crate::types::{DType, Scalar, Shape, TensorType, Value};

impl State {
    /// Writes every parameter, slot, setting and key to a safetensors file.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let w = g.parameter("w", [2], F32);
    /// let f = g.compile(&[("w", w)])?;
    /// let mut state = f.state();
    /// state.set("w", array![1.5f32, -2.0])?;
    /// let path = std::env::temp_dir().join("hitofude-doc.safetensors");
    /// state.save(&path)?;
    /// let mut restored = f.state();
    /// restored.load(&path)?;
    /// assert_eq!(restored.get("w")?, state.get("w")?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let fault = |message: String| Error::File { path: path.display().to_string(), message };
        let mut tensors = Vec::new();
        for entry in self.signature() {
            let value = self.get(&entry.name)?;
            tensors.push((entry.name, value.ty(), bytes(&value)));
        }
        let views: Result<Vec<(&str, TensorView<'_>)>> = tensors
            .iter()
            .map(|(name, ty, bytes)| {
                let view = TensorView::new(dtype_of(ty.dtype), ty.shape.extents().to_vec(), bytes);
                view.map(|view| (name.as_str(), view)).map_err(|error| fault(error.to_string()))
            })
            .collect();
        let file = safetensors::serialize(views?, None::<HashMap<String, String>>);
        let file = file.map_err(|error| fault(error.to_string()))?;
        std::fs::write(path, file).map_err(|error| fault(error.to_string()))
    }

    /// Reads parameters, slots, settings and keys from a safetensors file. Names that the file lacks keep their
    /// values. Nothing changes unless the whole file fits.
    ///
    /// # Errors
    /// The file cannot be read or is no safetensors file; a name that the state does not have; another element
    /// type or shape than the state's.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let fault = |message: String| Error::File { path: path.display().to_string(), message };
        let bytes = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| fault(error.to_string()))?;
        let mut loaded = self.clone();
        for (name, view) in file.iter() {
            loaded
                .set(name, value(&view).map_err(|message| fault(format!("tensor `{name}`: {message}")))?)?;
        }
        for entry in self.signature() {
            self.set(&entry.name, loaded.get(&entry.name)?)?;
        }
        Ok(())
    }
}

fn dtype_of(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::Bool => Dtype::BOOL,
    }
}

/// The elements, little-endian, in row-major order.
fn bytes(value: &Value) -> Vec<u8> {
    let size = value.dtype().size();
    value.elements().iter().flat_map(|x| x.bits().to_le_bytes().into_iter().take(size)).collect()
}

fn value(view: &TensorView<'_>) -> std::result::Result<Value, String> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::BOOL => DType::Bool,
        other => return Err(format!("elements of type {other:?} are not supported")),
    };
    let shape = Shape::new(view.shape()).map_err(|error| error.to_string())?;
    let scalars = view.data().chunks_exact(dtype.size()).map(|bytes| scalar(dtype, bytes));
    Ok(Value::from_elements(TensorType { dtype, shape }, scalars))
}

fn scalar(dtype: DType, bytes: &[u8]) -> Scalar {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match dtype {
        DType::F32 => Scalar::F32(f32::from_bits(bits as u32)),
        DType::F64 => Scalar::F64(f64::from_bits(bits)),
        DType::I32 => Scalar::I32(bits as u32 as i32),
        DType::I64 => Scalar::I64(bits as i64),
        DType::Bool => Scalar::Bool(bits != 0),
    }
}
