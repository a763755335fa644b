//! What a HEIF file says about its items: size, configuration of the codec, colors, and how a picture is cut and turned.
//!
//! Used by `mod.rs`. Source: ISO/IEC 23008-12, sections 6.5 and 9.3; ISO/IEC 23001-17 is not read.

use super::super::boxes::{ContainerError, next_box};
use super::super::decode::Region;
use super::super::exif::Orientation;
use super::items::{Id, check_count, entry, sorted};
use super::reader::{Reader, find};

/// Properties of a file that are looked at; their numbers have 15 bits at most.
const MAX_PROPERTIES: usize = 4096;

/// The properties of a file, and which item has which.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    all: Vec<([u8; 4], &'a [u8])>,
    /// Each item's numbers as they are stored, and whether one has 15 bits.
    of_items: Vec<(Id, (&'a [u8], bool))>,
}

/// How samples of YCbCr become RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Colors {
    /// The number of the matrix. Source: ITU-T H.273, table 4.
    pub(in super::super) matrix: u16,
    pub(in super::super) full_range: bool,
}

impl<'a> Properties<'a> {
    /// Reads the `iprp` box.
    pub(super) fn read(iprp: &'a [u8]) -> Result<Properties<'a>, ContainerError> {
        let mut rest = find(iprp, b"ipco")?.ok_or(ContainerError::Corrupt("no properties"))?;
        let mut all = Vec::new();
        while let Some(property) = next_box(&mut rest)? {
            if all.len() == MAX_PROPERTIES {
                return Err(ContainerError::Unsupported("more than 4096 properties"));
            }
            all.push(property);
        }
        let mut of_items = Vec::new();
        let mut rest = iprp;
        while let Some((kind, body)) = next_box(&mut rest)? {
            if kind == *b"ipma" {
                associations(body, &mut of_items)?;
            }
        }
        Ok(Properties {
            all,
            of_items: sorted(of_items)?,
        })
    }

    /// An item's properties in the order in which they apply.
    pub(super) fn of(&self, id: Id) -> impl Iterator<Item = ([u8; 4], &'a [u8])> {
        let (mut numbers, wide) = entry(&self.of_items, id).unwrap_or_default();
        std::iter::from_fn(move || {
            let mut reader = Reader(numbers);
            let number = if wide {
                reader.u16().ok()? & 0x7FFF
            } else {
                u16::from(reader.u8().ok()? & 0x7F)
            };
            numbers = reader.0;
            Some(number)
        })
        .filter_map(|number| {
            let at = usize::from(number).checked_sub(1)?;
            self.all.get(at).copied()
        })
    }

    /// The first property of this type that an item has.
    pub(super) fn find(&self, id: Id, wanted: &[u8; 4]) -> Option<&'a [u8]> {
        let mut of_type = self.of(id).filter(|(kind, _)| kind == wanted);
        of_type.next().map(|(_, body)| body)
    }

    /// The colors that an item's `colr` of the form `nclx` names.
    pub(super) fn colors(&self, id: Id) -> Option<Colors> {
        let is_nclx = |body: &&[u8]| body.starts_with(b"nclx");
        let of_type = self.of(id).filter(|(kind, _)| kind == b"colr");
        let mut reader = Reader(of_type.map(|(_, body)| body).find(is_nclx)?);
        reader.bytes(8).ok()?; // its form, primaries and transfer
        Some(Colors {
            matrix: reader.u16().ok()?,
            full_range: reader.u8().ok()? & 0x80 != 0,
        })
    }

    /// What of an item's picture of this size is shown: `clap`.
    pub(super) fn shown(&self, id: Id, size: (u32, u32)) -> Result<Region, ContainerError> {
        let mut shown = Region::whole(size);
        let mut is_turned = false;
        for (kind, body) in self.of(id) {
            match &kind {
                b"clap" if is_turned => {
                    return Err(ContainerError::Unsupported(
                        "a picture that is cut after it is turned",
                    ));
                }
                b"clap" => shown = aperture(&mut Reader(body), shown)?,
                b"irot" | b"imir" => is_turned = true,
                _ => {}
            }
        }
        Ok(shown)
    }

    /// How an item's picture must be turned: `irot` and `imir`, in their order.
    pub(super) fn turn(&self, id: Id) -> Result<Orientation, ContainerError> {
        let mut turn = Orientation::NoTransforms;
        for (kind, body) in self.of(id) {
            let value = || Reader(body).u8();
            turn = match &kind {
                // Counted in quarters, against the clock.
                b"irot" => turn.then(match value()? & 3 {
                    0 => Orientation::NoTransforms,
                    1 => Orientation::Rotate270,
                    2 => Orientation::Rotate180,
                    _ => Orientation::Rotate90,
                }),
                b"imir" => turn.then(match value()? & 1 {
                    0 => Orientation::FlipVertical,
                    _ => Orientation::FlipHorizontal,
                }),
                _ => turn,
            };
        }
        Ok(turn)
    }
}

/// Adds what `ipma` says to the table of items.
fn associations<'a>(
    ipma: &'a [u8],
    of_items: &mut Vec<(Id, (&'a [u8], bool))>,
) -> Result<(), ContainerError> {
    let mut reader = Reader(ipma);
    let (version, flags) = reader.version()?;
    let wide = flags & 1 != 0;
    let count = reader.u32()?;
    check_count(count.saturating_add(of_items.len() as u32))?;
    for _ in 0..count {
        let id = reader.id(version != 0)?;
        let numbers = usize::from(reader.u8()?);
        let bytes = if wide { 2 * numbers } else { numbers };
        of_items.push((id, (reader.bytes(bytes)?, wide)));
    }
    Ok(())
}

/// The part of a picture that a clean aperture shows: its size, and how far its center lies from the picture's, all as
/// fractions. Begun pixels are left out, as libheif does.
fn aperture(reader: &mut Reader, of: Region) -> Result<Region, ContainerError> {
    let mut side = |length: u32| {
        let [size, parts] = [reader.u32()?, reader.u32()?];
        Ok((length, size.checked_div(parts).unwrap_or(0)))
    };
    let sides = [side(of.width)?, side(of.height)?];
    let mut first = |(length, size): (u32, u32)| {
        let offset = i64::from(reader.u32()? as i32);
        let parts = i64::from(reader.u32()?);
        if size == 0 || size > length || parts == 0 {
            return Err(ContainerError::Corrupt(
                "a clean aperture larger than its picture",
            ));
        }
        let room = i64::from(length - size);
        let first = (room * parts + 2 * offset).div_euclid(2 * parts);
        if !(0..=room).contains(&first) {
            return Err(ContainerError::Corrupt(
                "a clean aperture outside of its picture",
            ));
        }
        Ok(first as u32)
    };
    Ok(Region {
        left: of.left + first(sides[0])?,
        top: of.top + first(sides[1])?,
        width: sides[0].1,
        height: sides[1].1,
    })
}
