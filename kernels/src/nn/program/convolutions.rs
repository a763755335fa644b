//! The builder's methods for convolutions.

use super::Work;
use super::builder::Builder;
use crate::nn::conv::first::FirstConv;
use crate::nn::conv::gather::Gather;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layer::{ConvLayer, SlidingWindow, Unsupported, Value, check_weights, covers};
use crate::nn::layout::line::Plane;
use crate::nn::layout::store::Store;

impl Builder {
    /// The convolution of input number `input`, straight from its images.
    ///
    /// # Errors
    /// [`Unsupported`] if no kernel computes it: it has groups or a residual, or more than four channels.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn first_conv(
        &mut self,
        name: &str,
        input: usize,
        layer: &ConvLayer<'_>,
    ) -> Result<Value, Unsupported> {
        if layer.residual.is_some() {
            return Err(Unsupported("it adds a value".into()));
        }
        let [inputs, height, width] = self.inputs[input];
        let image = Plane {
            height,
            width,
            border: 0,
        };
        let SlidingWindow {
            kernel,
            stride,
            pad_before,
            output,
        } = layer.moving;
        check_weights(self.numbers, inputs, layer)?;
        let store = match layer.exact {
            true => Store::F32,
            false => self.numbers.store(),
        };
        let plane = Plane {
            height: output[0],
            width: output[1],
            border: layer.border,
        };
        let to = self.value(layer.outputs, plane, store, false);
        let shape = ConvShape {
            outputs: layer.outputs,
            inputs,
            groups: layer.groups,
            kernel,
            stride,
            pad: pad_before,
        };
        let about = ConvUse {
            input: image,
            output: plane,
            residual: None,
            relu: layer.relu,
            most: layer.most,
            store,
            across_images: false,
        };
        let first = FirstConv::new(self.numbers, shape, about, layer.weights, layer.bias)
            .ok_or_else(|| Unsupported("no kernel reads it from images".into()))?;
        let first = match &self.normalization {
            Some(normalization) => first.normalizing(normalization.clone()),
            None => first,
        };
        self.scratch = self.scratch.max(first.scratch_lines(self.threads));
        let kind = format!("conv {} of images", layer.moving.name());
        let flops = layer.flops();
        let work = Work::First(input, Box::new(first));
        Ok(self.step(name, kind, flops, work, &[], Some(to)))
    }

    /// A convolution of the value `from`.
    ///
    /// # Errors
    /// [`Unsupported`] if no kernel computes it.
    pub fn conv(
        &mut self,
        name: &str,
        from: Value,
        layer: &ConvLayer<'_>,
    ) -> Result<Value, Unsupported> {
        let refuse = |reason: &str| Err(Unsupported(reason.to_owned()));
        let input = self.values[from.0];
        let SlidingWindow {
            kernel,
            stride,
            pad_before,
            output: [height, width],
        } = layer.moving;
        let window = kernel[0] * kernel[1];
        check_weights(self.numbers, input.channels, layer)?;
        if !covers(input.plane, &layer.moving) && !input.row {
            return refuse("its window reaches beyond the zeros around its input");
        }
        if input.row && (window != 1 || height * width != 1 || pad_before != [0, 0]) {
            return refuse("a window over single values");
        }
        if window == 1
            && pad_before == [0, 0]
            && !input.row
            && Gather::pays(stride, [height, width])
        {
            let seen = self.gather(name, from, stride, [height, width]);
            let moving = SlidingWindow {
                stride: [1, 1],
                ..layer.moving
            };
            return self.conv(name, seen, &ConvLayer { moving, ..*layer });
        }
        let store = match layer.exact {
            true => Store::F32,
            false => self.numbers.store(),
        };
        let plane = Plane {
            height,
            width,
            border: layer.border,
        };
        let to = self.value(layer.outputs, plane, store, input.row);
        let residual = layer.residual.map(|r| self.values[r.0]);
        if residual.is_some_and(|r| {
            r.channels != layer.outputs
                || r.store != store
                || r.row != input.row
                || [r.plane.height, r.plane.width] != [to.plane.height, to.plane.width]
        }) {
            return refuse("the value to add has another shape");
        }
        let shape = ConvShape {
            outputs: layer.outputs,
            inputs: input.channels,
            groups: layer.groups,
            kernel,
            // A single value has no other window to step to; its neighbours in the row are other images.
            stride: if input.row { [1, 1] } else { stride },
            pad: pad_before,
        };
        let about = ConvUse {
            input: input.plane,
            output: to.plane,
            residual: residual.map(|r| r.plane),
            relu: layer.relu,
            most: layer.most,
            store,
            across_images: input.row,
        };
        let Some((work, algorithm)) = self.convolution(shape, about, layer.weights, layer.bias)
        else {
            return refuse("no kernel has its groups");
        };
        let kind = format!("conv {}{algorithm}", layer.moving.name());
        let reads: Vec<Value> = [Some(from), layer.residual].into_iter().flatten().collect();
        Ok(self.step(name, kind, layer.flops(), work, &reads, Some(to)))
    }

    /// Copies the pixels of a value that are `stride` apart side by side.
    pub(crate) fn gather(
        &mut self,
        name: &str,
        from: Value,
        stride: [usize; 2],
        [height, width]: [usize; 2],
    ) -> Value {
        let input = self.values[from.0];
        let plane = Plane {
            height,
            width,
            border: 0,
        };
        let to = self.value(input.channels, plane, input.store, false);
        let kind = format!("gather /{}", stride[0]);
        let work = Work::Gather(Gather { stride });
        self.step(name, kind, 0, work, &[from], Some(to))
    }
}
