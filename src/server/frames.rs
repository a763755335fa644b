//! Where the frames of HTTP/2 begin and end, as far as a client's half of a head must be told from silence.
//!
//! Used by `preface`, whose stream sees what a client sends without TLS. Source: RFC 9113, sections 4.1, 6.2 and 6.10.

/// Length (24 bits), type, flags, and the stream's number (32 bits).
const HEADER: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// The flag of a frame with which a head is complete.
const END_HEADERS: u8 = 4;

/// How far the bytes of a connection have come behind its preface.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of the frame's header that have come.
    filled: usize,
    /// Bytes of the frame's payload that have not come.
    left: usize,
    /// A head has begun and goes on in the next frame.
    head_goes_on: bool,
}

impl Frames {
    /// Takes the next bytes; whether a head, or a frame that is none, has ended in them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while let Some(first) = bytes.first() {
            if self.filled < HEADER {
                self.header[self.filled] = *first;
                self.filled += 1;
                bytes = &bytes[1..];
                if self.filled == HEADER {
                    self.begin_payload();
                }
            } else {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
            }
            if self.filled == HEADER && self.left == 0 {
                self.filled = 0;
                ended |= !self.head_goes_on;
            }
        }
        ended
    }

    /// Whether a head or another frame has begun that has not ended.
    pub(super) fn is_within(&self) -> bool {
        self.filled > 0 || self.head_goes_on
    }

    fn begin_payload(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.head_goes_on = flags & END_HEADERS == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).expect("a short one")];
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(HEADER + payload, 0xFF);
        frame
    }

    #[test]
    fn end_of_each_frame_and_of_each_head_is_seen_however_the_bytes_come() {
        const SETTINGS: u8 = 4;
        let head = [
            frame(HEADERS, 0, 20),
            frame(CONTINUATION, 0, 0),
            frame(CONTINUATION, END_HEADERS, 7),
        ]
        .concat();
        let units = [
            frame(SETTINGS, 0, 0),
            head,
            frame(HEADERS, END_HEADERS | 1, 200),
            frame(0, 0, 255),
        ];
        for piece in [1, 2, 8, 9, 10, 1000] {
            let mut frames = Frames::default();
            for unit in &units {
                let pieces: Vec<&[u8]> = unit.chunks(piece).collect();
                for (i, bytes) in pieces.iter().enumerate() {
                    let last = i + 1 == pieces.len();
                    assert_eq!(frames.pass(bytes), last, "{piece}: {unit:?}");
                    assert_eq!(frames.is_within(), !last, "{piece}: {unit:?}");
                }
            }
        }
        let mut frames = Frames::default();
        let all = units.concat();
        assert!(frames.pass(&all[..all.len() - 1]) && frames.is_within());
        assert!(frames.pass(&all[all.len() - 1..]) && !frames.is_within());
    }
}
