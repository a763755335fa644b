//! A request's body as bytes, within its size and time limits.
//!
//! Called by `admitted` before anything is parsed. Where the bytes come from is the protocol's business.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::body_memory::BodyReservation;
use super::{DeskError, RequestLimits};

/// How long a client is left alone before its rate counts: a connection needs some time to gain speed.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Most bytes of a body whose memory is taken, as long as there is plenty, when its first bytes are there, so that it need
/// not grow: a tensor of 224 × 224 is moved 700 KB otherwise, and touches three times the memory.
const AHEAD: usize = 1 << 20;

/// A body in memory, and its share of the memory for all of them.
#[derive(Debug)]
pub struct HeldBody {
    bytes: Bytes,
    share: Arc<BodyReservation>,
}

impl HeldBody {
    /// The length of the body in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the body is empty, or taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes; their share of the memory stays here, for what is made of them.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }

    /// The bytes with their share of the memory: for who may hold them when the request has ended.
    pub fn take_kept(&mut self) -> Bytes {
        let bytes = self.take();
        self.keep(bytes)
    }

    /// An image of this body that keeps the share until its last user drops it: a thread can still hold it when its
    /// request has ended.
    pub(super) fn keep(&self, image: Bytes) -> Bytes {
        Bytes::from_owner(KeptImage {
            image,
            _share: Arc::clone(&self.share),
        })
    }
}

struct KeptImage {
    image: Bytes,
    _share: Arc<BodyReservation>,
}

impl AsRef<[u8]> for KeptImage {
    fn as_ref(&self) -> &[u8] {
        &self.image
    }
}

