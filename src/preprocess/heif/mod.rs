//! HEIF, the container of HEIC and AVIF: finds the coded picture or its tiles, and how they are put together.
//!
//! `tiled.rs` decodes what is found, by the codecs `heic` and `avif`. Our own, because what there is copies each part of a file
//! before anything can be bounded. Thumbnails, alpha, depth and gain maps are other items than the primary one and are
//! not looked at; sequences neither. Source: ISO/IEC 23008-12 and 14496-12.

mod band;
mod items;
mod properties;
mod reader;
mod tiled;

use std::borrow::Cow;

use self::items::{Id, Items, check_count};
use self::properties::Properties;
use self::reader::{Reader, find};
use super::boxes::{ContainerError, next_box};
use super::decode::Region;
use super::exif::Orientation;

pub(super) use self::properties::Colors;
pub(super) use self::tiled::{Codec, Tile, Tiled};

/// How often an item may stand for another one.
const MAX_IDENTITIES: usize = 8;

/// A file's primary picture.
#[derive(Debug)]
pub(super) struct Heif<'a> {
    items: Items<'a>,
    properties: Properties<'a>,
    /// The coded pictures, by rows: one, or the tiles of a grid.
    tiles: Vec<Id>,
    /// The columns of a grid and the size of the picture; none if the picture is no grid.
    grid: Option<Grid>,
    /// The primary item, what it stands for, and so on; the last one has the picture.
    chain: Vec<Id>,
}

/// Tiles that make up one picture; what lies beyond its size is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) columns: u32,
    pub(super) rows: u32,
    pub(super) size: (u32, u32),
}

impl<'a> Heif<'a> {
    /// Reads the tables of a file.
    pub(super) fn read(file: &'a [u8]) -> Result<Heif<'a>, ContainerError> {
        let mut rest = file;
        let mut meta = None;
        while meta.is_none() {
            match next_box(&mut rest)? {
                Some((kind, body)) if kind == *b"meta" => meta = Some(body),
                Some((kind, _)) if kind == *b"moov" => {
                    return Err(ContainerError::Unsupported(
                        "a sequence without a still picture",
                    ));
                }
                Some(_) => {}
                None => return Err(ContainerError::Corrupt("no table of items")),
            }
        }
        let mut reader = Reader(meta.unwrap_or_default());
        reader.version()?;
        let meta = reader.0;
        let items = Items::read(file, meta)?;
        let iprp = find(meta, b"iprp")?.ok_or(ContainerError::Corrupt("no properties"))?;
        let properties = Properties::read(iprp)?;
        let mut shown = items.primary;
        let mut chain = vec![shown];
        while items.kind(shown) == Some(*b"iden") {
            let of = items.references(shown, b"dimg")?;
            shown = *of
                .first()
                .ok_or(ContainerError::Corrupt("a copy of nothing"))?;
            if chain.len() == MAX_IDENTITIES {
                return Err(ContainerError::Corrupt("copies of copies without end"));
            }
            chain.push(shown);
        }
        let (tiles, grid) = match items.kind(shown) {
            Some(kind) if kind == *b"grid" => {
                let grid = grid(&items.bytes(shown)?)?;
                let tiles = items.references(shown, b"dimg")?;
                check_count(tiles.len() as u32)?;
                if tiles.len() as u64 != u64::from(grid.columns) * u64::from(grid.rows) {
                    return Err(ContainerError::Corrupt(
                        "another number of tiles than the grid has",
                    ));
                }
                (tiles, Some(grid))
            }
            Some(_) => (vec![shown], None),
            None => return Err(ContainerError::Corrupt("the primary item is missing")),
        };
        Ok(Heif {
            items,
            properties,
            tiles,
            grid,
            chain,
        })
    }

    /// The item that has the picture, coded or as a grid.
    fn picture(&self) -> Id {
        *self.chain.last().expect("the primary item is always there")
    }

    /// The grid, if the picture is one.
    pub(super) fn grid(&self) -> Option<Grid> {
        self.grid
    }

    /// The coded picture of this number, by rows of the grid.
    ///
    /// # Errors
    /// If it is none of this codec, or its bytes are not there.
    pub(super) fn tile(
        &self,
        index: usize,
        codec: &[u8; 4],
    ) -> Result<Cow<'a, [u8]>, ContainerError> {
        let id = self.tiles[index];
        if self.items.kind(id) != Some(*codec) {
            return Err(ContainerError::Unsupported("tiles of several codecs"));
        }
        self.items.bytes(id)
    }

    /// How many bytes the longest coded picture has.
    pub(super) fn longest(&self) -> Result<usize, ContainerError> {
        let mut lengths = self.tiles.iter().map(|id| self.items.length(*id));
        lengths.try_fold(0, |longest, length| Ok(longest.max(length?)))
    }

    /// A property of the coded picture of this number.
    pub(super) fn property(&self, index: usize, kind: &[u8; 4]) -> Option<&'a [u8]> {
        self.properties.find(self.tiles[index], kind)
    }

    /// The colors that the container names: those of the picture, else of its first tile.
    pub(super) fn colors(&self) -> Option<Colors> {
        let items = self.chain.iter().chain(self.tiles.first());
        items.into_iter().find_map(|id| self.properties.colors(*id))
    }

    /// The part of the picture, whose size is given, that is shown.
    pub(super) fn shown(&self, size: (u32, u32)) -> Result<Region, ContainerError> {
        self.properties.shown(self.picture(), size)
    }

    /// How the picture must be turned: as its item says, and then as the items say that stand for it.
    pub(super) fn turn(&self) -> Result<Orientation, ContainerError> {
        let mut turn = Orientation::NoTransforms;
        for id in self.chain.iter().rev() {
            turn = turn.then(self.properties.turn(*id)?);
        }
        Ok(turn)
    }
}

/// Reads the description of a grid. Source: ISO/IEC 23008-12, section 6.6.2.3.
fn grid(bytes: &[u8]) -> Result<Grid, ContainerError> {
    let mut reader = Reader(bytes);
    let [_version, flags, rows, columns] = reader.array()?;
    let wide = flags & 1 != 0;
    Ok(Grid {
        rows: u32::from(rows) + 1,
        columns: u32::from(columns) + 1,
        size: (reader.id(wide)?, reader.id(wide)?),
    })
}
