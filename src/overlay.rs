//! A class activation map as a picture that is laid over its photo: transparent where nothing speaks for the class, from
//! violet over red to yellow where something does.
//!
//! Called by `http` and `cli` with what the classifier found. Knows the photo's size and what of it the network saw, not
//! the photo.

use crate::classifier::ActivationMap;
use crate::preprocess::Rectangle;

/// Most pixels of an overlay: what phones take fits, and drawing one stays below a quarter of a second.
pub const MAX_PIXELS: u64 = 50_000_000;

/// The photo has more pixels than an overlay may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an overlay of {got} pixels is not drawn, allowed are {MAX_PIXELS}")]
pub struct TooLarge {
    /// Pixels of the photo.
    pub got: u64,
}

/// The overlay of a photo of this width and height once it is upright, of which the map covers `seen`: a PNG of the same
/// size, with a palette of 256 colors.
///
/// What the map has for a place lies in the middle of that place's part of `seen`, what lies between is interpolated. The
/// largest number is yellow and covers most; what is not above zero is transparent, and so is what lies outside of `seen`.
///
/// # Errors
/// [`TooLarge`].
pub fn draw(
    map: &ActivationMap,
    seen: Rectangle,
    (width, height): (u32, u32),
) -> Result<Vec<u8>, TooLarge> {
    const TO_MEMORY: &str = "memory takes every byte, and every row has its width";
    pixels((width, height))?;
    let rows = strengths(map);
    let across = places(seen.x, seen.width, width, map.width);
    let down = places(seen.y, seen.height, height, rows.len());

    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    let (colors, alphas) = palette();
    encoder.set_palette(colors);
    encoder.set_trns(alphas);
    encoder.set_compression(png::Compression::Fast);
    // From one row to the next little changes.
    encoder.set_filter(png::Filter::Up);
    let mut writer = encoder.write_header().expect(TO_MEMORY);
    let mut lines = writer.stream_writer().expect(TO_MEMORY);
    let mut line = vec![0; width as usize];
    for place in &down {
        line.fill(0);
        if let Some(place) = place {
            let row = place.between_rows(&rows);
            for (pixel, place) in line.iter_mut().zip(&across) {
                *pixel = place.map_or(0, |place| place.between(&row).clamp(0.0, 255.0) as u8);
            }
        }
        std::io::Write::write_all(&mut lines, &line).expect(TO_MEMORY);
    }
    lines.finish().expect(TO_MEMORY);
    writer.finish().expect(TO_MEMORY);
    Ok(png)
}

/// Pixels of the overlay of a photo of this width and height.
///
/// # Errors
/// [`TooLarge`].
pub fn pixels((width, height): (u32, u32)) -> Result<usize, TooLarge> {
    let got = u64::from(width) * u64::from(height);
    let pixels = usize::try_from(got).ok().filter(|_| got <= MAX_PIXELS);
    pixels.ok_or(TooLarge { got })
}

/// The map's rows, the largest number as 255.
fn strengths(map: &ActivationMap) -> Vec<Vec<f32>> {
    let largest = map.values.iter().copied().fold(0.0, f32::max);
    let strength = |value: &f32| match largest > 0.0 {
        true => 255.0 * (value / largest), // the product of large numbers is none
        false => 0.0,
    };
    let rows = map.rows().map(|row| row.iter().map(strength).collect());
    rows.collect()
}

/// Where a pixel's middle lies between two of a map's rows or columns.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    first: usize,
    second: usize,
    /// How far it is from the first to the second, 0 to 1.
    share: f32,
}

impl Place {
    fn between(self, values: &[f32]) -> f32 {
        let (first, second) = (values[self.first], values[self.second]);
        first + (second - first) * self.share
    }

    fn between_rows(self, rows: &[Vec<f32>]) -> Vec<f32> {
        let pairs = rows[self.first].iter().zip(&rows[self.second]);
        pairs.map(|(a, b)| a + (b - a) * self.share).collect()
    }
}

/// The places of a photo's columns, or rows, among the map's; none of those outside of what the map covers.
fn places(from: f64, length: f64, side: u32, count: usize) -> Vec<Option<Place>> {
    let place = |pixel: u32| {
        let along = (f64::from(pixel) + 0.5 - from) / length;
        if !(0.0..1.0).contains(&along) || count == 0 {
            return None;
        }
        let last = count - 1;
        let at = (along * count as f64 - 0.5).clamp(0.0, last as f64);
        let first = at as usize;
        Some(Place {
            first,
            second: (first + 1).min(last),
            share: (at - first as f64) as f32,
        })
    };
    (0..side).map(place).collect()
}