/// Reads a whole body, of which `announced` bytes are to come if the client has told.
///
/// # Errors
/// [`DeskError::BodyTooLarge`] by the announced length before reading, or while reading; [`DeskError::BodyTimeout`],
/// [`DeskError::BodyTooSlow`], [`DeskError::BodyMemoryFull`]; [`DeskError::BodyCut`] for an error of the stream.
pub(super) async fn read<E>(
    announced: Option<u64>,
    mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    limits: &RequestLimits,
    mut share: BodyReservation,
) -> Result<HeldBody, DeskError> {
    let max = limits.max_body_bytes;
    if announced.is_some_and(|n| n > max) {
        return Err(DeskError::BodyTooLarge {
            got: announced,
            max,
        });
    }
    let mut bytes = BytesMut::new();
    let mut memory_wait = Duration::ZERO;
    let mut pace = Pace::new(limits);
    while let Some(chunk) = pace.wait(bytes.len() as u64, chunks.next()).await? {
        let data = chunk.map_err(|_| DeskError::BodyCut)?;
        let length = bytes.len() + data.len();
        if length as u64 > max {
            return Err(DeskError::BodyTooLarge { got: None, max });
        }
        if bytes.capacity() == 0 {
            let ahead = announced.map_or(0, |n| (n as usize).min(AHEAD));
            if ahead > data.len() && share.take_ahead(ahead) {
                bytes.reserve(ahead);
            }
        }
        // Where memory is short it is taken as bytes arrive: a client that only announces them holds none.
        if !share.covers(length) {
            let start = Instant::now();
            let left = limits.max_memory_wait.saturating_sub(memory_wait);
            let grown = tokio::time::timeout(left, share.grow(length)).await;
            grown.map_err(|_| DeskError::BodyMemoryFull(limits.max_memory_wait))?;
            memory_wait += start.elapsed();
        }
        // By doubling, and to the announced length in the end: one that lies about it reserves twice what it sends.
        if length > bytes.capacity() {
            let left = announced.map_or(usize::MAX, |n| (n as usize).saturating_sub(bytes.len()));
            bytes.reserve(length.min(left).max(data.len()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(HeldBody {
        bytes: bytes.freeze(),
        share: Arc::new(share),
    })
}

/// The time that a client takes. Only waiting for the client counts, not waiting for memory.
struct Pace {
    timeout: Duration,
    min_rate: u64,
    waited: Duration,
}

impl Pace {
    fn new(limits: &RequestLimits) -> Pace {
        Pace {
            timeout: limits.body_timeout,
            min_rate: limits.min_upload_rate,
            waited: Duration::ZERO,
        }
    }

    /// Waits for a client that has sent so many bytes until now.
    async fn wait<T>(
        &mut self,
        received: u64,
        next: impl Future<Output = T>,
    ) -> Result<T, DeskError> {
        let mut next = std::pin::pin!(next);
        // What is there already takes no time, and needs no clock: a body may come in a million pieces.
        if let Poll::Ready(there) = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
            return Ok(there);
        }
        let at_min_rate = Duration::from_secs_f64(received as f64 / self.min_rate as f64);
        let rate_end = at_min_rate.max(RATE_GRACE);
        let end = rate_end.min(self.timeout);
        let start = Instant::now();
        let arrived = tokio::time::timeout(end.saturating_sub(self.waited), next).await;
        self.waited += start.elapsed();
        arrived.map_err(|_| {
            if end == self.timeout {
                DeskError::BodyTimeout(self.timeout)
            } else {
                DeskError::BodyTooSlow {
                    received,
                    seconds: end.as_secs_f64(),
                    min_rate: self.min_rate,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::stream;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::desk::body_memory::BodyMemory;
    use crate::fair_queue::ClientId;

    const LIMITS: RequestLimits = RequestLimits {
        max_body_bytes: 1 << 20,
        max_images: 1,
        body_timeout: Duration::from_secs(15),
        request_timeout: Duration::from_secs(10),
        max_memory_wait: Duration::from_secs(3600),
        min_upload_rate: 4096,
        body_memory_bytes: 1 << 20,
    };

    type Body = stream::BoxStream<'static, Result<Bytes, std::io::Error>>;

    /// A body that is as long as what is sent until the sender is dropped.
    fn upload() -> (mpsc::UnboundedSender<usize>, Body) {
        let (send, receive) = mpsc::unbounded_channel::<usize>();
        let chunks = stream::unfold(receive, |mut receive| async {
            Some((receive.recv().await?, receive))
        });
        let bytes = chunks.map(|n| Ok(Bytes::from(vec![0; n])));
        (send, bytes.boxed())
    }

    /// The share of a body of a client that has no other.
    fn share(memory: &BodyMemory) -> BodyReservation {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        memory.share(ClientId(CLIENTS.fetch_add(1, Ordering::Relaxed)))
    }

    async fn read_all(body: Body, memory: &BodyMemory) -> Result<HeldBody, DeskError> {
        read(None, body, &LIMITS, share(memory)).await
    }

    #[tokio::test(start_paused = true)]
    async fn half_read_bodies_do_not_wait_for_each_other() {
        let memory = BodyMemory::new(4 << 10);
        let (uploads, bodies): (Vec<_>, Vec<_>) = (0..4).map(|_| upload()).unzip();
        // all at the same pace, so that each holds a quarter of the memory
        tokio::spawn(async move {
            for _ in 0..4 {
                for upload in &uploads {
                    upload.send(1 << 10).expect("a reader");
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        // each is read, held by its request for a while, and given up
        let requests = bodies.into_iter().map(|body| async {
            let held = read_all(body, &memory).await.expect("a whole body");
            sleep(Duration::from_secs(100)).await;
            held.bytes.len()
        });
        let all = futures_util::future::join_all(requests);
        let lengths = tokio::time::timeout(Duration::from_secs(3600), all).await;
        assert_eq!(lengths.expect("no deadlock"), [4 << 10; 4]);
        assert!(
            start.elapsed() > Duration::from_secs(100),
            "they waited for memory"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_hold_no_more_than_the_budget_and_one_body() {
        let memory = BodyMemory::new(4 << 10);
        let mut shares: [BodyReservation; 4] = std::array::from_fn(|_| share(&memory));
        let mut held = 0;
        for bytes in (1..=4).map(|n| n << 10) {
            for share in &mut shares {
                let grown = tokio::time::timeout(Duration::from_secs(1), share.grow(bytes));
                if grown.await.is_ok() {
                    held += 1 << 10;
                }
            }
        }
        assert_eq!(held, (4 << 10) + (3 << 10));
        drop(shares);
        let mut whole = share(&memory);
        let grown = tokio::time::timeout(Duration::ZERO, whole.grow(4 << 10));
        grown.await.expect("everything was given back");
    }

    #[tokio::test(start_paused = true)]
    async fn body_has_its_time_however_it_trickles() {
        let memory = BodyMemory::new(1 << 20);
        let (upload, body) = upload();
        let trickle = tokio::spawn(async move {
            while upload.send(4096).is_ok() {
                sleep(Duration::from_millis(900)).await;
            }
        });
        let start = Instant::now();
        let error = read_all(body, &memory).await.expect_err("too slow");
        assert!(matches!(error, DeskError::BodyTimeout(_)), "{error}");
        assert_eq!(start.elapsed().as_secs(), 15);
        trickle.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn body_below_the_minimum_rate_is_refused_after_5_seconds() {
        let memory = BodyMemory::new(1 << 20);
        for (bytes, seconds) in [(1, 5), (2048, 5), (3500, 5)] {
            let (upload, body) = upload();
            let trickle = tokio::spawn(async move {
                while upload.send(bytes).is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            });
            let start = Instant::now();
            let error = read_all(body, &memory).await.expect_err("too slow");
            assert!(matches!(error, DeskError::BodyTooSlow { .. }), "{error}");
            assert!(
                error
                    .to_string()
                    .contains("allowed are 4096 bytes a second or more")
            );
            assert_eq!(start.elapsed().as_secs(), seconds, "{bytes}");
            trickle.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_memory_is_not_the_clients_time() {
        let memory = BodyMemory::new(1 << 10);
        let (mut all, mut over) = (share(&memory), share(&memory));
        all.grow(1 << 10).await;
        over.grow(1 << 10).await;
        let (upload, body) = upload();
        upload.send(1 << 10).expect("a reader");
        drop(upload);
        let reading = read_all(body, &memory);
        let freeing = async {
            sleep(Duration::from_secs(1000)).await;
            drop(all);
        };
        let (held, ()) = tokio::join!(reading, freeing);
        assert_eq!(held.expect("a whole body").bytes.len(), 1 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_gets_no_memory_is_refused_and_gives_back_what_it_has() {
        let memory = BodyMemory::new(2 << 10);
        let (mut held, mut over) = (share(&memory), share(&memory));
        held.grow(1 << 10).await;
        over.grow(2 << 10).await;
        let (upload, body) = upload();
        for _ in 0..2 {
            upload.send(1 << 10).expect("a reader");
        }
        let start = Instant::now();
        let refused = read_all(body, &memory).await; // half of it fits
        assert!(matches!(refused, Err(DeskError::BodyMemoryFull(_))));
        assert_eq!(start.elapsed(), LIMITS.max_memory_wait);
        let mut next = share(&memory);
        next.grow(1 << 10).await;
        drop(upload);
    }
}
