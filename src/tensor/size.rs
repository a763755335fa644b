//! The size of an image in pixels, and how files and answers write it: one number for a square, else `[height, width]`.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Rows and columns of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Size {
    /// As many rows as columns.
    #[must_use]
    pub const fn square(side: u32) -> Size {
        Size {
            height: side,
            width: side,
        }
    }

    /// Whether there are as many rows as columns.
    #[must_use]
    pub fn is_square(self) -> bool {
        self.height == self.width
    }

    /// The length of the longer side.
    #[must_use]
    pub fn longest(self) -> u32 {
        self.height.max(self.width)
    }

    /// Number of pixels.
    #[must_use]
    pub fn pixels(self) -> usize {
        self.height as usize * self.width as usize
    }

    /// Number of values of an image of three channels.
    #[must_use]
    pub fn values(self) -> usize {
        3 * self.pixels()
    }

    /// The shape of the image's tensor: `[3, height, width]`.
    #[must_use]
    pub fn shape(self) -> [usize; 3] {
        [3, self.height as usize, self.width as usize]
    }

    /// The size whose sides a function makes of this one's.
    #[must_use]
    pub fn map(self, side: impl Fn(u32) -> u32) -> Size {
        Size {
            height: side(self.height),
            width: side(self.width),
        }
    }
}

/// A size as `model.toml` has it: `224`, or `[192, 320]`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { height, width } = self;
        match self.is_square() {
            true => height.fmt(f),
            false => write!(f, "[{height}, {width}]"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Size { height, width } = *self;
        match self.is_square() {
            true => height.serialize(serializer),
            false => [height, width].serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        Sides::deserialize(deserializer).map(Size::from)
    }
}

/// A size as a file gives it; some tools resize by one number otherwise than by two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// One number, for a square or the shorter side.
    One(u32),
    /// `[height, width]`.
    Two(Size),
}

impl From<Sides> for Size {
    fn from(sides: Sides) -> Size {
        match sides {
            Sides::One(side) => Size::square(side),
            Sides::Two(size) => size,
        }
    }
}

impl<'de> Deserialize<'de> for Sides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sides, D::Error> {
        deserializer.deserialize_any(SidesVisitor)
    }
}

struct SidesVisitor;

impl<'de> Visitor<'de> for SidesVisitor {
    type Value = Sides;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of pixels, or [height, width]")
    }

    fn visit_u64<E: de::Error>(self, side: u64) -> Result<Sides, E> {
        let unexpected = |_| E::invalid_value(de::Unexpected::Unsigned(side), &self);
        u32::try_from(side).map(Sides::One).map_err(unexpected)
    }

    fn visit_i64<E: de::Error>(self, side: i64) -> Result<Sides, E> {
        let unexpected = |_| E::invalid_value(de::Unexpected::Signed(side), &self);
        u32::try_from(side).map(Sides::One).map_err(unexpected)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<Sides, A::Error> {
        let mut read = Vec::new();
        while let Some(side) = sides.next_element::<u32>()? {
            read.push(side);
        }
        match read[..] {
            [height, width] => Ok(Sides::Two(Size { height, width })),
            _ => Err(de::Error::invalid_length(read.len(), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Table {
        size: Sides,
    }

    #[test]
    fn size_is_a_number_or_two_in_files_and_answers() {
        let wide = Size {
            height: 192,
            width: 320,
        };
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.size);
        assert_eq!(read("size = 224"), Ok(Sides::One(224)));
        assert_eq!(read("size = [192, 320]"), Ok(Sides::Two(wide)));
        // Two equal numbers stay two.
        assert_eq!(read("size = [8, 8]"), Ok(Sides::Two(Size::square(8))));
        for (size, json) in [(wide, "[192,320]"), (Size::square(224), "224")] {
            assert_eq!(serde_json::to_string(&size).expect("a size"), json);
            assert_eq!(serde_json::from_str::<Size>(json).expect("a size"), size);
        }
        assert_eq!(
            (wide.to_string(), Size::square(8).to_string()),
            ("[192, 320]".into(), "8".into())
        );
        for text in [
            "size = \"224\"",
            "size = -1",
            "size = []",
            "size = [1, 2, 3]",
            "size = 2.5",
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(
                error.contains("a number of pixels, or [height, width]"),
                "{error}"
            );
        }
        assert!(read("size = 5000000000").is_err() && read("size = [-1, 2]").is_err());
    }
}
