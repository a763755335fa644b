//! Made-up images of different character, on which a network's precisions are compared at load.
//!
//! Called by `precision`, and by `tract` for what a network answers. Nothing is read: the same side always gives the same images. Their values spread as those of
//! normalized photos do, so that every layer sees the range it was trained for.

use super::Pixels;
use crate::tensor::{Image, Tensor};

/// Colors of one point of a picture, red, green and blue from 0 to 1; `x` and `y` go from 0 to 1.
type Picture = fn(x: f32, y: f32) -> [f32; 3];

/// A smooth one, one with a few shapes, one of regular texture, one of chance.
const PICTURES: [Picture; 4] = [gradients, shapes, stripes, clouds];

/// One image a picture, each `[3, side, side]`: normalized with about ImageNet's mean and deviation, or the pixels that
/// the network takes instead.
pub(super) fn images(side: usize, pixels: Pixels) -> Vec<Image> {
    let images = PICTURES.iter().map(|p| image(*p, side));
    images.map(|image| taken(&image, 1.0, pixels)).collect()
}

/// Images that tell the kind of a network by its answers: one that spans all that a normalized pixel can be, the pictures,
/// and these far too bright and too dark, for what has a single answer to all that is possible.
pub(super) fn of_any_range(side: usize, pixels: Pixels) -> impl Iterator<Item = Image> {
    let gradient = (0..3 * side * side)
        .map(|i| (i % 255) as f32 / 64.0 - 2.0)
        .collect();
    let gradient = Tensor::new(vec![3, side, side], gradient);
    let first = std::iter::once(taken(&gradient, 1.0, pixels));
    let more = [1.0, 8.0, -8.0].into_iter().flat_map(move |factor| {
        let pictures = PICTURES.iter().rev();
        pictures.map(move |p| taken(&image(*p, side), factor, pixels))
    });
    first.chain(more)
}

/// A normalized image, times a factor, in the numbers that the network takes.
fn taken(image: &Tensor, factor: f32, pixels: Pixels) -> Image {
    let value = |v: f32| match pixels {
        Pixels::Normalized => v * factor,
        Pixels::Unit => v * factor * 0.225 + 0.45,
        Pixels::Bytes => (v * factor * 0.225 + 0.45) * 255.0,
    };
    let data = image.data().iter().map(|v| value(*v)).collect();
    Tensor::new(image.shape().to_vec(), data).into()
}

fn image(picture: Picture, side: usize) -> Tensor {
    let middle = |i: usize| (i as f32 + 0.5) / side as f32;
    let mut data = vec![0.0; 3 * side * side];
    for (row, column) in (0..side).flat_map(|r| (0..side).map(move |c| (r, c))) {
        let color = picture(middle(column), middle(row));
        for (channel, value) in color.into_iter().enumerate() {
            data[(channel * side + row) * side + column] = (value - 0.45) / 0.225;
        }
    }
    Tensor::new(vec![3, side, side], data)
}

fn gradients(x: f32, y: f32) -> [f32; 3] {
    [x, y, 1.0 - (x + y) / 2.0]
}

/// Three discs with soft edges on grey.
fn shapes(x: f32, y: f32) -> [f32; 3] {
    let discs = [
        (0.35, 0.40, 0.22, [0.9, 0.3, 0.1]),
        (0.65, 0.60, 0.30, [0.2, 0.7, 0.3]),
        (0.55, 0.25, 0.12, [0.1, 0.2, 0.9]),
    ];
    let mut color = [0.35_f32; 3];
    for (center_x, center_y, radius, paint) in discs {
        let beyond = (x - center_x).hypot(y - center_y) - radius;
        let cover = 1.0 / (1.0 + (beyond * 40.0_f32).exp());
        for (value, paint) in color.iter_mut().zip(paint) {
            *value += (paint - *value) * cover;
        }
    }
    color
}

/// Waves of three directions, one of them ever finer.
fn stripes(x: f32, y: f32) -> [f32; 3] {
    let wave = |turns: f32| 0.5 + 0.4 * (std::f32::consts::TAU * turns).sin();
    [
        wave((3.0 + 9.0 * y) * x),
        wave(12.0 * (x + y)),
        wave(7.0 * y),
    ]
}

/// Value noise of three sizes.
fn clouds(x: f32, y: f32) -> [f32; 3] {
    let sizes = [(4.0, 0.5), (16.0, 0.3), (64.0, 0.2)];
    [0, 8, 16].map(|channel| {
        let layer = |(seed, (cells, weight)): (u32, &(f32, f32))| {
            weight * value_noise(x * cells, y * cells, channel + seed)
        };
        (0..).zip(&sizes).map(layer).sum()
    })
}

/// Chance at whole numbers, straight lines between them.
fn value_noise(x: f32, y: f32, seed: u32) -> f32 {
    let (column, row) = (x as u32, y as u32);
    let (right, down) = (x.fract(), y.fract());
    let line = |row| {
        let (a, b) = (chance(column, row, seed), chance(column + 1, row, seed));
        a + (b - a) * right
    };
    let (above, below) = (line(row), line(row + 1));
    above + (below - above) * down
}

/// A number from 0 to 1 that only its arguments decide, by multiplying and shifting their bits until all mix.
fn chance(x: u32, y: u32, seed: u32) -> f32 {
    let mut bits = x
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add(y.wrapping_mul(0x85EB_CA77))
        .wrapping_add(seed.wrapping_mul(0xC2B2_AE3D));
    for (shift, factor) in [(15, 0x2C1B_3C6D), (12, 0x297A_2D39)] {
        bits = (bits ^ (bits >> shift)).wrapping_mul(factor);
    }
    (bits ^ (bits >> 15)) as f32 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_of_the_pixels_that_the_network_takes() {
        for (pixels, range) in [(Pixels::Unit, -0.01..1.01), (Pixels::Bytes, -1.0..256.0)] {
            for image in images(16, pixels) {
                let Image::Tensor(image) = image else {
                    panic!("an image is a tensor")
                };
                let data = image.data();
                assert!(data.iter().all(|v| range.contains(v)), "{pixels:?}");
                assert!(data.iter().any(|v| *v > range.end / 3.0), "{pixels:?}");
            }
        }
        assert_eq!(of_any_range(8, Pixels::Normalized).count(), 13);
    }

    #[test]
    fn images_differ_and_spread_as_normalized_photos() {
        let images = PICTURES.map(|p| image(p, 32));
        for (i, image) in images.iter().enumerate() {
            assert_eq!(image.shape(), [3, 32, 32]);
            let data = image.data();
            assert!(data.iter().all(|v| (-2.2..2.7).contains(v)), "{i}");
            let mean = data.iter().sum::<f32>() / data.len() as f32;
            let deviation = data.iter().map(|v| (v - mean).powi(2)).sum::<f32>();
            let deviation = (deviation / data.len() as f32).sqrt();
            assert!((0.4..1.6).contains(&deviation), "{i}: {deviation}");
            assert!(images[..i].iter().all(|other| other != image));
        }
        assert_eq!(images, PICTURES.map(|p| image(p, 32)));
    }
}
