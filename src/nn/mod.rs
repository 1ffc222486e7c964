//! Floor 8: the vocabulary of neural networks, composed from operators; every gradient is derived.

mod functional;
