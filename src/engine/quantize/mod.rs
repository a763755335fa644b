//! A file in single precision to one of 8 bits: what its values are on photos, and what of it becomes bytes.
//!
//! Called by `quantize`. What is written is standard ONNX, which other runtimes read as well.

mod fold;
mod histogram;
mod network;
mod observe;
mod rounding;
mod samples;
#[cfg(test)]
mod tests;
mod window;
mod write;

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;
use tract_onnx::pb::ModelProto;

use self::network::{Network, added_as_numbers, values};
use self::observe::Statistics;
pub use self::observe::{Observed, Observer};
use super::caught::catch;
use super::external::{self, WeightsDir};
use super::widen::widen_weights;
use super::{InputForm, LoadError, onnx};
use crate::tensor::Size;

/// What is written between a convolution and a sum that alone reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeSums {
    /// Nothing where both are one step on bytes: what is stored is rounded once.
    Numbers,
    /// Bytes, for runtimes that add bytes alone.
    Bytes,
}

/// A network's weights as bytes, with what its values were.
#[derive(Debug)]
pub struct Rounded {
    statistics: Statistics,
    /// None of a layer that nothing was seen of.
    layers: Vec<Option<write::Bytes>>,
}

/// A file that can be quantized.
#[derive(Debug)]
pub struct Quantizable {
    network: Network,
    before_sums: BeforeSums,
}

impl Quantizable {
    /// Reads a file. `dir` is where weights outside of it may lie; they will be inside of what is written.
    ///
    /// # Errors
    /// [`LoadError::NotQuantizable`] with the reason, or what is wrong with the file.
    pub fn read(bytes: Bytes, dir: Option<&WeightsDir>) -> Result<Quantizable, LoadError> {
        catch(|| Quantizable::of(bytes, dir))
    }

    fn of(bytes: Bytes, dir: Option<&WeightsDir>) -> Result<Quantizable, LoadError> {
        // Its weights are gone before they are decoded once more.
        let form = onnx::decode(&bytes, dir, None, &onnx::importer())?.form;
        if form != InputForm::default() {
            return Err(LoadError::NotQuantizable(
                "its input is not float32 [N, 3, height, width]".into(),
            ));
        }
        let mut proto = ModelProto::decode(bytes).map_err(|e| LoadError::NotOnnx(e.to_string()))?;
        external::bring_in(&mut proto, dir)?;
        if let Some(graph) = &mut proto.graph {
            onnx::widen(graph)?;
            // Bytes of weights alone become numbers.
            widen_weights(graph);
        }
        Ok(Quantizable {
            network: Network::of(proto)?,
            before_sums: BeforeSums::Numbers,
        })
    }

    /// The same file, with this between its convolutions and their sums: [`BeforeSums::Numbers`] where nothing is said.
    #[must_use]
    pub fn with_before_sums(self, before_sums: BeforeSums) -> Quantizable {
        Quantizable {
            before_sums,
            ..self
        }
    }

    /// The names of the layers that can be computed on bytes, in the file's order.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.network.layers.iter().map(|layer| layer.name.as_str())
    }

    /// What looks at the network's values, for images of this size.
    ///
    /// # Errors
    /// [`LoadError`] as for any file.
    pub fn observer(&self, size: Size) -> Result<Observer, LoadError> {
        let all = (0..self.network.layers.len()).collect();
        Observer::new(&self.network, size, values(&self.network, &all))
    }

    /// The weights of all layers as bytes, given what was seen on the photos; by `threads` threads.
    #[must_use]
    pub fn rounded(&self, observed: Observed, threads: usize) -> Rounded {
        let all = (0..self.network.layers.len()).collect();
        let Observed {
            statistics,
            samples,
            ..
        } = observed;
        let quantizations =
            write::quantizations(&self.network, &statistics, &values(&self.network, &all));
        let layers = self.network.layers.iter().zip(samples);
        let rounded = layers.map(|(layer, samples)| {
            let input = &self.network.graph().node[layer.node].input[0];
            let seen = write::statistics_of(&self.network, &statistics, input)?;
            let of_input = *quantizations.get(input)?;
            let means = seen.means(layer.inputs * layer.groups);
            let weights = self.network.weights(layer);
            let seen = (samples.as_ref(), means);
            Some(write::bytes(layer, &weights, of_input, seen, threads))
        });
        let layers = rounded.collect();
        Rounded { statistics, layers }
    }

    /// The layers by what bytes cost them, the costliest first: the squared error of input and weights over what is
    /// there.
    #[must_use]
    pub fn by_noise(&self, rounded: &Rounded) -> Vec<usize> {
        let all = (0..self.network.layers.len()).collect();
        let statistics = &rounded.statistics;
        let quantizations =
            write::quantizations(&self.network, statistics, &values(&self.network, &all));
        let noise = |layer: &network::Layer| {
            let input = &self.network.graph().node[layer.node].input[0];
            let seen = write::statistics_of(&self.network, statistics, input)?;
            let weights = self.network.weights(layer);
            let of_input = *quantizations.get(input)?;
            Some(write::noise(layer, &weights, seen, of_input))
        };
        let noises = self
            .network
            .layers
            .iter()
            .map(|l| noise(l).unwrap_or(f64::INFINITY));
        let mut layers: Vec<(usize, f64)> = noises.enumerate().collect();
        layers.sort_by(|a, b| b.1.total_cmp(&a.1));
        layers.into_iter().map(|(layer, _)| layer).collect()
    }

    /// The file of 8 bits. Layers of `kept` stay in single precision; `metadata` is added to the file's own.
    #[must_use]
    pub fn quantized(
        &self,
        rounded: &Rounded,
        kept: &HashSet<usize>,
        metadata: &[(String, String)],
    ) -> Vec<u8> {
        let on_bytes = (0..self.network.layers.len()).filter(|layer| !kept.contains(layer));
        let statistics = &rounded.statistics;
        let on_bytes = on_bytes.collect();
        let mut quantizations =
            write::quantizations(&self.network, statistics, &values(&self.network, &on_bytes));
        if self.before_sums == BeforeSums::Numbers {
            for value in added_as_numbers(&self.network, &on_bytes, &quantizations) {
                quantizations.remove(&value);
            }
        }
        let proto = write::written(
            &self.network,
            &rounded.layers,
            &on_bytes,
            quantizations,
            metadata,
        );
        proto.encode_to_vec()
    }
}
