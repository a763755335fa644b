//! What a network gives of an image beside its classes: where it looked for one of them, and what it saw.
//!
//! Asked by `batcher` on an `engine-N` thread, so that of a feature map, which is as large as the image, as a rule only
//! the sum that was wanted leaves it.

use super::{Engine, EngineError, Explain, FeatureSpec, Model, Wish};
use crate::postprocess::largest;
use crate::tensor::Image;

/// What was wanted of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Further {
    /// Where the network saw a class.
    pub activation: Option<ActivationMap>,
    /// The mean of each channel of the last feature map.
    pub features: Option<Vec<f32>>,
    /// That map, `[channels, height, width]`.
    pub feature_map: Option<Vec<f32>>,
}

/// How much each place of the last feature map speaks for a class: the sum over all channels of the linear layer's
/// weight times the channel's value. Their mean and the class's bias are its logit.
///
/// Source: Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative Localization", 2016,
/// equation 2.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationMap {
    /// The class.
    pub class: usize,
    /// Values of a row.
    pub width: usize,
    /// `[height, width]`, as the network's input lies: the first is its upper left corner's.
    pub values: Vec<f32>,
}

impl ActivationMap {
    /// The rows, from the top.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// What a network gives of one image.
pub type Given = (Vec<f32>, Further);

/// Runs the network for its first output, and on for what is wanted of some of the images.
///
/// # Errors
/// As of [`Engine::run_for`].
pub fn run_with(
    engine: &mut dyn Engine,
    model: &dyn Model,
    images: &[Image],
    wishes: &[Wish],
) -> Result<Vec<Given>, EngineError> {
    let Some(spec) = model.spec().features else {
        return Ok(plain(engine.run(images)?));
    };
    let wants_map = |wish: &Wish| wish.explain.is_some() || wish.feature_map;
    let mut outputs = vec![0];
    if wishes.iter().any(wants_map) {
        outputs.push(FeatureSpec::MAP);
    }
    if wishes.iter().any(|wish| wish.features) {
        outputs.push(FeatureSpec::POOLED);
    }
    if outputs.len() == 1 {
        return Ok(plain(engine.run(images)?));
    }
    let place = |output| outputs.iter().position(|asked| *asked == output);
    let (map, pooled) = (place(FeatureSpec::MAP), place(FeatureSpec::POOLED));
    let mut given = Vec::with_capacity(images.len());
    engine.run_each(images, &outputs, &mut |values| {
        let Some(wish) = wishes.get(given.len()) else {
            return;
        };
        let output = values[0];
        let [map, pooled] = [map, pooled].map(|place| place.map(|place| values[place]));
        let class = match wish.explain {
            Some(Explain::Winner) => largest(output),
            Some(Explain::Class(class)) => Some(class),
            None => None,
        };
        let activation = class.zip(map).and_then(|(class, map)| {
            Some(ActivationMap {
                class,
                width: spec.width,
                values: weighted(map, &model.class_weights(class)?),
            })
        });
        let further = Further {
            activation,
            features: pooled.filter(|_| wish.features).map(<[f32]>::to_vec),
            feature_map: map.filter(|_| wish.feature_map).map(<[f32]>::to_vec),
        };
        given.push((output.to_vec(), further));
    })?;
    Ok(given)
}

fn plain(outputs: Vec<Vec<f32>>) -> Vec<Given> {
    let alone = |output| (output, Further::default());
    outputs.into_iter().map(alone).collect()
}

/// The sum of a map's channels, each times its weight.
fn weighted(map: &[f32], weights: &[f32]) -> Vec<f32> {
    let area = map.len().checked_div(weights.len()).unwrap_or(0);
    let mut sum = vec![0.0; area];
    for (channel, weight) in map.chunks_exact(area.max(1)).zip(weights) {
        for (sum, value) in sum.iter_mut().zip(channel) {
            *sum += weight * value;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_summed_over_channels_by_their_weights() {
        let map = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        assert_eq!(weighted(&map, &[1.0, -0.5]), [-4.0, -8.0, -12.0]);
        assert_eq!(weighted(&[], &[]), [] as [f32; 0]);
        assert_eq!(weighted(&[5.0], &[2.0]), [10.0]);
    }
}
