//! What a network gives of an image beside its classes: where it looked for one of them, and what it saw.
//!
//! Asked by `batcher` on an `engine-N` thread, so that of a feature map, which is as large as the image, as a rule only
//! the sum that was wanted leaves it.

use super::{Engine, EngineError, Explain, FeatureSpec, Model, Wish};
use crate::postprocess::{NotFinite, check_finite, largest};
use crate::tensor::Image;

/// What was wanted of an image beside its classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Further {
    /// Where the network saw a class.
    pub activation: Option<ActivationMap>,
    /// The mean of each channel of the last feature map.
    pub features: Option<Vec<f32>>,
    /// The last feature map, `[channels, height, width]`.
    pub feature_map: Option<Vec<f32>>,
}

impl Further {
    /// Checks that all values are finite numbers, for others have no place in JSON and no meaning.
    ///
    /// # Errors
    /// The first value that is not.
    pub fn check_finite(&self) -> Result<(), NotFinite> {
        let activation = self.activation.as_ref().map(|map| &map.values);
        let parts = [
            activation,
            self.features.as_ref(),
            self.feature_map.as_ref(),
        ];
        parts
            .into_iter()
            .flatten()
            .try_for_each(|part| check_finite(part))
    }
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
    fn what_is_no_number_is_found_in_every_part() {
        let of = |values: [f32; 3]| {
            let activation = ActivationMap {
                class: 0,
                width: 1,
                values: vec![0.0, values[0]],
            };
            Further {
                activation: Some(activation),
                features: Some(vec![values[1]]),
                feature_map: Some(vec![1.0, 2.0, values[2]]),
            }
        };
        assert_eq!(Further::default().check_finite(), Ok(()));
        assert_eq!(of([f32::MAX, f32::MIN, 0.0]).check_finite(), Ok(()));
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (place, index) in [1, 0, 2].into_iter().enumerate() {
                let mut values = [1.0; 3];
                values[place] = value;
                let found = of(values).check_finite().expect_err("one is none");
                assert_eq!(found.class_index, index, "{place}");
                assert_eq!(found.value.to_bits(), value.to_bits());
            }
        }
    }

    #[test]
    fn places_are_summed_over_channels_by_their_weights() {
        let map = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        assert_eq!(weighted(&map, &[1.0, -0.5]), [-4.0, -8.0, -12.0]);
        assert_eq!(weighted(&[], &[]), [] as [f32; 0]);
        assert_eq!(weighted(&[5.0], &[2.0]), [10.0]);
    }
}
