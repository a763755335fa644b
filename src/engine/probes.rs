//! Made-up images of different character, on which a network's precisions are compared at load.
//!
//! Called by `precision`, and by `tract` for what a network answers. Nothing is read: the same size always gives the same
//! images. Their colors spread as those of photos do and become values as those of images, so that every layer sees the
//! range it was trained for.

use super::ColorValues;
use crate::tensor::{Image, Size, Tensor};

/// Colors of one point of a picture, red, green and blue from 0 to 1; `x` and `y` go from 0 to 1.
type Picture = fn(x: f32, y: f32) -> [f32; 3];

/// The pictures: a smooth one, one with a few shapes, one of regular texture, one of chance.
const PICTURES: [Picture; 4] = [gradients, shapes, stripes, clouds];

/// One image a picture, each `[3, height, width]`, in the values that images become.
pub(super) fn images(size: Size, colors: &ColorValues) -> Vec<Image> {
    let images = PICTURES.iter().map(|p| picture(*p, size));
    images.map(|image| values(&image, 1.0, colors)).collect()
}

/// An image that tells the kind of a network.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) image: Image,
    /// The image's position in [`images`], if it is one of them.
    pub(super) picture: Option<usize>,
}

/// Images that tell the kind of a network by its answers: one that spans all that a pixel can be, the pictures, and these
/// far too bright and too dark, for what has a single answer to all that is possible.
pub(super) fn of_any_range(size: Size, colors: &ColorValues) -> impl Iterator<Item = Probe> {
    let gradient = (0..size.values())
        .map(|i| (i % 256) as f32 / 255.0)
        .collect();
    let gradient = Tensor::new(size.shape().to_vec(), gradient);
    let first = std::iter::once(Probe {
        image: values(&gradient, 1.0, colors),
        picture: None,
    });
    let more = [1.0, 8.0, -8.0].into_iter().flat_map(move |contrast| {
        let pictures = PICTURES.iter().enumerate().rev();
        pictures.map(move |(i, p)| Probe {
            image: values(&picture(*p, size), contrast, colors),
            picture: (contrast == 1.0).then_some(i),
        })
    });
    first.chain(more)
}

/// Mean brightness of photos.
const MIDDLE: f32 = 0.45;

/// A picture, its contrast times a factor, in the values that images become.
fn values(picture: &Tensor, contrast: f32, colors: &ColorValues) -> Image {
    let size = picture.data().len() / 3;
    let value = |(i, pixel): (usize, &f32)| {
        let pixel = (pixel - MIDDLE) * contrast + MIDDLE;
        colors.value(i / size, pixel)
    };
    let data = picture.data().iter().enumerate().map(value).collect();
    Tensor::new(picture.shape().to_vec(), data).into()
}

/// The pixels of a picture, in 256 steps from 0 to 1.
fn picture(picture: Picture, size: Size) -> Tensor {
    let [_, height, width] = size.shape();
    let middle = |i: usize, count: usize| (i as f32 + 0.5) / count as f32;
    let mut data = vec![0.0; size.values()];
    for (row, column) in (0..height).flat_map(|r| (0..width).map(move |c| (r, c))) {
        let color = picture(middle(column, width), middle(row, height));
        for (channel, value) in color.into_iter().enumerate() {
            data[(channel * height + row) * width + column] = (value * 255.0).round() / 255.0;
        }
    }
    Tensor::new(size.shape().to_vec(), data)
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

    fn data(image: &Image) -> &[f32] {
        match image {
            Image::Tensor(image) => image.data(),
            Image::Values(_) | Image::Crop(_) => panic!("an image is a tensor"),
        }
    }

    #[test]
    fn images_are_in_the_values_that_images_become() {
        let of = |scale: f32, mean: [f32; 3], std: [f32; 3]| ColorValues { scale, mean, std };
        let caffe = [103.939, 116.779, 123.68];
        for (colors, range) in [
            (ColorValues::UNIT, 0.0..=1.0),
            (of(1.0, [0.0; 3], [1.0 / 255.0; 3]), 0.0..=255.01),
            (of(255.0, caffe, [1.0; 3]), -124.0..=152.0),
            (of(2.0, [1.0; 3], [1.0; 3]), -1.0..=1.0),
            (
                of(1.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
                -2.2..=2.7,
            ),
        ] {
            let spread = range.end() - range.start();
            for image in images(Size::square(16), &colors) {
                let data = data(&image);
                assert!(data.iter().all(|v| range.contains(v)), "{colors:?}");
                let largest = data.iter().copied().fold(f32::MIN, f32::max);
                let least = data.iter().copied().fold(f32::MAX, f32::min);
                assert!(largest - least > 0.3 * spread, "{colors:?}");
            }
        }
        assert_eq!(
            of_any_range(Size::square(8), &ColorValues::UNIT).count(),
            13
        );
        let size = Size::square(8);
        let pictures = images(size, &ColorValues::UNIT);
        let probes = of_any_range(size, &ColorValues::UNIT);
        let known: Vec<_> = probes.filter(|p| p.picture.is_some()).collect();
        assert_eq!(known.len(), pictures.len());
        for probe in known {
            let picture = &pictures[probe.picture.expect("filtered")];
            assert_eq!(data(&probe.image), data(picture));
        }
        // Each channel has its own mean.
        let [red, green] = [0, 1].map(|c| of(255.0, caffe, [1.0; 3]).value(c, 0.0));
        assert_eq!((red, green), (-caffe[0], -caffe[1]));
    }

    #[test]
    fn images_differ_and_spread_as_photos() {
        let size = Size {
            height: 24,
            width: 40,
        };
        let images = PICTURES.map(|p| picture(p, size));
        for (i, image) in images.iter().enumerate() {
            assert_eq!(image.shape(), [3, 24, 40]);
            let data = image.data();
            assert!(data.iter().all(|v| (0.0..=1.0).contains(v)), "{i}");
            let mean = data.iter().sum::<f32>() / data.len() as f32;
            let deviation = data.iter().map(|v| (v - mean).powi(2)).sum::<f32>();
            let deviation = (deviation / data.len() as f32).sqrt();
            assert!((0.09..0.36).contains(&deviation), "{i}: {deviation}");
            assert!(images[..i].iter().all(|other| other != image));
        }
        assert_eq!(images, PICTURES.map(|p| picture(p, size)));
    }
}
