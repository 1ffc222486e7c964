//! What a program keeps from call to call.

use std::sync::{Arc, OnceLock};

use ndarray::ArrayViewD;

use super::memory::Block;
use super::pace::Pace;
use super::panels::{packed, unpacked};
use super::{Layout, Signature, check_type, find, initial_value, signatures};
use crate::error::{Error, Result};
use crate::schedule::Entry;
use crate::types::{Element, Scalar, Value};

/// Parameters, optimiser slots, settings and random keys of one model, owned by the caller.
///
/// One compiled program can train many states at once, from many threads. Each carries the scratch memory
/// and the outputs of its own calls, so that a call allocates nothing. The addresses of parameters never
/// change. Cloning takes a snapshot.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) layout: Arc<Layout>,
    pub(super) memory: Block,
    pub(super) outputs: Block,
    pub(super) arena: Block,
    pub(super) pace: Pace,
    /// What lies in panels, by its place: row by row, once it was asked for.
    plain: Vec<(usize, OnceLock<Value>)>,
}

impl State {
    pub(super) fn new(layout: &Arc<Layout>) -> State {
        let mut memory = Block::new(layout.state_bytes);
        for entry in &layout.state {
            if let Some(value) = initial_value(entry) {
                memory.write(entry.at, &value);
            }
        }
        let (outputs, arena) = (Block::new(layout.output_bytes), Block::new(layout.arena_bytes));
        let in_panels = layout.state.iter().filter(|entry| entry.panels.is_some());
        let plain = in_panels.map(|entry| (entry.at, OnceLock::new())).collect();
        State { layout: layout.clone(), memory, outputs, arena, pace: Pace::default(), plain }
    }

    /// Sets a parameter, slot, setting or key.
    ///
    /// # Errors
    /// An unknown name; a value of another element type or shape. The state is unchanged then.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        let layout = self.layout.clone();
        let entry = find(&layout.state, "state", name)?;
        check_type("state", entry, value.ty())?;
        match entry.panels {
            Some(panels) => {
                self.memory.write(entry.at, &packed(&value, panels).ok_or_else(|| outside(entry))?)
            }
            None => self.memory.write(entry.at, &value),
        }
        self.forget_plain();
        Ok(())
    }

    /// Sets a setting such as `learning_rate` from a number, rounded to its type.
    ///
    /// # Errors
    /// An unknown name; state that is not a single number; an integer setting and a fractional number.
    pub fn set_number(&mut self, name: &str, value: f64) -> Result<()> {
        let entry = find(&self.layout.state, "state", name)?;
        let scalar = Scalar::from_f64(value, entry.ty.dtype);
        if !entry.ty.dtype.is_float() && scalar.to_f64() != value {
            return Err(Error::Scalar { name: name.into(), dtype: entry.ty.dtype, value });
        }
        let value = Value::splat(scalar, crate::types::Shape::SCALAR);
        check_type("state", entry, value.ty())?;
        self.memory.write(entry.at, &value);
        Ok(())
    }

    /// A copy of a parameter, slot, setting or key.
    ///
    /// # Errors
    /// An unknown name.
    pub fn get(&self, name: &str) -> Result<Value> {
        let entry = find(&self.layout.state, "state", name)?;
        let value = self.memory.read(entry);
        let value = match entry.panels {
            Some(panels) => value.and_then(|value| unpacked(&value, panels)),
            None => value,
        };
        value.ok_or_else(|| outside(entry))
    }

    /// A parameter, slot, setting or key in place, without a copy. (A matrix that contractions read in another order than
    /// row by row is copied, once after every call of the program.)
    ///
    /// # Errors
    /// An unknown name; elements of another type than `T`.
    pub fn view<T: Element>(&self, name: &str) -> Result<ArrayViewD<'_, T>> {
        let entry = find(&self.layout.state, "state", name)?;
        let plain = || self.plain.iter().find(|(at, _)| *at == entry.at);
        let view = match entry.panels.and_then(|_| plain()) {
            Some((_, plain)) => {
                if plain.get().is_none() {
                    let value = self.get(name)?;
                    plain.get_or_init(|| value);
                }
                plain.get().and_then(T::array).map(|array| array.view())
            }
            None => self.memory.view(entry),
        };
        view.ok_or_else(|| Error::Value(format!("state `{name}` is {}, asked for as {}", entry.ty, T::DTYPE)))
    }

    /// What was read row by row may have changed.
    #[inline]
    pub(super) fn forget_plain(&mut self) {
        self.plain.iter_mut().for_each(|(_, plain)| drop(plain.take()));
    }

    /// Every name with its type and role.
    pub fn signature(&self) -> Vec<Signature> {
        signatures(&self.layout.state)
    }
}

fn outside(entry: &Entry) -> Error {
    Error::Internal(format!("state `{}` lies outside its memory", entry.name))
}
