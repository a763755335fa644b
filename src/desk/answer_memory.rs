//! The memory of an answer that is larger than a ranking: a share of that for bodies, taken before the answer is
//! computed and held until the client has read it.
//!
//! Asked for by the protocols once a request's images are known.

use bytes::Bytes;

use super::body_memory::{BodyMemory, BodyReservation};
use super::{Desk, DeskError};
use crate::fair_queue::ClientId;

/// The memory that an answer may take; given back when dropped.
#[derive(Debug, Default)]
pub struct AnswerMemory(Option<BodyReservation>);

impl Desk {
    /// Takes memory for the answer to this many images, of which each takes so many bytes. It waits for none: its
    /// request holds a body, and two that hold a part each would wait for one another.
    ///
    /// # Errors
    /// [`DeskError::AnswerTooLarge`], [`DeskError::AnswerMemoryFull`].
    pub fn reserve_answer(
        &self,
        client: ClientId,
        images: usize,
        bytes_of_image: usize,
    ) -> Result<AnswerMemory, DeskError> {
        AnswerMemory::take(&self.body_memory, client, images, bytes_of_image)
    }

    /// Most bytes that an answer may take.
    #[must_use]
    pub fn most_for_answer(&self) -> usize {
        self.body_memory.most_of_one_client()
    }
}

impl AnswerMemory {
    fn take(
        memory: &BodyMemory,
        client: ClientId,
        images: usize,
        bytes_of_image: usize,
    ) -> Result<AnswerMemory, DeskError> {
        if bytes_of_image == 0 {
            return Ok(AnswerMemory::default());
        }
        let max = memory.most_of_one_client();
        let bytes = images.saturating_mul(bytes_of_image);
        if bytes > max {
            return Err(DeskError::AnswerTooLarge {
                images,
                bytes,
                max,
                most: max / bytes_of_image,
            });
        }
        let mut share = memory.share(client);
        match share.take(bytes) {
            true => Ok(AnswerMemory(Some(share))),
            false => Err(DeskError::AnswerMemoryFull(bytes)),
        }
    }

    /// The written answer with its share of the memory, shrunk to its size and held until its last user drops it.
    #[must_use]
    pub fn keep(self, written: Bytes) -> Bytes {
        let Some(mut share) = self.0 else {
            return written;
        };
        share.shrink(written.len());
        Bytes::from_owner(Kept {
            written,
            _share: share,
        })
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

struct Kept {
    written: Bytes,
    _share: BodyReservation,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId(1);
    const OTHER: ClientId = ClientId(2);

    #[test]
    fn answer_holds_its_memory_until_it_is_read() {
        let memory = BodyMemory::new(400 << 10);
        let answer = AnswerMemory::take(&memory, CLIENT, 4, 50 << 10).expect("half of it");
        assert_eq!(memory.in_use(), 200 << 10);
        let written = answer.keep(Bytes::from(vec![7; 100 << 10]));
        assert_eq!(memory.in_use(), 100 << 10);
        let part = written.slice(1..2);
        drop(written);
        assert_eq!(memory.in_use(), 100 << 10, "a part of it is still here");
        drop(part);
        assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn answer_that_never_fits_is_told_how_many_images_do() {
        let memory = BodyMemory::new(400 << 10);
        let error = AnswerMemory::take(&memory, CLIENT, 7, 50 << 10).expect_err("300 KiB at most");
        let text = "the answer to 7 images would take up to 358400 bytes, allowed are 307200, of as much of each as is \
                    asked for those of 6 images";
        assert_eq!(error.to_string(), text);
        assert!(AnswerMemory::take(&memory, CLIENT, 6, 50 << 10).is_ok());
        let endless = AnswerMemory::take(&memory, CLIENT, usize::MAX, usize::MAX);
        assert!(matches!(endless, Err(DeskError::AnswerTooLarge { .. })));
        assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn answer_that_does_not_fit_now_takes_nothing_and_none_exceeds_the_whole() {
        let memory = BodyMemory::new(400 << 10);
        let first = AnswerMemory::take(&memory, CLIENT, 1, 300 << 10).expect("its part");
        for (client, bytes) in [(CLIENT, 1), (OTHER, 101 << 10)] {
            let refused = AnswerMemory::take(&memory, client, 1, bytes);
            assert!(matches!(refused, Err(DeskError::AnswerMemoryFull(_))));
            assert_eq!(memory.in_use(), 300 << 10);
        }
        let second = AnswerMemory::take(&memory, OTHER, 1, 100 << 10).expect("the rest");
        drop((first, second));
        assert!(AnswerMemory::take(&memory, CLIENT, 1, 300 << 10).is_ok());
    }

    #[test]
    fn answer_of_nothing_but_classes_needs_none() {
        let memory = BodyMemory::new(1 << 10);
        let answer = AnswerMemory::take(&memory, CLIENT, 32, 0).expect("nothing");
        assert!(answer.is_empty());
        assert_eq!(answer.keep(Bytes::from_static(b"x")), "x");
    }
}
