//! The units of a coded HEVC picture: its parameter sets, and the heads of its slices.
//!
//! Used by `heic`. The decoder copies every unit and lists what the heads of slices announce before it looks at any of it;
//! a file could ask for fifty times its own size of that. So units and entry points are counted here first. Source:
//! ISO/IEC 14496-15, section 8.3.3.1, and ITU-T H.265, sections 7.3.1 and 7.3.6.

use heic_decoder::HeifError;
use heic_decoder::bitreader::strip_emulation_prevention;
use heic_decoder::hevc::nal::{NAL_PPS, NAL_SPS, is_irap_nal, is_slice_nal, parse_nal_header};
use heic_decoder::hevc::params::{Pps, Sps, parse_pps, parse_sps};
use heic_decoder::hevc::slice::parse_slice_header;
use heic_decoder::isobmff::{HevcDecoderConfig, HevcNalArray};

use super::boxes::ContainerError;

/// Parameter sets of a picture that are looked at, of each kind; the first that fits counts.
const MAX_PARAMETER_SETS: usize = 4;

/// Units of a coded picture: a slice for each row of blocks, of which there are 2048 at most, and as many others.
const MAX_UNITS: usize = 4096;

/// Bytes within which the head of a slice must end; with a row of blocks an entry point, of 32 bits, it has 8 KiB.
const MAX_SLICE_HEAD: usize = 9 << 10;

/// Reads the parameter sets of an `hvcC` box. Source: ISO/IEC 14496-15, section 8.3.3.1.
pub(super) fn configuration(hvcc: &[u8]) -> Result<HevcDecoderConfig, ContainerError> {
    let cut = || ContainerError::Truncated;
    let lengths = hvcc.get(21).ok_or_else(cut)? & 3;
    let (count, mut rest) = hvcc
        .get(22..)
        .and_then(<[u8]>::split_first)
        .ok_or_else(cut)?;
    let mut sets = [(NAL_SPS, Vec::new()), (NAL_PPS, Vec::new())];
    for _ in 0..*count {
        let ([kind, high, low], after) = rest.split_first_chunk().ok_or_else(cut)?;
        rest = after;
        let kind = kind & 0x3F;
        for _ in 0..u16::from_be_bytes([*high, *low]) {
            let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (unit, after) = after.split_at_checked(length).ok_or_else(cut)?;
            rest = after;
            // The crate passes over units whose own header is of another kind or layer, so that the first one here
            // would not be the one that it decodes by.
            let is_base = matches!(*unit, [head, layer, ..] if head >> 1 == kind && head & 1 == 0 && layer >> 3 == 0);
            let of_kind = sets.iter_mut().find(|(wanted, _)| *wanted == kind);
            if let Some((_, units)) =
                of_kind.filter(|(_, units)| is_base && units.len() < MAX_PARAMETER_SETS)
            {
                units.push(unit.to_vec());
            }
        }
    }
    let arrays = sets.map(|(nal_unit_type, nalus)| HevcNalArray {
        nal_unit_type,
        nalus,
    });
    Ok(HevcDecoderConfig {
        length_size_minus_one: lengths,
        arrays: arrays.into(),
        ..HevcDecoderConfig::default()
    })
}

/// The sequence parameters that the decoder takes.
pub(super) fn sequence_parameters(config: &HevcDecoderConfig) -> Result<Sps, ContainerError> {
    let unit = parameter_set(config, NAL_SPS);
    let unit = unit.ok_or(ContainerError::Corrupt("no sequence parameters"))?;
    parse_sps(&unit).map_err(|e| hevc_error(&e))
}

/// The picture parameters that the decoder takes.
fn picture_parameters(config: &HevcDecoderConfig) -> Result<Pps, ContainerError> {
    let unit = parameter_set(config, NAL_PPS);
    let unit = unit.ok_or(ContainerError::Corrupt("no picture parameters"))?;
    parse_pps(&unit).map_err(|e| hevc_error(&e))
}

/// The first parameter set of this kind, without its header.
fn parameter_set(config: &HevcDecoderConfig, kind: u8) -> Option<Vec<u8>> {
    let unit = config.nalus_of_type(kind).next()?;
    unit.get(2..).map(strip_emulation_prevention)
}

