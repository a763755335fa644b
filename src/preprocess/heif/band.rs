//! Rows of decoded samples on their way to RGB, held until the chroma around them is there.
//!
//! Used by `tiled.rs`, which puts the samples of a row of tiles next to each other into it.

use std::ops::Range;

use super::super::decode::{Region, RowSink};
use super::super::ycbcr::Conversion;

/// Which samples of a picture a region's RGB is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needed {
    pub(super) luma: Region,
    /// The region in samples of chroma; none without colors.
    pub(super) chroma: Option<Region>,
    /// Columns and rows of pixels that share a chroma sample, as shifts.
    shifts: (u32, u32),
    /// Whether chroma between two samples is a mean of both.
    interpolates: bool,
    /// The last column of the whole picture: where no other pixel shares its chroma, that is as it is.
    last: u32,
}

impl Needed {
    /// The samples for a region of a picture of this size.
    pub(super) fn new(
        region: Region,
        size: (u32, u32),
        chroma: Option<(u32, u32)>,
        conversion: &Conversion,
    ) -> Needed {
        let interpolates = conversion.interpolates();
        let shifts = chroma.unwrap_or_default();
        let side = |first: u32, count: u32, all: u32, shift: u32| {
            let margin = u32::from(interpolates && shift > 0);
            let last = ((all - 1) >> shift).min(((first + count - 1) >> shift) + margin);
            let first = (first >> shift).saturating_sub(margin);
            (first, last - first + 1)
        };
        let chroma = chroma.map(|(across, down)| {
            let (left, width) = side(region.left, region.width, size.0, across);
            let (top, height) = side(region.top, region.height, size.1, down);
            Region {
                left,
                top,
                width,
                height,
            }
        });
        Needed {
            luma: region,
            chroma,
            shifts,
            interpolates,
            last: size.0 - 1,
        }
    }

    /// The columns and rows of pixels that have a needed sample.
    pub(super) fn covered(&self) -> (Range<u32>, Range<u32>) {
        let (luma, chroma) = (self.luma, self.chroma.unwrap_or(self.luma));
        let side = |first: u32, count: u32, c_first: u32, c_count: u32, shift: u32| {
            first.min(c_first << shift)..(first + count).max(((c_first + c_count - 1) << shift) + 1)
        };
        let (across, down) = match self.chroma {
            Some(_) => self.shifts,
            None => (0, 0),
        };
        (
            side(luma.left, luma.width, chroma.left, chroma.width, across),
            side(luma.top, luma.height, chroma.top, chroma.height, down),
        )
    }

    /// Samples that [`Rows`] hold at most while tiles of this height are put into them.
    pub(super) fn most(&self, height: u32) -> u64 {
        let rows = |region: Region, height: u32| {
            u64::from(region.width) * u64::from((height + 2).min(region.height))
        };
        let chroma = self
            .chroma
            .map(|region| rows(region, (height >> self.shifts.1) + 1));
        rows(self.luma, height) + 2 * chroma.unwrap_or_default()
    }
}

/// Rows of one plane: those from `first` on that are still needed.
#[derive(Debug, Default)]
struct Rows {
    samples: Vec<u16>,
    width: usize,
    first: u32,
}

impl Rows {
    fn new(region: Region, capacity: u32) -> Rows {
        let width = region.width as usize;
        Rows {
            samples: Vec::with_capacity(width * capacity.min(region.height) as usize),
            width,
            first: region.top,
        }
    }

    /// The row behind the last one.
    fn end(&self) -> u32 {
        self.first + (self.samples.len() / self.width) as u32
    }

    fn row(&self, y: u32) -> &[u16] {
        &self.samples[(y - self.first) as usize * self.width..][..self.width]
    }

    fn extend(&mut self, end: u32) {
        let rows = end.saturating_sub(self.first) as usize;
        if rows * self.width > self.samples.len() {
            self.samples.resize(rows * self.width, 0);
        }
    }

    fn drop_before(&mut self, y: u32) {
        let y = y.clamp(self.first, self.end());
        self.samples.drain(..(y - self.first) as usize * self.width);
        self.first = y;
    }
}

