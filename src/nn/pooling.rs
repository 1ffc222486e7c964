//! Pooling: reductions of windows.

use super::sliding::{Counted, Pool};
use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// The largest element of each window along the last axis, as `torch.nn.functional.max_pool1d`. Ties share the
    /// cotangent equally, as everywhere here; PyTorch gives it to the first.
    #[track_caller]
    pub fn max_pool1d(self, pool: impl Into<Pool<1>>) -> Tensor<'g> {
        self.max_pool("max_pool1d", pool.into())
    }

    /// The largest element of each window of images `[…, h, w]`, as `torch.nn.functional.max_pool2d`. Ties share the
    /// cotangent equally, as everywhere here; PyTorch gives it to the first.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2, 4], F64);
    /// let image = Value::from(array![[1.0, 2.0, 3.0, 4.0], [8.0, 7.0, 6.0, 5.0]]);
    /// assert_eq!(g.interpret(&[("y", x.max_pool2d(2))], &[("x", image)])?["y"], array![[8.0, 6.0]].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_pool2d(self, pool: impl Into<Pool<2>>) -> Tensor<'g> {
        self.max_pool("max_pool2d", pool.into())
    }

    /// The mean of each window along the last axis, as `torch.nn.functional.avg_pool1d`: zeros of the padding count,
    /// unless the pool says otherwise.
    #[track_caller]
    pub fn avg_pool1d(self, pool: impl Into<Pool<1>>) -> Tensor<'g> {
        self.avg_pool("avg_pool1d", pool.into())
    }

    /// The mean of each window of images `[…, h, w]`, as `torch.nn.functional.avg_pool2d`: zeros of the padding count,
    /// unless the pool says otherwise.
    #[track_caller]
    pub fn avg_pool2d(self, pool: impl Into<Pool<2>>) -> Tensor<'g> {
        self.avg_pool("avg_pool2d", pool.into())
    }

    /// The largest element of each channel, all axes but the first two going: `[n, c, …]` to `[n, c]`. Ties share the
    /// cotangent.
    #[track_caller]
    pub fn global_max_pool(self) -> Tensor<'g> {
        match self.image_axes("global_max_pool") {
            Ok(axes) => self.max(&axes[..]),
            Err(poisoned) => poisoned,
        }
    }

    /// The mean of each channel, all axes but the first two going: `[n, c, …]` to `[n, c]`.
    #[track_caller]
    pub fn global_avg_pool(self) -> Tensor<'g> {
        match self.image_axes("global_avg_pool") {
            Ok(axes) => self.mean(&axes[..]),
            Err(poisoned) => poisoned,
        }
    }

    #[track_caller]
    fn max_pool<const N: usize>(self, name: &str, pool: Pool<N>) -> Tensor<'g> {
        self.pools(name, pool, f64::NEG_INFINITY).max(&LAST[..N])
    }

    #[track_caller]
    fn avg_pool<const N: usize>(self, name: &str, pool: Pool<N>) -> Tensor<'g> {
        if pool.counted == Counted::Places || pool.padding == [0; N] {
            return self.pools(name, pool, 0.0).mean(&LAST[..N]);
        }
        let sum = self.pools(name, pool, 0.0).sum(&LAST[..N]);
        // The elements in a window are the same in every image.
        let mut image = self.constant_like(1.0);
        while image.shape().rank() > N {
            image = image.index(0, 0);
        }
        sum / image.pools(name, pool, 0.0).sum(&LAST[..N])
    }

    /// The windows of the tensor, padded with this number.
    #[track_caller]
    fn pools<const N: usize>(self, name: &str, pool: Pool<N>, outside: f64) -> Tensor<'g> {
        if self.is_poison() {
            return self;
        }
        let rank = self.shape().rank();
        if rank < N {
            let message = format!("{name} slides along the last {N} axes, and {} has fewer", self.ty());
            return self.poison(name, TypeError::Invalid(message));
        }
        let slides = pool.slides(rank - N);
        let mut padded = self;
        for (slide, padding) in slides.iter().zip(pool.padding) {
            if padding > slide.span() / 2 {
                let message =
                    format!("a padding of {padding} is more than half of a window of {}", slide.span());
                return self.poison(name, TypeError::Invalid(message));
            }
            if padding > 0 {
                padded = padded.pad_with(slide.axis as isize, padding as isize, padding as isize, outside);
            }
        }
        padded.windows(&slides)
    }

    /// All axes but the first two.
    #[track_caller]
    fn image_axes(self, name: &str) -> Result<Vec<isize>, Tensor<'g>> {
        if self.is_poison() || self.shape().rank() > 2 {
            return Ok((2..self.shape().rank() as isize).collect());
        }
        let message = format!("{name} takes images [n, c, …], and not {}", self.ty());
        Err(self.poison(name, TypeError::Invalid(message)))
    }
}

/// The axes of the places in a window.
const LAST: [isize; 2] = [-1, -2];
