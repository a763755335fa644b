//! The items of a HEIF file: which there are, of which type, where their bytes lie, and what refers to what.
//!
//! Used by `mod.rs`. Tables of the file are walked as they stand; of each only where an item's entry begins is kept, so
//! that a table costs no more than its own size.
//! Source: ISO/IEC 14496-12, sections 8.11.3 (iloc), 8.11.6 (iinf), 8.11.12 (iref).

use std::borrow::Cow;

use super::super::boxes::{ContainerError, next_box};
use super::reader::{Reader, find};

/// Items of a file that are looked at, and tiles of a picture: a photo of 200 megapixels in tiles of 256×256 has 3072.
const MAX_ITEMS: usize = 8192;

/// Parts that an item's bytes may lie in.
const MAX_PARTS: u16 = 64;

/// The number of an item.
pub(super) type Id = u32;

/// The tables of a file's `meta` box.
#[derive(Debug)]
pub(super) struct Items<'a> {
    file: &'a [u8],
    /// The bytes that items may have inside of the `meta` box.
    data: &'a [u8],
    /// Type of each item, in the order of the items.
    types: Vec<(Id, [u8; 4])>,
    locations: Locations<'a>,
    /// The body of `iref` behind its version, and whether its numbers have 32 bits.
    references: (&'a [u8], bool),
    pub(super) primary: Id,
}

/// Where the bytes of items are: `iloc`.
#[derive(Debug)]
struct Locations<'a> {
    version: u8,
    /// Bytes of an offset, a length, a base offset and an index.
    sizes: [u8; 4],
    /// For each item, in their order, the bytes behind the head of its entry.
    entries: Vec<(Id, &'a [u8])>,
}

impl<'a> Items<'a> {
    /// Reads the tables in the children of `meta`.
    pub(super) fn read(file: &'a [u8], meta: &'a [u8]) -> Result<Items<'a>, ContainerError> {
        let missing = |what| move || ContainerError::Corrupt(what);
        let mut pitm = Reader(find(meta, b"pitm")?.ok_or_else(missing("no primary item"))?);
        let (version, _) = pitm.version()?;
        let primary = pitm.id(version != 0)?;
        let iinf = find(meta, b"iinf")?.ok_or_else(missing("no items"))?;
        let iloc = find(meta, b"iloc")?.ok_or_else(missing("no places of items"))?;
        let references = match find(meta, b"iref")? {
            None => (&[][..], false),
            Some(body) => {
                let mut reader = Reader(body);
                let (version, _) = reader.version()?;
                (reader.0, version != 0)
            }
        };
        Ok(Items {
            file,
            data: find(meta, b"idat")?.unwrap_or_default(),
            types: types(iinf)?,
            locations: Locations::read(iloc)?,
            references,
            primary,
        })
    }

    /// The type of an item.
    pub(super) fn kind(&self, id: Id) -> Option<[u8; 4]> {
        entry(&self.types, id)
    }

    /// The items that `from` refers to in this way, in their order.
    pub(super) fn references(&self, from: Id, wanted: &[u8; 4]) -> Result<Vec<Id>, ContainerError> {
        let (mut rest, wide) = self.references;
        while let Some((kind, body)) = next_box(&mut rest)? {
            let mut reader = Reader(body);
            if kind != *wanted || reader.id(wide)? != from {
                continue;
            }
            let count = reader.u16()?;
            return (0..count).map(|_| reader.id(wide)).collect();
        }
        Ok(Vec::new())
    }

    /// How many bytes an item has.
    pub(super) fn length(&self, id: Id) -> Result<usize, ContainerError> {
        self.parts(id)?
            .try_fold(0, |sum, part| Ok(sum + part?.len()))
    }

    /// The bytes of an item; a copy only where they lie in several parts.
    pub(super) fn bytes(&self, id: Id) -> Result<Cow<'a, [u8]>, ContainerError> {
        // Parts that lie over each other could make more of a file than it has.
        if self.length(id)? > self.file.len() {
            return Err(ContainerError::Corrupt("an item larger than the file"));
        }
        let mut parts = self.parts(id)?;
        let first = parts.next();
        let first = first.ok_or(ContainerError::Corrupt("an item without bytes"))??;
        let mut whole = Cow::Borrowed(first);
        for part in parts {
            whole.to_mut().extend_from_slice(part?);
        }
        Ok(whole)
    }

    /// The parts that an item's bytes lie in.
    fn parts(
        &self,
        id: Id,
    ) -> Result<impl Iterator<Item = Result<&'a [u8], ContainerError>>, ContainerError> {
        let (method, parts) = self.locations.parts(id)?;
        let from = match method {
            0 => self.file,
            1 => self.data,
            _ => {
                return Err(ContainerError::Unsupported(
                    "an item inside of another item",
                ));
            }
        };
        Ok(parts.into_iter().map(move |part| cut(from, part)))
    }
}

