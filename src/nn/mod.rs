//! Floor 8: the vocabulary of neural networks, composed from operators as methods of [`crate::Tensor`]; every
//! gradient is derived. Formulas and conventions are PyTorch's (`torch.nn.functional`).

mod activations;
mod convolution;
mod dropout;
mod layers;
mod losses;
mod normalisation;
mod pooling;
mod sliding;

pub use losses::CrossEntropy;
pub use sliding::{Conv, PerAxis, Pool};