/// Colors and opacities from nothing to the largest number.
fn palette() -> (Vec<u8>, Vec<u8>) {
    // Of growing lightness and of several hues, so that some of it differs from any photo.
    const STOPS: [[f32; 3]; 3] = [
        [90.0, 0.0, 170.0],
        [225.0, 50.0, 90.0],
        [255.0, 235.0, 50.0],
    ];
    let part = |index: u8| f32::from(index) / 255.0;
    let color = |index| {
        let at = 2.0 * part(index);
        let stop = usize::from(at > 1.0);
        let (from, to) = (STOPS[stop], STOPS[stop + 1]);
        let share = at - stop as f32;
        [0, 1, 2].map(|c| (from[c] + (to[c] - from[c]) * share) as u8)
    };
    let colors = (0..=255).flat_map(color).collect();
    // The photo shows through also where it is covered most.
    let alphas = (0..=255).map(|index| (200.0 * part(index)) as u8);
    (colors, alphas.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::PreprocessSpec;

    fn opacities(png: &[u8]) -> (usize, Vec<u8>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("it is small")];
        let info = reader.next_frame(&mut pixels).expect("a picture");
        assert_eq!(info.color_type, png::ColorType::Rgba);
        let alphas = pixels.chunks_exact(4).map(|pixel| pixel[3]).collect();
        (info.width as usize, alphas)
    }

    fn map(width: usize, values: &[f32]) -> ActivationMap {
        ActivationMap {
            class: 0,
            width,
            values: values.to_vec(),
        }
    }

    #[test]
    fn hot_place_lies_where_the_crop_was_in_photos_of_any_proportion() {
        let spec = PreprocessSpec::default();
        for size @ (width, height) in [
            (224, 224),
            (500, 375),
            (375, 500),
            (3000, 40),
            (40, 3000),
            (1, 900),
            (900, 1),
            (7, 7),
            (1, 1),
        ] {
            let seen = spec.seen(width, height);
            for hot in 0..49 {
                let mut values = [-1.0; 49];
                values[hot] = 3.0;
                let png = draw(&map(7, &values), seen, size).expect("small enough");
                let (across, alphas) = opacities(&png);
                assert_eq!(
                    (across, alphas.len()),
                    (width as usize, (width * height) as usize)
                );
                let (row, column) = ((hot / 7) as f64, (hot % 7) as f64);
                let own = |from: f64, length: f64, index: f64, pixel: usize, reach: f64| {
                    let at = (pixel as f64 + 0.5 - from) / length * 7.0;
                    (index - reach..index + 1.0 + reach).contains(&at)
                };
                for (i, alpha) in alphas.iter().enumerate() {
                    let (x, y) = (i % across, i / across);
                    let near = |reach| {
                        own(seen.x, seen.width, column, x, reach)
                            && own(seen.y, seen.height, row, y, reach)
                    };
                    // It fades out before the middle of its neighbours.
                    assert!(*alpha == 0 || near(0.5), "{size:?} {hot} {x} {y}");
                    if near(-0.45) {
                        assert!(*alpha > 150, "{size:?} {hot} {x} {y}: {alpha}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_speaks_for_nothing_is_transparent_and_the_strongest_is_not() {
        let spec = PreprocessSpec::default();
        let seen = spec.seen(300, 300);
        for values in [[0.0; 4], [-5.0, -1.0, -3.0, -2.0]] {
            let png = draw(&map(2, &values), seen, (300, 300)).expect("small enough");
            assert!(opacities(&png).1.iter().all(|alpha| *alpha == 0));
        }
        let png = draw(&map(2, &[1e-30; 4]), seen, (300, 300)).expect("small enough");
        let (width, alphas) = opacities(&png);
        let inside = |i: usize| {
            let middle = |pixel: usize| pixel as f64 + 0.5;
            let (x, y) = (middle(i % width), middle(i / width));
            (seen.x..seen.x + seen.width).contains(&x)
                && (seen.y..seen.y + seen.height).contains(&y)
        };
        for (i, alpha) in alphas.iter().enumerate() {
            assert_eq!(*alpha, if inside(i) { 200 } else { 0 }, "{i}");
        }
    }

    #[test]
    fn strength_is_the_share_of_the_largest_however_large_that_is() {
        for largest in [f32::MIN_POSITIVE, 1.0, 1e37, f32::MAX] {
            let strengths = strengths(&map(2, &[largest, largest / 2.0, 0.0, -largest]));
            assert_eq!(strengths, [[255.0, 127.5], [0.0, -255.0]], "{largest}");
        }
    }

    #[test]
    fn stronger_is_lighter_and_more_opaque() {
        let (colors, alphas) = palette();
        assert_eq!((colors.len(), alphas.len()), (3 * 256, 256));
        let light = |color: &[u8]| {
            let [red, green, blue] = [0, 1, 2].map(|c| f32::from(color[c]));
            0.299 * red + 0.587 * green + 0.114 * blue
        };
        let lights: Vec<f32> = colors.chunks_exact(3).map(light).collect();
        assert!(lights.is_sorted() && lights[255] > lights[0] + 150.0);
        assert!(alphas.is_sorted() && (alphas[0], alphas[255]) == (0, 200));
    }

    #[test]
    fn photo_beyond_the_limit_has_none() {
        let seen = PreprocessSpec::default().seen(10_000, 10_000);
        let error = draw(&map(1, &[1.0]), seen, (10_000, 10_000)).expect_err("too large");
        assert_eq!(error, TooLarge { got: 100_000_000 });
        let text = "an overlay of 100000000 pixels is not drawn, allowed are 50000000";
        assert_eq!(error.to_string(), text);
        let seen = PreprocessSpec::default().seen(50_000, 1000);
        let png = draw(&map(2, &[1.0, 0.0, 0.5, 1.0]), seen, (50_000, 1000)).expect("at the limit");
        assert!(png.len() < 1 << 20, "{} bytes", png.len());
    }
}
