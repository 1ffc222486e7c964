//! Aligned memory that generated code reads and writes.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use ndarray::{ArrayViewD, IxDyn};

use crate::schedule::{ALIGNMENT, Entry};
use crate::types::{DType, Element, Value};

/// A zeroed, 64-byte aligned block that never moves.
#[derive(Debug)]
pub(super) struct Block {
    allocated: NonNull<u8>,
    layout: Layout,
    /// The first aligned byte in there, and the number of bytes from there on.
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the block owns its memory, like a Box<[u8]>.
unsafe impl Send for Block {}
// SAFETY: shared references only read.
unsafe impl Sync for Block {}

impl Block {
    pub fn new(bytes: usize) -> Block {
        // One more line than asked for: 128-bit loads of the last few bytes stay inside.
        let size = (bytes + ALIGNMENT).next_multiple_of(ALIGNMENT);
        // Aligned by hand: an allocator that is asked to writes all zeros itself, where fresh pages need none.
        let Ok(layout) = Layout::from_size_align(size + ALIGNMENT, align_of::<u64>()) else {
            handle_alloc_error(Layout::new::<u8>());
        };
        // SAFETY: the size is not zero.
        let Some(allocated) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout);
        };
        // SAFETY: there is so much more room than needed.
        let start = unsafe { allocated.add(allocated.align_offset(ALIGNMENT)) };
        Block { allocated, layout, start, size }
    }

    /// The first byte, for generated code.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are there, and initialised since they were allocated.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }

    /// Copies a value of the entry's type to its place.
    pub fn write(&mut self, at: usize, value: &Value) {
        let room = &mut self.bytes_mut()[at..];
        macro_rules! copy {
            ($array:expr, $size:literal) => {
                for (bytes, x) in room.chunks_exact_mut($size).zip($array.iter()) {
                    bytes.copy_from_slice(&x.to_ne_bytes());
                }
            };
        }
        match value {
            Value::F32(array) => copy!(array, 4),
            Value::F64(array) => copy!(array, 8),
            Value::I32(array) => copy!(array, 4),
            Value::I64(array) => copy!(array, 8),
            Value::Bool(array) => room.iter_mut().zip(array).for_each(|(byte, &x)| *byte = x.into()),
        }
    }

    /// The elements at an entry's place, if they are `T`.
    pub fn view<T: Element>(&self, entry: &Entry) -> Option<ArrayViewD<'_, T>> {
        ArrayViewD::from_shape(IxDyn(entry.ty.shape.extents()), self.elements(entry)?).ok()
    }

    fn elements<T: Element>(&self, entry: &Entry) -> Option<&[T]> {
        if T::DTYPE != entry.ty.dtype {
            return None;
        }
        let bytes = &self.bytes()[entry.at..entry.at + entry.ty.bytes()];
        // SAFETY: entries are 64-byte aligned, inside the block, and hold elements of their type: values
        // written by `write` or by generated code, which stores bools as 0 or 1.
        Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), entry.ty.shape.elements()) })
    }

    /// The value at an entry's place.
    pub fn read(&self, entry: &Entry) -> Option<Value> {
        Some(match entry.ty.dtype {
            DType::F32 => self.view::<f32>(entry)?.into(),
            DType::F64 => self.view::<f64>(entry)?.into(),
            DType::I32 => self.view::<i32>(entry)?.into(),
            DType::I64 => self.view::<i64>(entry)?.into(),
            DType::Bool => self.view::<bool>(entry)?.into(),
        })
    }

    /// The first element at an entry's place, as `f64`.
    pub fn read_scalar(&self, entry: &Entry) -> Option<f64> {
        match entry.ty.dtype {
            DType::F32 => self.elements::<f32>(entry)?.first().map(|&x| x.into()),
            DType::F64 => self.elements::<f64>(entry)?.first().copied(),
            DType::I32 => self.elements::<i32>(entry)?.first().map(|&x| x.into()),
            DType::I64 => self.elements::<i64>(entry)?.first().map(|&x| x as f64),
            DType::Bool => self.elements::<bool>(entry)?.first().map(|&x| x.into()),
        }
    }
}

impl Clone for Block {
    fn clone(&self) -> Block {
        let mut copy = Block::new(self.size - ALIGNMENT);
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.allocated.as_ptr(), self.layout) };
    }
}