/// Refuses a coded picture of more units, slices or entry points than one can have.
///
/// # Errors
/// [`ContainerError`]; also for what the decoder would refuse in the heads of the slices.
pub(super) fn check_slices(
    data: &[u8],
    config: &HevcDecoderConfig,
    sps: &Sps,
) -> Result<(), ContainerError> {
    let pps = picture_parameters(config)?;
    let rows = sps
        .pic_height_in_luma_samples
        .div_ceil(1 << sps.ctb_log2_size_y()) as usize;
    let mut rest = data;
    let (mut units, mut streams) = (0, 0);
    while !rest.is_empty() {
        units += 1;
        if units > MAX_UNITS {
            return Err(ContainerError::Unsupported(
                "a coded picture of more than 4096 units",
            ));
        }
        let unit = next_unit(&mut rest, usize::from(config.length_size_minus_one) + 1)?;
        let (header, payload) = parse_nal_header(unit).map_err(|e| hevc_error(&e))?;
        let kind = header.nal_unit_type;
        if !is_slice_nal(kind) || header.nuh_layer_id != 0 {
            continue;
        }
        if !is_irap_nal(kind) {
            return Err(ContainerError::Unsupported(
                "a picture that refers to others",
            ));
        }
        let start = &payload[..payload.len().min(MAX_SLICE_HEAD)];
        let head = parse_slice_header(&strip_emulation_prevention(start), kind, sps, &pps);
        let (head, _) = head.map_err(|error| match error {
            HeifError::Truncated { .. } if start.len() < payload.len() => {
                ContainerError::Corrupt("the head of a slice is longer than 9 KiB")
            }
            error => hevc_error(&error),
        })?;
        // Each begins with a row of blocks.
        streams += 1 + head.entry_point_offsets.len();
        if streams > rows {
            return Err(ContainerError::Corrupt(
                "more slices or entry points than rows of blocks",
            ));
        }
    }
    Ok(())
}

/// Takes the first unit of `data`, behind its length of so many bytes.
fn next_unit<'a>(data: &mut &'a [u8], length_size: usize) -> Result<&'a [u8], ContainerError> {
    let cut = || ContainerError::Truncated;
    let (length, rest) = data.split_at_checked(length_size).ok_or_else(cut)?;
    let length = length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let (unit, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    *data = rest;
    Ok(unit)
}

