//! A model's file in memory, with its digest: hashed by another thread while it is read.
//!
//! Called by `parts`. Both take about as long for a file that the system has in memory.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread::Builder;

use sha2::{Digest, Sha256};

use super::ModelError;
use super::text::{open_capped, unreadable};
use crate::hex;

/// How much is read before it is hashed, in bytes: large enough that reading and hashing do not wait for each other's
/// calls, small enough that the last piece is soon hashed.
const PIECE: usize = 4 << 20;

/// Reads a whole regular file of at most `max` bytes; returns them, and their SHA-256 as lower-case hex.
///
/// # Errors
/// [`ModelError::Unreadable`], with the file and the reason.
pub(super) fn read_hashed(path: &Path, max: u64) -> Result<(Vec<u8>, String), ModelError> {
    let (mut file, size) = open_capped(path, max)?;
    read_and_hash(&mut file, size).map_err(|e| unreadable(path, &e))
}

/// Reads and hashes all that `reader` has, which is about `size` bytes.
fn read_and_hash(reader: &mut impl Read, size: usize) -> io::Result<(Vec<u8>, String)> {
    let mut bytes = vec![0; size]; // which the system provides as it is written
    let mut hasher = Sha256::new();
    let (pieces, read) = mpsc::channel::<&[u8]>();
    let mut is_hashed = false;
    let length = std::thread::scope(|scope| {
        let hasher = &mut hasher;
        let hash = move || read.iter().for_each(|piece| hasher.update(piece));
        let thread = Builder::new().name("hash".into());
        is_hashed = thread.spawn_scoped(scope, hash).is_ok();
        let mut length = 0;
        for piece in bytes.chunks_mut(PIECE) {
            let read = fill(reader, piece)?;
            length += read;
            // This fails only if no thread could be started: then all is hashed below.
            let _ = pieces.send(&piece[..read]);
            if read < PIECE {
                break;
            }
        }
        drop(pieces);
        Ok::<usize, io::Error>(length)
    })?;
    bytes.truncate(length);
    if !is_hashed {
        hasher.update(&bytes); // no other thread could be started
    }
    if length == size {
        reader.read_to_end(&mut bytes)?; // it has grown since its size was known
        hasher.update(&bytes[size..]);
    }
    Ok((bytes, hex::encode(&hasher.finalize())))
}

/// Reads until `buffer` is full or nothing is left; returns how much that was.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::sha256_of;

    #[test]
    fn all_is_read_and_hashed_whatever_the_size_was_said_to_be() {
        for length in [0, 1, PIECE - 1, PIECE, 2 * PIECE + 5] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let digest = sha256_of(&mut &bytes[..]).expect("memory is read");
            for size in [0, length / 2, length, length + PIECE + 1] {
                let (read, hash) = read_and_hash(&mut &bytes[..], size).expect("memory is read");
                assert!(read == bytes, "{length} said to be {size}");
                assert_eq!(hash, digest, "{length} said to be {size}");
            }
        }
    }

    #[test]
    fn error_ends_the_reading() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::Error::other("the disk is gone"));
                }
                let read = self.0.min(buffer.len());
                self.0 -= read;
                Ok(read)
            }
        }
        for length in [0, 10, PIECE + 1] {
            let error = read_and_hash(&mut Broken(length), 3 * PIECE).expect_err("it breaks");
            assert_eq!(error.to_string(), "the disk is gone", "{length}");
        }
    }
}
