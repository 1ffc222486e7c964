//! Normalisation to mean 0 and variance 1, over features, samples or groups of channels. Variances are the population's.

use crate::error::TypeError;
use crate::ops::{AxisSpec, Tensor};
use crate::types::Shape;

impl<'g> Tensor<'g> {
    /// Layer normalisation (Ba, Kiros & Hinton 2016) over the last axes, as many as the weight has:
    /// `(x − mean)/√(variance + ε) · weight + bias`, with weight and bias of those axes' shape.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [8, 5, 16], F32);
    /// let (scale, shift) = (g.parameter("scale", [16], F32), g.parameter("shift", [16], F32));
    /// assert_eq!(x.layer_norm(scale, shift, 1e-5).ty().to_string(), "f32[8,5,16]");
    /// ```
    #[track_caller]
    pub fn layer_norm(self, weight: Tensor<'g>, bias: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        match self.features("layer_norm", &[weight, bias]) {
            Ok(axes) => self.standardised(axes, epsilon) * weight + bias,
            Err(poisoned) => poisoned,
        }
    }

    /// Root-mean-square normalisation (Zhang & Sennrich 2019) over the last axes, as many as the weight has:
    /// `x/√(mean x² + ε) · weight`.
    #[track_caller]
    pub fn rms_norm(self, weight: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        match self.features("rms_norm", &[weight]) {
            Ok(axes) => {
                let square = self.square().mean(axes.clone()).keeping(self, &axes);
                self * (square + epsilon).rsqrt() * weight
            }
            Err(poisoned) => poisoned,
        }
    }

    /// Batch normalisation (Ioffe & Szegedy 2015) of `[n, c, …]` by the batch's own statistics, as in training:
    /// `(x − mean)/√(variance + ε) · weight + bias` for each channel, over all axes but the second; weight and bias `[c]`.
    ///
    /// [`Tensor::batch_norm_with`] takes statistics kept from elsewhere.
    #[track_caller]
    pub fn batch_norm(self, weight: Tensor<'g>, bias: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        if let Some(mistake) = self.not_channels("batch_norm", &[weight, bias]) {
            return mistake;
        }
        let axes: Vec<isize> = (0..self.shape().rank() as isize).filter(|&axis| axis != 1).collect();
        self.standardised(axes.into(), epsilon).scaled_by_channel(weight, bias)
    }

    /// Batch normalisation of `[n, c, …]` by given statistics `[c]`, as in evaluation: `(x − mean)/√(variance + ε) ·
    /// weight + bias`.
    #[track_caller]
    pub fn batch_norm_with(
        self,
        mean: Tensor<'g>,
        variance: Tensor<'g>,
        weight: Tensor<'g>,
        bias: Tensor<'g>,
        epsilon: f64,
    ) -> Tensor<'g> {
        if let Some(mistake) = self.not_channels("batch_norm_with", &[mean, variance, weight, bias]) {
            return mistake;
        }
        let scale = weight * (variance + epsilon).rsqrt();
        self.scaled_by_channel(scale, bias - mean * scale)
    }

    /// Group normalisation (Wu & He 2018) of `[n, c, …]`: the channels fall into groups, and each group of each sample is
    /// normalised by itself; weight and bias `[c]`.
    #[track_caller]
    pub fn group_norm(self, groups: usize, weight: Tensor<'g>, bias: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        if let Some(mistake) = self.not_channels("group_norm", &[weight, bias]) {
            return mistake;
        }
        let (samples, channels) = (self.shape().extents()[0], self.shape().extents()[1]);
        if groups == 0 || !channels.is_multiple_of(groups) {
            let message =
                format!("the {channels} channels of {} do not fall into {groups} groups", self.ty());
            return self.poison("group_norm", TypeError::Invalid(message));
        }
        let group = self.shape().elements() / (samples * groups).max(1);
        let rows = self.reshape([samples, groups, group]).standardised((-1).into(), epsilon);
        rows.reshape(self.shape()).scaled_by_channel(weight, bias)
    }

    /// Instance normalisation (Ulyanov, Vedaldi & Lempitsky 2016) of `[n, c, …]`: each channel of each sample is
    /// normalised by itself; weight and bias `[c]`.
    #[track_caller]
    pub fn instance_norm(self, weight: Tensor<'g>, bias: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        match self.not_channels("instance_norm", &[weight, bias]) {
            Some(mistake) => mistake,
            None => self.group_norm(self.shape().extents()[1], weight, bias, epsilon),
        }
    }

    /// `(x − mean)/√(variance + ε)` over the axes.
    #[track_caller]
    fn standardised(self, axes: AxisSpec, epsilon: f64) -> Tensor<'g> {
        // Of the cotangents, the sum is negated, and not each.
        let centred = self + (-self.mean(axes.clone())).keeping(self, &axes);
        let variance = centred.square().mean(axes.clone()).keeping(self, &axes);
        centred * (variance + epsilon).rsqrt()
    }

    /// The last axes, whose shape each of these parameters has.
    #[track_caller]
    fn features(self, name: &str, parameters: &[Tensor<'g>]) -> Result<AxisSpec, Tensor<'g>> {
        if let Some(&poisoned) = [self].iter().chain(parameters).find(|x| x.is_poison()) {
            return Err(poisoned);
        }
        let shape = parameters[0].shape();
        let is_last = shape.rank() > 0 && self.shape().extents().ends_with(shape.extents());
        for parameter in parameters {
            if !is_last || parameter.shape() != shape {
                let expected = format!("the parameters of {name} have the shape of the input's last axes");
                let error = TypeError::Mismatch { lhs: self.ty(), rhs: parameter.ty(), expected };
                return Err(self.poison(name, error));
            }
        }
        Ok((1..=shape.rank() as isize).map(|axis| -axis).collect::<Vec<_>>().into())
    }

    /// The mistake, if this is not `[n, c, …]` with parameters `[c]`.
    #[track_caller]
    fn not_channels(self, name: &str, parameters: &[Tensor<'g>]) -> Option<Tensor<'g>> {
        for &parameter in parameters {
            if self.is_poison() || parameter.is_poison() {
                return Some(if self.is_poison() { self } else { parameter });
            }
            let channels = self.shape().extents().get(1).copied();
            if parameter.shape().rank() != 1 || channels != Some(parameter.shape().extents()[0]) {
                let expected = format!("{name} takes input [n, c, …] and parameters [c]");
                let error = TypeError::Mismatch { lhs: self.ty(), rhs: parameter.ty(), expected };
                return Some(self.poison(name, error));
            }
        }
        None
    }

    /// `x · scale + shift`, with one of each for every channel of `[n, c, …]`.
    #[track_caller]
    fn scaled_by_channel(self, scale: Tensor<'g>, shift: Tensor<'g>) -> Tensor<'g> {
        if self.is_poison() {
            return self;
        }
        let mut extents = vec![1; self.shape().rank() - 1];
        extents[0] = self.shape().extents()[1];
        let column = Shape::of(&extents);
        self * scale.reshape(column) + shift.reshape(column)
    }
}
