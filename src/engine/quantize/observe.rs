//! What numbers a network's values have, photo by photo.
//!
//! Called by `mod`. The network is computed by tract alone, in single precision, with every value of interest as an
//! output.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;
use tract_onnx::prelude::*;

use super::super::caught::catch;
use super::super::graph_error::graph_error;
use super::super::import::keep_meaning;
use super::super::{LoadError, onnx, proto};
use super::histogram::Histogram;
use super::network::{Layer, Network};
use super::samples::Samples;
use crate::tensor::Size;

/// What was seen of one value.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) histogram: Histogram,
    /// By channel: the sum of its numbers, and how many they were.
    channels: Vec<f64>,
    count: u64,
}

impl Seen {
    fn new() -> Seen {
        Seen {
            histogram: Histogram::new(),
            channels: Vec::new(),
            count: 0,
        }
    }

    /// Takes the numbers of one image, `[channels, …]`.
    fn add(&mut self, channels: usize, numbers: &[f32]) {
        self.histogram.add(numbers);
        let each = numbers.len() / channels.max(1);
        self.channels.resize(channels, 0.0);
        for (sum, numbers) in self.channels.iter_mut().zip(numbers.chunks(each.max(1))) {
            *sum += numbers.iter().map(|x| f64::from(*x)).sum::<f64>();
        }
        self.count += each as u64;
    }

    /// The mean of each channel; none if there are not so many.
    pub(super) fn means(&self, channels: usize) -> Option<Vec<f64>> {
        let count = self.count.max(1) as f64;
        (self.channels.len() == channels).then(|| self.channels.iter().map(|s| s / count).collect())
    }
}

/// What was seen of all of them, by name.
pub(super) type Statistics = HashMap<String, Seen>;

/// A network that shows its values.
#[derive(Debug)]
pub struct Observer {
    plan: Arc<TypedRunnableModel>,
    size: Size,
    /// The values, in the order of the outputs.
    values: Vec<String>,
    input: String,
    observed: Observed,
}

impl Observer {
    /// Prepares the network for images of this size. `values` are those to see.
    ///
    /// # Errors
    /// [`LoadError`] as for any file.
    pub(super) fn new(
        network: &Network,
        size: Size,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Observer, LoadError> {
        // Said in operators that tract has, as for serving it.
        let importer = onnx::importer();
        let file = network.proto.encode_to_vec().into();
        let mut proto = onnx::decode(&file, None, None, &importer)?.proto;
        drop(file);
        let graph = proto.graph.as_mut().ok_or(LoadError::Empty)?;
        let stored: Vec<&String> = graph.initializer.iter().map(|t| &t.name).collect();
        let input = graph.input.iter().find(|i| !stored.contains(&&i.name));
        let input = input.ok_or(LoadError::Empty)?.name.clone();
        let mut values: Vec<String> = values.into_iter().filter(|v| *v != input).collect();
        values.sort_unstable();
        graph.output = values.iter().map(|name| proto::value(name)).collect();
        let plan = catch(|| {
            let refuse = |e: TractError| graph_error(&e);
            let mut model = importer.parse(&proto, None).map_err(refuse)?.model;
            drop(proto); // the model has a copy of its weights, and packs another
            let [channels, height, width] = size.shape();
            let fact =
                InferenceFact::dt_shape(f32::datum_type(), tvec!(1, channels, height, width));
            model.set_input_fact(0, fact).map_err(refuse)?;
            let mut model = model.into_typed().map_err(refuse)?;
            keep_meaning(&mut model).map_err(refuse)?;
            model
                .into_optimized()
                .and_then(|m| m.into_runnable())
                .map_err(refuse)
        })?;
        Ok(Observer {
            plan,
            size,
            values,
            input,
            observed: Observed {
                statistics: Statistics::new(),
                samples: network.layers.iter().map(samples_of).collect(),
                read: (network.layers.iter())
                    .map(|layer| network.graph().node[layer.node].input[0].clone())
                    .collect(),
            },
        })
    }

    /// Computes the network for an image, `[3, height, width]`, and takes what its values are.
    ///
    /// # Errors
    /// [`LoadError`] if tract fails.
    pub fn see(&mut self, image: &[f32]) -> Result<(), LoadError> {
        let [channels, height, width] = self.size.shape();
        let outputs = catch(|| {
            let refuse = |e: TractError| graph_error(&e);
            let input = Tensor::from_shape(&[1, channels, height, width], image).map_err(refuse)?;
            self.plan.run(tvec!(input.into())).map_err(refuse)
        })?;
        self.observed
            .add(&self.input, [channels, height, width], image);
        for (name, output) in self.values.iter().zip(&outputs) {
            let extent = |axis: usize| output.shape().get(axis).copied().unwrap_or(1);
            let plain = output
                .try_as_plain_ram()
                .and_then(|o| o.as_slice::<f32>().map(<[f32]>::to_vec));
            let numbers = plain.map_err(|e| graph_error(&e))?;
            self.observed.add(name, [1, 2, 3].map(extent), &numbers);
        }
        Ok(())
    }

    /// What it has seen; the network it saw that in is as large as the file, and goes.
    #[must_use]
    pub fn observed(self) -> Observed {
        self.observed
    }
}

/// None yet, of a layer that sums over several inputs; what a depthwise one computes has too few to take anything back.
fn samples_of(layer: &Layer) -> Option<Samples> {
    let window = layer.window.filter(|_| layer.inputs > 1)?;
    Some(Samples::new(
        window,
        layer.inputs * layer.groups,
        layer.groups,
    ))
}

/// What a network's values were on some photos.
#[derive(Debug)]
pub struct Observed {
    pub(super) statistics: Statistics,
    /// By layer: some of what it read.
    pub(super) samples: Vec<Option<Samples>>,
    /// By layer: the value that it reads.
    read: Vec<String>,
}

impl Observed {
    /// Takes the numbers of a value on one image, `[channels, height, width]`.
    fn add(&mut self, name: &str, shape: [usize; 3], numbers: &[f32]) {
        let seen = (self.statistics.entry(name.to_owned())).or_insert_with(Seen::new);
        seen.add(shape[0], numbers);
        let layers = self.samples.iter_mut().zip(&self.read);
        for (samples, _) in layers.filter(|(_, read)| *read == name) {
            if let Some(samples) = samples {
                samples.add(shape, numbers);
            }
        }
    }
}
