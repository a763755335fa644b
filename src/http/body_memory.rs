//! Memory for the bodies of all requests together: a body takes its share as it arrives, and waits if none is left.
//!
//! Asked by `body` before it keeps bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::turns::ClientId;

/// Bytes that one permit stands for.
const UNIT: usize = 1024;

/// What one client may hold of the budget: three quarters, so that one that holds its bodies back, half sent, leaves room
/// for others.
const OF_ONE_CLIENT: (usize, usize) = (3, 4);

/// The budget, and the right of one body to exceed it.
///
/// Bodies that hold a part each and wait for more could wait for one another. So one body at a time goes on without
/// waiting, and gives everything back when its request is done. All bodies together hold the budget and one body more.
#[derive(Debug)]
pub(super) struct BodyMemory {
    units: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    of_one_client: usize,
    clients: Mutex<Clients>,
}

/// Each client's part, as long as one of its bodies is here.
#[derive(Debug, Default)]
struct Clients {
    parts: HashMap<ClientId, Weak<Semaphore>>,
    /// Entries with which those that nobody uses any more are looked for.
    sweep_at: usize,
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    /// Of all, and of the client's part.
    held: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    exceeding: Option<OwnedSemaphorePermit>,
}

impl BodyMemory {
    /// A budget of this many bytes, at least one unit.
    pub(super) fn new(bytes: u64) -> BodyMemory {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        let units = units.clamp(1, Semaphore::MAX_PERMITS);
        let (part, of) = OF_ONE_CLIENT;
        BodyMemory {
            units: Arc::new(Semaphore::new(units)),
            overdraft: Arc::new(Semaphore::new(1)),
            of_one_client: (units * part / of).max(1),
            clients: Mutex::default(),
        }
    }

    /// An empty share for a body of this client.
    pub(super) fn share(&self, client: ClientId) -> Share {
        Share {
            all: Arc::clone(&self.units),
            own: self.part(client),
            overdraft: Arc::clone(&self.overdraft),
            held: None,
            exceeding: None,
        }
    }

    fn part(&self, client: ClientId) -> Arc<Semaphore> {
        let clients = self.clients.lock();
        let mut clients = clients.unwrap_or_else(PoisonError::into_inner);
        let known = clients.parts.get(&client).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            if clients.parts.len() >= clients.sweep_at {
                clients.parts.retain(|_, part| part.strong_count() > 0);
                clients.sweep_at = 2 * clients.parts.len() + 64;
            }
            let part = Arc::new(Semaphore::new(self.of_one_client));
            clients.parts.insert(client, Arc::downgrade(&part));
            part
        })
    }
}

impl Share {
    /// Waits until it may hold this many bytes altogether. Given up half-way, it is what it was.
    pub(super) async fn grow(&mut self, bytes: usize) {
        let held = self.held.as_ref().map_or(0, |(all, _)| all.num_permits());
        let missing = bytes.div_ceil(UNIT).saturating_sub(held);
        if missing == 0 || self.exceeding.is_some() {
            return;
        }
        let count = u32::try_from(missing).unwrap_or(u32::MAX);
        let acquire = async |from: &Arc<Semaphore>, count| {
            let permit = Arc::clone(from).acquire_many_owned(count).await;
            permit.expect("the budget is never closed")
        };
        // The client's part first: who waits for that keeps nothing from others.
        let both = async {
            let own = acquire(&self.own, count).await;
            (acquire(&self.all, count).await, own)
        };
        tokio::select! {
            biased;
            (all, own) = both => match &mut self.held {
                Some(held) => {
                    held.0.merge(all);
                    held.1.merge(own);
                }
                None => self.held = Some((all, own)),
            },
            overdraft = acquire(&self.overdraft, 1) => self.exceeding = Some(overdraft),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FLOOD: ClientId = ClientId(1);
    const OTHER: ClientId = ClientId(2);

    /// Whether a share comes to hold this much without waiting.
    async fn grows(share: &mut Share, kib: usize) -> bool {
        let grown = tokio::time::timeout(Duration::ZERO, share.grow(kib << 10)).await;
        grown.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_one_client_leaves_a_quarter_to_others() {
        let memory = BodyMemory::new(400 << 10);
        let mut flood: Vec<_> = (0..5).map(|_| memory.share(FLOOD)).collect();
        for share in &mut flood[..4] {
            assert!(grows(share, 100).await, "three fit, and one may exceed");
        }
        assert!(!grows(&mut flood[4], 1).await);
        let mut others = [memory.share(OTHER), memory.share(OTHER)];
        assert!(grows(&mut others[0], 90).await);
        assert!(!grows(&mut others[1], 20).await, "all is used up");
        drop(flood);
        assert!(grows(&mut others[1], 20).await);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_have_gone_are_forgotten() {
        let memory = BodyMemory::new(1 << 20);
        let kept = memory.share(OTHER);
        (0..100_000).for_each(|i| drop(memory.share(ClientId(i + 10))));
        assert!(memory.clients.lock().expect("unpoisoned").parts.len() < 200);
        assert!(Arc::ptr_eq(&kept.own, &memory.part(OTHER)));
    }
}