/// The planes of a picture's region: luma, and two of chroma.
#[derive(Debug)]
pub(super) struct Band {
    needed: Needed,
    conversion: Conversion,
    planes: [Rows; 3],
    /// The next row that becomes RGB.
    next: u32,
    rgb: Vec<u8>,
    chroma: [Vec<u16>; 2],
}

impl Band {
    /// An empty band for tiles of this height.
    pub(super) fn new(needed: Needed, conversion: Conversion, height: u32) -> Band {
        let of_chroma = |_| {
            needed
                .chroma
                .map(|region| Rows::new(region, (height >> needed.shifts.1) + 3))
                .unwrap_or_default()
        };
        Band {
            planes: [
                Rows::new(needed.luma, height + 2),
                of_chroma(1),
                of_chroma(2),
            ],
            next: needed.luma.top,
            rgb: Vec::with_capacity(needed.luma.width as usize * 3),
            chroma: [Vec::new(), Vec::new()],
            needed,
            conversion,
        }
    }

    /// Where the samples of these columns of a plane's row go, both counted in the picture; none where the row, or all of
    /// them, are not needed. `skipped` of them are in front of it.
    pub(super) fn place(
        &mut self,
        plane: usize,
        y: u32,
        columns: Range<u32>,
    ) -> Option<(usize, &mut [u16])> {
        let region = match plane {
            0 => self.needed.luma,
            _ => self.needed.chroma?,
        };
        if !(region.top..region.top + region.height).contains(&y) {
            return None;
        }
        let first = columns.start.max(region.left);
        let end = columns.end.min(region.left + region.width);
        if first >= end {
            return None;
        }
        let rows = &mut self.planes[plane];
        rows.extend(y + 1);
        let row = (y - rows.first) as usize * rows.width;
        let to = row + (first - region.left) as usize..row + (end - region.left) as usize;
        Some(((first - columns.start) as usize, &mut rows.samples[to]))
    }

    /// Hands over the rows whose samples are all there.
    pub(super) fn hand_over(&mut self, sink: &mut RowSink<'_>) {
        while self.next < self.planes[0].end() {
            let y = self.next;
            self.rgb.clear();
            let Some(region) = self.needed.chroma else {
                self.conversion
                    .grey_row(self.planes[0].row(y), &mut self.rgb);
                sink(&self.rgb);
                self.planes[0].drop_before(y + 1);
                self.next += 1;
                continue;
            };
            let down = self.needed.shifts.1;
            let near = y >> down;
            let last = region.top + region.height - 1;
            // Of two rows of pixels that share a row of chroma, one lies towards the row above, one towards that below.
            let far = match (self.needed.interpolates && down > 0, y & 1) {
                (false, _) => near,
                (true, 0) => near.saturating_sub(1).max(region.top),
                (true, _) => (near + 1).min(last),
            };
            if self.planes[1].end() <= near.max(far) {
                return;
            }
            for (to, plane) in self.chroma.iter_mut().zip(&self.planes[1..]) {
                let rows = [plane.row(near), plane.row(far)];
                self.needed.spread(rows, region, to);
            }
            let luma = self.planes[0].row(y);
            self.conversion
                .row(luma, &self.chroma[0], &self.chroma[1], &mut self.rgb);
            sink(&self.rgb);
            self.next += 1;
            self.planes[0].drop_before(self.next);
            let kept = (self.next >> down).saturating_sub(1);
            self.planes[1..]
                .iter_mut()
                .for_each(|p| p.drop_before(kept));
        }
    }
}