fn cut(from: &[u8], (offset, length): (u64, u64)) -> Result<&[u8], ContainerError> {
    let index = |n: u64| usize::try_from(n).map_err(|_| ContainerError::Truncated);
    let rest = from
        .get(index(offset)?..)
        .ok_or(ContainerError::Truncated)?;
    match length {
        0 => Ok(rest), // all that there is
        length => rest.get(..index(length)?).ok_or(ContainerError::Truncated),
    }
}

/// What a table that is in the order of the items has for an item.
pub(super) fn entry<T: Copy>(table: &[(Id, T)], id: Id) -> Option<T> {
    let at = table.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    Some(table[at].1)
}

/// Brings a table into the order of the items; of two entries of an item the first counts.
pub(super) fn sorted<T>(mut table: Vec<(Id, T)>) -> Result<Vec<(Id, T)>, ContainerError> {
    if table.len() > MAX_ITEMS {
        return Err(ContainerError::Unsupported("more than 8192 items"));
    }
    table.sort_by_key(|(id, _)| *id);
    table.dedup_by_key(|(id, _)| *id);
    Ok(table)
}

/// Refuses a table of more items than are looked at.
pub(super) fn check_count(count: u32) -> Result<(), ContainerError> {
    if count as usize > MAX_ITEMS {
        return Err(ContainerError::Unsupported("more than 8192 items"));
    }
    Ok(())
}

fn types(iinf: &[u8]) -> Result<Vec<(Id, [u8; 4])>, ContainerError> {
    let mut reader = Reader(iinf);
    let (version, _) = reader.version()?;
    let count = reader.id(version != 0)?;
    check_count(count)?;
    let mut rest = reader.0;
    let mut types = Vec::new();
    for _ in 0..count {
        let Some((kind, body)) = next_box(&mut rest)? else {
            break;
        };
        let mut entry = Reader(body);
        let (version, _) = entry.version()?;
        // Older versions have no type, so that they are no image.
        if kind != *b"infe" || version < 2 {
            continue;
        }
        let id = entry.id(version != 2)?;
        entry.u16()?; // its protection
        types.push((id, entry.array()?));
    }
    sorted(types)
}

impl<'a> Locations<'a> {
    fn read(iloc: &'a [u8]) -> Result<Locations<'a>, ContainerError> {
        let mut reader = Reader(iloc);
        let (version, _) = reader.version()?;
        if version > 2 {
            return Err(ContainerError::Unsupported("places of items in a new form"));
        }
        let [lengths, bases] = reader.array()?;
        let index = if version == 0 { 0 } else { bases & 15 };
        let sizes = [lengths >> 4, lengths & 15, bases >> 4, index];
        let count = reader.id(version == 2)?;
        check_count(count)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let id = reader.id(version == 2)?;
            let entry = reader.0;
            if version != 0 {
                reader.u16()?;
            }
            reader.u16()?;
            reader.sized(sizes[2])?;
            let parts = usize::from(reader.u16()?);
            let part: u8 = sizes[0] + sizes[1] + sizes[3];
            reader.bytes(parts * usize::from(part))?;
            entries.push((id, entry));
        }
        Ok(Locations {
            version,
            sizes,
            entries: sorted(entries)?,
        })
    }

    /// How an item's bytes are found, and their parts: offset and length each.
    fn parts(&self, id: Id) -> Result<(u16, Vec<(u64, u64)>), ContainerError> {
        let entry =
            entry(&self.entries, id).ok_or(ContainerError::Corrupt("an item without a place"))?;
        let mut reader = Reader(entry);
        let method = if self.version == 0 {
            0
        } else {
            reader.u16()? & 15
        };
        if reader.u16()? != 0 {
            return Err(ContainerError::Unsupported("an item in another file"));
        }
        let [offset, length, base, index] = self.sizes;
        let base = reader.sized(base)?;
        let count = reader.u16()?;
        if count > MAX_PARTS {
            return Err(ContainerError::Unsupported("an item in more than 64 parts"));
        }
        let part = |_| {
            reader.sized(index)?;
            let (offset, length) = (reader.sized(offset)?, reader.sized(length)?);
            let offset = base.checked_add(offset).ok_or(ContainerError::Truncated)?;
            Ok((offset, length))
        };
        let parts = (0..count).map(part).collect::<Result<_, _>>()?;
        Ok((method, parts))
    }
}
