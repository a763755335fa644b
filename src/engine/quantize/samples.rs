//! What a layer multiplies with its weights, at some of the places of its window on the photos.
//!
//! Filled by `observe`, read by `rounding`. Numbers are kept as bytes, as the layer will read them; those of one photo
//! share a scale.

use kernels::nn::Quantization;

use super::histogram::of_range;
use super::window::Window;

/// Places of the window for each number under it, so that these have not been seen in as few ways as there are of them.
const PLACES_A_NUMBER: usize = 2;

/// Places of a window of few numbers, all groups together: they cost next to nothing.
const PLACES: usize = 8192;

/// Photos over which the places are spread; `resnet quantize` looks at as many if nothing is said.
const PHOTOS: usize = 128;

/// The numbers under a layer's window at some of its places.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    window: Window,
    /// Numbers of a place: `[channels, kernel height, kernel width]`, of all groups.
    each: usize,
    /// Those that one group reads.
    of_group: usize,
    bytes: Vec<u8>,
    /// Photo by photo: places, and what their bytes mean.
    photos: Vec<(usize, Quantization)>,
}

impl Samples {
    /// None yet, for a window over so many channels in so many groups.
    pub(super) fn new(window: Window, channels: usize, groups: usize) -> Samples {
        let each = channels * window.kernel[0] * window.kernel[1];
        Samples {
            window,
            each,
            of_group: each / groups.max(1),
            bytes: Vec::new(),
            photos: Vec::new(),
        }
    }

    /// Numbers of a place.
    pub(super) fn each(&self) -> usize {
        self.each
    }

    /// Places seen.
    pub(super) fn places(&self) -> usize {
        self.bytes.len() / self.each.max(1)
    }

    /// Takes some places of an image, `[channels, height, width]`; nothing if it has another number of channels, or no
    /// place for the window, or there are enough.
    pub(super) fn add(&mut self, [channels, height, width]: [usize; 3], numbers: &[f32]) {
        let [rows, columns] = self.window.places([height, width]);
        let there_are = rows * columns;
        let groups = self.each / self.of_group.max(1);
        let most = (PLACES_A_NUMBER * self.of_group).max(PLACES / groups.max(1));
        let wanted = (most.div_ceil(PHOTOS))
            .min(most.saturating_sub(self.places()))
            .min(there_are);
        let taps = self.window.kernel[0] * self.window.kernel[1];
        if wanted == 0 || channels * taps != self.each {
            return;
        }
        // Steps of the golden ratio spread any number of places over all; each photo begins elsewhere.
        let step = coprime((there_are as f64 * 0.618) as usize, there_are);
        let first = self.photos.len() * 7919;
        let mut found = Vec::with_capacity(wanted * self.each);
        for place in (0..wanted).map(|i| (first + i * step) % there_are) {
            let place = [place / columns, place % columns];
            for channel in numbers.chunks_exact(height * width) {
                let read = self.window.under(place, [height, width]);
                found.extend(read.map(|at| at.map_or(0.0, |at| channel[at])));
            }
        }
        let range = found
            .iter()
            .fold([0.0_f32; 2], |[l, m], x| [l.min(*x), m.max(*x)]);
        let meaning = of_range(range);
        self.bytes
            .extend(found.iter().map(|x| meaning.quantize(*x)));
        self.photos.push((wanted, meaning));
    }

    /// Calls `each` with the bytes of every place, and what they mean.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[u8], Quantization)) {
        let mut places = self.bytes.chunks_exact(self.each.max(1));
        for (count, meaning) in &self.photos {
            places
                .by_ref()
                .take(*count)
                .for_each(|place| each(place, *meaning));
        }
    }
}

/// The first number from one on that has no divisor in common with another.
fn coprime(from: usize, with: usize) -> usize {
    let common = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (from.max(1)..)
        .find(|n| common(*n, with) == 1)
        .expect("a prime above both is one")
}

#[cfg(test)]
mod tests {
    use super::super::super::proto::{self, integers};
    use super::*;

    #[test]
    fn places_are_spread_over_image_and_photos() {
        let mut conv = proto::node("Conv", &["x", "w"], &["y"]);
        conv.attribute = vec![integers("pads", &[1, 1, 1, 1])];
        let window = Window::of(&conv, &[1, 2, 3, 3]).unwrap();
        let mut samples = Samples::new(window, 2, 1);
        // Every number is its place: channel, row and column.
        let image: Vec<f32> = (0..2 * 12 * 20)
            .map(|i| (i / 240) as f32 + (i % 240) as f32 / 240.0)
            .collect();
        for _ in 0..3 {
            samples.add([2, 12, 20], &image);
        }
        assert_eq!(samples.places(), 3 * PLACES / PHOTOS);
        let (mut rows, mut borders, mut middles) = ([0; 12], 0, Vec::new());
        samples.for_each(|bytes, meaning| {
            let number = |i: usize| meaning.dequantize(bytes[i]);
            // The middle of the window, in both channels.
            let place = number(4) * 240.0;
            assert!((number(13) - number(4) - 1.0).abs() < 0.02, "{place}");
            rows[(place / 20.0) as usize % 12] += 1;
            borders += usize::from((0..9).any(|i| number(i) == 0.0 && place > 30.0));
            middles.push(bytes[4]);
        });
        assert!(rows.iter().all(|n| *n >= 5), "{rows:?}");
        assert!(borders > 5, "{borders}");
        let each = PLACES / PHOTOS;
        assert_ne!(middles[..each], middles[each..2 * each]);
        // What it cannot be of is left out, and so is what is more than enough.
        samples.add([3, 12, 20], &vec![0.5; 720]);
        assert_eq!(samples.places(), 3 * each);
        for _ in 0..PHOTOS {
            samples.add([2, 12, 20], &image);
        }
        assert_eq!(samples.places(), PLACES);
    }
}
