//! A lossless WebP that asks for more tables than there is memory, through the real server.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Process, agent};

/// A WebP of one pixel with `groups` groups of prefix codes, each with a code of 2^11 symbols of 11 bits. Its decoder
/// builds tables of 68 KiB for a group.
fn many_groups(groups: u32) -> Vec<u8> {
    let mut group = vec![(0, 1), (11, 4)];
    for symbol in [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11] {
        group.push((u32::from(symbol == 16 || symbol == 11), 3));
    }
    group.extend([(1, 1), (4, 3), (341, 10), (0, 1)]);
    group.extend([(1, 1), (3, 2)].repeat(341));
    group.push((0, 1));
    group.extend([(1, 4)].repeat(4));

    let mut stream = vec![(0x2F, 8), (0, 14 + 14 + 4), (0, 1), (1, 1), (11, 4)];
    stream.extend([(1, 1), (0, 3), (0, 1)]);
    for symbol in [(groups - 1) & 255, (groups - 1) >> 8, 0, 0, 0] {
        stream.extend([(0b101, 3), (symbol, 8)]);
    }
    for _ in 0..groups {
        stream.extend(&group);
    }
    stream.push((0, 32));

    let mut data = Vec::new();
    let mut used = 0;
    for (value, width) in stream {
        for bit in 0..width {
            if used % 8 == 0 {
                data.push(0_u8);
            }
            *data.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (used % 8);
            used += 1;
        }
    }
    data.resize(data.len().next_multiple_of(2), 0);
    let (length, chunk) = (data.len() as u32, data.len() as u32 + 12);
    let head = [
        &b"RIFF"[..],
        &chunk.to_le_bytes(),
        b"WEBP",
        b"VP8L",
        &length.to_le_bytes(),
    ]
    .concat();
    [head, data].concat()
}

#[test]
fn one_pixel_that_needs_gigabytes_is_refused_without_taking_them() {
    let server = Process::start(&[]);
    let url = format!("http://{}/classify", server.address);
    let post = |bytes: &[u8]| Answer::of(agent().post(&url).send(bytes));
    assert_eq!(post(&many_groups(40)).status, 200, "a valid stream");

    let start = Instant::now();
    let answer = post(&many_groups(60_000));
    let took = start.elapsed();
    assert_eq!(answer.status, 422);
    assert_eq!(answer.code(), "image_too_many_pixels");
    // A fraction of a second; the tables alone would take many.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let peak = server.peak_memory_kb();
    assert!(peak < 400 << 10, "peak of {peak} kB");
}