/// The decoder's error in our words.
pub(super) fn hevc_error(error: &HeifError) -> ContainerError {
    use HeifError as E;
    match error {
        E::Truncated { .. } => ContainerError::Truncated,
        E::Unsupported(_) => ContainerError::Unsupported("a tool of HEVC that photos rarely have"),
        E::LimitExceeded(what)
        | E::NotHeif(what)
        | E::MalformedBox(what)
        | E::MalformedHevc(what)
        | E::CabacDesync(what) => ContainerError::Corrupt(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `hvcC` box of one picture parameter set, in whose file lengths have four bytes.
    fn hvcc_of(pps: &[u8]) -> Vec<u8> {
        let mut out = hvcc(&[(NAL_PPS, &[pps])]);
        out[21] = 3;
        out
    }

    /// An `hvcC` box of arrays of units, each with the kind that the array has.
    fn hvcc(arrays: &[(u8, &[&[u8]])]) -> Vec<u8> {
        let mut out = vec![0; 22];
        out.push(arrays.len() as u8);
        for (kind, units) in arrays {
            out.push(*kind);
            out.extend((units.len() as u16).to_be_bytes());
            for unit in *units {
                out.extend((unit.len() as u16).to_be_bytes());
                out.extend(*unit);
            }
        }
        out
    }

    fn bits(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits
            .bytes()
            .filter(u8::is_ascii_digit)
            .map(|bit| bit - b'0')
            .collect();
        let byte = |bits: &[u8]| {
            bits.iter()
                .enumerate()
                .fold(0, |byte, (i, bit)| byte | bit << (7 - i))
        };
        bits.chunks(8).map(byte).collect()
    }

    /// A picture of 64×64 in blocks of 16×16, whose rows may be apart: 4 of them.
    fn picture() -> (HevcDecoderConfig, Sps) {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/heic/plain.heic"
        );
        let file = std::fs::read(path).expect("a fixture");
        let heif = super::super::heif::Heif::read(&file).expect("a HEIC");
        let hvcc = heif.property(0, b"hvcC").expect("parameter sets");
        let mut sps =
            sequence_parameters(&configuration(hvcc).expect("they are read")).expect("sizes");
        sps.log2_diff_max_min_luma_coding_block_size = 4 - sps.log2_min_luma_coding_block_size;
        sps.sample_adaptive_offset_enabled = false;
        let pps = bits("1 1 0 0 000 0 0 1 1 1 0 0 0 1 1 0 0 0 0 0 1 0 0 0 0 1 0 1");
        let pps = [&[NAL_PPS << 1, 1][..], &pps].concat();
        let config = configuration(&hvcc_of(&pps)).expect("parameter sets");
        (config, sps)
    }

    /// A slice with so many entry points of one bit.
    fn slice(entry_points: u32) -> Vec<u8> {
        const IDR: u8 = 19;
        let digits = u32::BITS - (entry_points + 1).leading_zeros();
        let zeros = "0".repeat(digits as usize - 1);
        let length = if entry_points > 0 { "1" } else { "" };
        let points = "0".repeat(entry_points as usize);
        let head = bits(&format!(
            "1 0 1 011 1 {zeros} {:b} {length} {points} 1",
            entry_points + 1
        ));
        let unit = [&[IDR << 1, 1][..], &head].concat();
        [&(unit.len() as u32).to_be_bytes()[..], &unit].concat()
    }

    fn checked(data: &[u8]) -> Result<(), ContainerError> {
        let (config, sps) = picture();
        check_slices(data, &config, &sps)
    }

    #[test]
    fn units_slices_and_entry_points_are_counted_before_they_are_listed() {
        let too_many = ContainerError::Corrupt("more slices or entry points than rows of blocks");
        assert_eq!(checked(&slice(3)), Ok(()));
        assert_eq!(checked(&slice(4)), Err(too_many));
        assert_eq!(checked(&slice(60_000)), Err(too_many));
        assert_eq!(checked(&slice(0).repeat(4)), Ok(()));
        assert_eq!(checked(&slice(0).repeat(5)), Err(too_many));
        assert_eq!(checked(&[slice(2), slice(1)].concat()), Err(too_many));
        assert_eq!(
            checked(&slice(200_000)),
            Err(ContainerError::Corrupt(
                "the head of a slice is longer than 9 KiB"
            ))
        );
        let message = [0, 0, 0, 3, 39 << 1, 1, 0];
        assert_eq!(checked(&message.repeat(4096)), Ok(()));
        assert_eq!(
            checked(&message.repeat(4097)),
            Err(ContainerError::Unsupported(
                "a coded picture of more than 4096 units"
            ))
        );
        let cut = slice(3);
        assert_eq!(
            checked(&cut[..cut.len() - 1]),
            Err(ContainerError::Truncated)
        );
        assert_eq!(checked(&cut[..3]), Err(ContainerError::Truncated));
    }

    #[test]
    fn only_units_that_the_decoder_takes_are_parameter_sets() {
        let (sps, pps) = (NAL_SPS << 1, NAL_PPS << 1);
        let other_kind = [pps, 1, 7];
        let other_layers = [[sps | 1, 1, 7], [sps, 9, 7]];
        let forbidden = [sps | 0x80, 1, 7];
        let good = [
            [sps, 1, 0],
            [sps, 1, 1],
            [sps, 1, 2],
            [sps, 1, 3],
            [sps, 1, 4],
        ];
        let bytes = hvcc(&[
            (
                NAL_SPS,
                &[&other_kind, &other_layers[0], &other_layers[1], &forbidden],
            ),
            (NAL_SPS, &[&[sps], &good[0], &good[1], &good[2]]),
            (NAL_PPS, &[&other_kind]),
            (NAL_SPS, &[&good[3], &good[4]]),
        ]);
        let config = configuration(&bytes).expect("parameter sets");
        let units = |kind| -> Vec<&[u8]> {
            let units = config.nalus_of_type(kind);
            units.map(|unit| &unit[..]).collect()
        };
        let first = good.iter().take(MAX_PARAMETER_SETS);
        let first: Vec<&[u8]> = first.map(|unit| &unit[..]).collect();
        assert_eq!(units(NAL_SPS), first);
        assert_eq!(units(NAL_PPS), [&other_kind[..]]);
    }
}