impl Needed {
    /// A sample of chroma for each pixel of a row, made of the nearer row of chroma and the farther one.
    fn spread(&self, [near, far]: [&[u16]; 2], region: Region, to: &mut Vec<u16>) {
        to.clear();
        let (across, down) = self.shifts;
        let columns = self.luma.left..self.luma.left + self.luma.width;
        let at = |x: u32| ((x >> across) - region.left) as usize;
        if !self.interpolates || (across, down) == (0, 0) {
            to.extend(columns.map(|x| near[at(x)]));
            return;
        }
        let last = near.len() - 1;
        to.extend(columns.map(|x| {
            let here = at(x);
            let beside = match (across > 0, x & 1) {
                (false, _) => here,
                (true, 0) if x == self.last => here,
                (true, 0) => here.saturating_sub(1),
                (true, _) => (here + 1).min(last),
            };
            let of = |row: &[u16]| 3 * u32::from(row[here]) + u32::from(row[beside]);
            ((3 * of(near) + of(far) + 8) >> 4) as u16
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ycbcr::Library;
    use super::super::Colors;
    use super::*;

    /// Colors whose RGB is Cr, Y and Cb, as the samples are.
    fn identity(library: Library) -> Conversion {
        let colors = Colors {
            matrix: 0,
            full_range: true,
        };
        Conversion::new(colors, 8, library)
    }

    /// The blue values of a picture of 4:2:0, whose Cb is given and everything else 0, for a region of it, when its rows
    /// come in tiles of this height.
    fn blues(cb: &[[u16; 3]], region: Region, library: Library, height: u32) -> Vec<Vec<u8>> {
        let size = (5, cb.len() as u32 * 2);
        let conversion = identity(library);
        let needed = Needed::new(region, size, Some((1, 1)), &conversion);
        let mut band = Band::new(needed, conversion, height);
        let mut rows = Vec::new();
        for top in (0..size.1).step_by(height as usize) {
            for y in top..top + height {
                band.place(0, y, 0..5);
            }
            for y in top / 2..(top + height) / 2 {
                for plane in [1, 2] {
                    if let Some((first, to)) = band.place(plane, y, 0..3) {
                        let from = if plane == 1 { cb[y as usize] } else { [0; 3] };
                        to.copy_from_slice(&from[first..first + to.len()]);
                    }
                }
            }
            band.hand_over(&mut |row| {
                rows.push(row.iter().skip(2).step_by(3).copied().collect());
            });
        }
        rows
    }

    const CB: [[u16; 3]; 4] = [[0, 80, 240], [160, 0, 0], [16, 16, 16], [255, 255, 255]];

    #[test]
    fn chroma_is_repeated_for_heic() {
        let rows = blues(&CB, Region::whole((5, 8)), Library::Libheif, 4);
        assert_eq!(rows.len(), 8);
        assert_eq!(rows[0], [0, 0, 80, 80, 240]);
        assert_eq!(rows[1], rows[0]);
        assert_eq!(rows[2], [160, 160, 0, 0, 0]);
    }

    #[test]
    fn chroma_is_a_mean_of_four_for_avif_however_its_rows_come() {
        let whole = blues(&CB, Region::whole((5, 8)), Library::Libavif, 8);
        assert_eq!(whole.len(), 8);
        assert_eq!(whole[0], [0, 20, 60, 120, 240], "the edge is repeated");
        // Three quarters of that, and of the row below 40, 30, 10, 0, 0.
        assert_eq!(whole[1], [40, 45, 55, 90, 180]);
        assert_eq!(whole[7], [255; 5]);
        assert_eq!(whole[6], [195; 5]);
        for height in [2, 4] {
            let same = blues(&CB, Region::whole((5, 8)), Library::Libavif, height);
            assert_eq!(same, whole, "{height}");
        }
    }

    #[test]
    fn region_needs_the_chroma_around_it() {
        let whole = blues(&CB, Region::whole((5, 8)), Library::Libavif, 8);
        for (left, top, width, height) in [(1, 1, 3, 4), (4, 7, 1, 1), (0, 0, 1, 1), (2, 3, 2, 3)] {
            let region = Region {
                left,
                top,
                width,
                height,
            };
            let rows = blues(&CB, region, Library::Libavif, 2);
            let columns = left as usize..(left + width) as usize;
            let part = whole.iter().skip(top as usize).take(height as usize);
            let due: Vec<_> = part.map(|row| row[columns.clone()].to_vec()).collect();
            assert_eq!(rows, due, "{region:?}");
        }
    }
}
