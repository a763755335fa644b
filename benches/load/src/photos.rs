//! Photos of all sizes: those at hand, and large ones made of them.

use std::fs;
use std::path::Path;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::args::Args;
use crate::http::Request;

/// How a large JPEG is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scans {
    /// Rows in order, colors at half the resolution: what cameras write.
    Baseline,
    /// Coarse first, colors at full resolution: what takes the most memory to decode.
    Progressive,
}

/// A sequence of photos, the same in every run: four of five are small, of the others three of four have 2 megapixels
/// and one 12.
#[derive(Debug)]
pub(crate) struct Mix {
    small: Vec<Request>,
    medium: Request,
    large: Request,
}

impl Mix {
    /// Reads the small photos and makes the large ones.
    ///
    /// # Errors
    /// If the repository's own photos cannot be read.
    pub(crate) fn load(args: &Args) -> Result<Mix, String> {
        let picture = Picture::read(&args.fixtures.join("photos/espresso.png"))?;
        Ok(Mix {
            small: small(args)?,
            medium: post(picture.jpeg(1920, 1280, Scans::Baseline)),
            large: post(picture.jpeg(4000, 3000, Scans::Baseline)),
        })
    }

    /// The photo of the `n`th request where all are small.
    pub(crate) fn pick_small(&self, n: u64) -> Request {
        self.small[(scatter(n) / 20) as usize % self.small.len()].clone()
    }

    /// The photo of the `n`th request.
    pub(crate) fn pick(&self, n: u64) -> Request {
        let n = scatter(n);
        match n % 20 {
            0..16 => self.small[(n / 20) as usize % self.small.len()].clone(),
            16..19 => self.medium.clone(),
            _ => self.large.clone(),
        }
    }
}

/// A number that tells nothing of `n`, but is the same in every run (splitmix64).
pub(crate) fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A request that classifies this image.
pub(crate) fn post(image: Vec<u8>) -> Request {
    Request::post("/classify", "", image)
}

/// Small photos: the repository's own, and 60 of `--photos` if there are any.
///
/// # Errors
/// If the repository's own cannot be read.
pub(crate) fn small(args: &Args) -> Result<Vec<Request>, String> {
    let mut files = files(&args.fixtures.join("photos"))?;
    files.extend(
        self::files(&args.photos)
            .unwrap_or_default()
            .into_iter()
            .take(60),
    );
    let photos = files.into_iter().filter(|(name, _)| {
        let name = name.to_ascii_lowercase();
        [".png", ".jpg", ".jpeg"]
            .iter()
            .any(|end| name.ends_with(end))
    });
    Ok(photos.map(|(_, bytes)| post(bytes)).collect())
}

/// Name and content of each file of a folder, by name.
///
/// # Errors
/// If the folder or one of its files cannot be read.
pub(crate) fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let wrong = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if entry.path().is_file() {
            let bytes = fs::read(entry.path()).map_err(wrong)?;
            files.push((entry.file_name().to_string_lossy().into_owned(), bytes));
        }
    }
    files.sort();
    Ok(files)
}

/// RGB pixels.
#[derive(Debug)]
pub(crate) struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// Reads an 8-bit RGB PNG.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn read(path: &Path) -> Result<Picture, String> {
        let wrong = |e: String| format!("{}: {e}", path.display());
        let file = fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
        let decoder = png::Decoder::new(std::io::BufReader::new(file));
        let mut reader = decoder.read_info().map_err(|e| wrong(e.to_string()))?;
        let size = reader.output_buffer_size().unwrap_or(0);
        let mut rgb = vec![0; size];
        let info = reader
            .next_frame(&mut rgb)
            .map_err(|e| wrong(e.to_string()))?;
        if info.color_type != png::ColorType::Rgb || info.bit_depth != png::BitDepth::Eight {
            return Err(wrong("it is no 8-bit RGB".into()));
        }
        Ok(Picture {
            width: info.width as usize,
            height: info.height as usize,
            rgb,
        })
    }

    /// The picture tiled to this size, as JPEG: as detailed as a photo of that size.
    ///
    /// # Panics
    /// If a side is 0.
    pub(crate) fn jpeg(&self, width: u16, height: u16, scans: Scans) -> Vec<u8> {
        let (w, h) = (usize::from(width), usize::from(height));
        let mut pixels = Vec::with_capacity(w * h * 3);
        for y in 0..h {
            let row = &self.rgb[y % self.height * self.width * 3..][..self.width * 3];
            for _ in 0..w / self.width {
                pixels.extend_from_slice(row);
            }
            pixels.extend_from_slice(&row[..w % self.width * 3]);
        }
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 75);
        let (progressive, sampling) = match scans {
            Scans::Baseline => (false, SamplingFactor::F_2_2),
            Scans::Progressive => (true, SamplingFactor::F_1_1),
        };
        encoder.set_progressive(progressive);
        encoder.set_sampling_factor(sampling);
        encoder
            .encode(&pixels, width, height, ColorType::Rgb)
            .expect("the sides are positive and the buffer has their pixels");
        out
    }
}
