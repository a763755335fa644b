//! Memory for the bodies of all requests together, and for large answers: a body takes its share as it arrives, and
//! waits if none is left.
//!
//! Asked by `body` before it keeps bytes, and by `answer_memory`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fair_queue::ClientId;

/// Bytes that one permit stands for.
const UNIT: usize = 1024;

/// What one client may hold of the whole: three quarters, so that one that holds its bodies back, half sent, leaves
/// room for others.
const OF_ONE_CLIENT: (usize, usize) = (3, 4);

/// The memory for all bodies, and each client's part of it.
#[derive(Debug)]
pub(super) struct BodyMemory {
    all: Arc<Budget>,
    /// The number of units in `all`.
    units: usize,
    of_one_client: usize,
    clients: Mutex<Clients>,
}

/// An amount of memory, and the right of one body to exceed it.
///
/// Bodies that hold a part each and wait for more could wait for one another. So one body at a time goes on without
/// waiting, and gives everything back when its request is done. All bodies together hold the amount and one body more.
#[derive(Debug)]
struct Budget {
    /// The number of units, free or held.
    total: usize,
    units: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

/// Each client's part, as long as one of its bodies is here.
#[derive(Debug, Default)]
struct Clients {
    parts: HashMap<ClientId, Weak<Budget>>,
    /// Entries with which those that nobody uses any more are looked for.
    sweep_at: usize,
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(super) struct BodyReservation {
    of_client: Holding,
    of_all: Holding,
}

/// What one body holds of a budget.
#[derive(Debug)]
struct Holding {
    budget: Arc<Budget>,
    units: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl BodyMemory {
    /// A memory of this many bytes, at least one unit.
    pub(super) fn new(bytes: u64) -> BodyMemory {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        let units = units.clamp(1, Semaphore::MAX_PERMITS);
        let (part, of) = OF_ONE_CLIENT;
        BodyMemory {
            all: Budget::new(units),
            units,
            of_one_client: (units * part / of).max(1),
            clients: Mutex::default(),
        }
    }

    /// Bytes that bodies hold; one that exceeds the whole may hold more.
    pub(super) fn in_use(&self) -> u64 {
        let held = self.units - self.all.units.available_permits().min(self.units);
        (held * UNIT) as u64
    }

    /// Most bytes that one client may hold without exceeding its part.
    pub(super) fn most_of_one_client(&self) -> usize {
        self.of_one_client * UNIT
    }

    /// An empty share for a body of this client.
    pub(super) fn share(&self, client: ClientId) -> BodyReservation {
        BodyReservation {
            of_client: Holding::new(self.part(client)),
            of_all: Holding::new(Arc::clone(&self.all)),
        }
    }

    fn part(&self, client: ClientId) -> Arc<Budget> {
        let clients = self.clients.lock();
        let mut clients = clients.unwrap_or_else(PoisonError::into_inner);
        let known = clients.parts.get(&client).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            if clients.parts.len() >= clients.sweep_at {
                clients.parts.retain(|_, part| part.strong_count() > 0);
                clients.sweep_at = 2 * clients.parts.len() + 64;
            }
            let part = Budget::new(self.of_one_client);
            clients.parts.insert(client, Arc::downgrade(&part));
            part
        })
    }
}

impl BodyReservation {
    /// Whether it may hold this many bytes altogether without growing.
    pub(super) fn covers(&self, bytes: usize) -> bool {
        let units = bytes.div_ceil(UNIT);
        self.of_client.covers(units) && self.of_all.covers(units)
    }

    /// Waits until it may hold this many bytes altogether. Given up half-way, it keeps what it has.
    pub(super) async fn grow(&mut self, bytes: usize) {
        let units = bytes.div_ceil(UNIT);
        // The client's part first: who waits for that keeps nothing from others.
        self.of_client.grow(units).await;
        self.of_all.grow(units).await;
    }

    /// Takes this many bytes into an empty share, before they are there, as long as half of everything stays free: whether
    /// it got them. If not it stays empty.
    pub(super) fn take_ahead(&mut self, bytes: usize) -> bool {
        let units = bytes.div_ceil(UNIT);
        let took = self.of_client.take_ahead(units) && self.of_all.take_ahead(units);
        if !took {
            self.shrink(0);
        }
        took
    }

    /// Takes this many bytes into an empty share at once, and never exceeds anything: whether it got them. If not it is
    /// to be dropped.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let units = bytes.div_ceil(UNIT);
        self.of_client.take(units) && self.of_all.take(units)
    }

    /// Gives back what it holds beyond this many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let units = bytes.div_ceil(UNIT);
        self.of_client.shrink(units);
        self.of_all.shrink(units);
    }
}

impl Budget {
    fn new(units: usize) -> Arc<Budget> {
        Arc::new(Budget {
            total: units,
            units: Arc::new(Semaphore::new(units)),
            overdraft: Arc::new(Semaphore::new(1)),
        })
    }
}

impl Holding {
    fn new(budget: Arc<Budget>) -> Holding {
        Holding {
            budget,
            units: None,
            overdraft: None,
        }
    }

    /// Units that it holds, those beyond the budget not counted.
    fn held(&self) -> usize {
        self.units.as_ref().map_or(0, |held| held.num_permits())
    }

    fn covers(&self, units: usize) -> bool {
        units <= self.held() || self.overdraft.is_some()
    }

    fn take(&mut self, units: usize) -> bool {
        let wanted = u32::try_from(units).unwrap_or(u32::MAX);
        self.units = Arc::clone(&self.budget.units)
            .try_acquire_many_owned(wanted)
            .ok();
        self.units.is_some()
    }

    fn take_ahead(&mut self, units: usize) -> bool {
        let free = self.budget.units.available_permits();
        free >= units + self.budget.total / 2 && self.take(units)
    }

    fn shrink(&mut self, units: usize) {
        if let Some(held) = &mut self.units {
            let beyond = held.num_permits().saturating_sub(units);
            drop(held.split(beyond));
        }
    }

    async fn grow(&mut self, units: usize) {
        const OPEN: &str = "the budget is never closed";
        if self.covers(units) {
            return;
        }
        let missing = units - self.held();
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            units = Arc::clone(&self.budget.units).acquire_many_owned(missing) => {
                let units = units.expect(OPEN);
                match &mut self.units {
                    Some(held) => held.merge(units),
                    None => self.units = Some(units),
                }
            }
            overdraft = Arc::clone(&self.budget.overdraft).acquire_owned() => {
                self.overdraft = Some(overdraft.expect(OPEN));
            }
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
    async fn grows(share: &mut BodyReservation, kib: usize) -> bool {
        let grown = tokio::time::timeout(Duration::ZERO, share.grow(kib << 10)).await;
        grown.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_one_client_leaves_room_to_others() {
        let memory = BodyMemory::new(400 << 10);
        let mut flood: Vec<_> = (0..10).map(|_| memory.share(FLOOD)).collect();
        let mut held = 0;
        for share in &mut flood {
            held += u32::from(grows(share, 50).await);
        }
        assert_eq!(held, 7, "six, and one that exceeds the client's part");
        let mut others = [memory.share(OTHER), memory.share(OTHER)];
        assert!(grows(&mut others[0], 50).await, "the rest");
        assert!(grows(&mut others[1], 50).await, "one may exceed the whole");
        let mut next = memory.share(OTHER);
        assert!(!grows(&mut next, 1).await);
        drop(flood);
        assert!(grows(&mut next, 50).await);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_taken_ahead_while_half_of_it_is_free() {
        let memory = BodyMemory::new(400 << 10);
        let ahead = |client, kib: usize| {
            let mut share = memory.share(client);
            let took = share.take_ahead(kib << 10);
            assert!(took == share.covers(1), "all or nothing");
            took.then_some(share)
        };
        assert!(ahead(FLOOD, 151).is_none(), "half of the client's part");
        let first = ahead(FLOOD, 150).expect("it is free");
        assert!(ahead(FLOOD, 1).is_none());
        assert!(ahead(OTHER, 51).is_none(), "half of the whole");
        let second = ahead(OTHER, 50).expect("it is free");
        assert_eq!(memory.in_use(), 200 << 10);
        let mut waiting = memory.share(OTHER);
        assert!(grows(&mut waiting, 200).await, "what is there comes first");
        drop((first, second, waiting));
        assert_eq!(memory.in_use(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_gives_everything_back() {
        let memory = BodyMemory::new(400 << 10);
        let (mut first, mut exceeding) = (memory.share(FLOOD), memory.share(OTHER));
        assert!(grows(&mut first, 300).await && grows(&mut exceeding, 200).await);
        let mut waiting = memory.share(OTHER);
        assert!(grows(&mut waiting, 50).await, "in what is left");
        assert!(!grows(&mut waiting, 150).await);
        drop(waiting);
        assert!(grows(&mut memory.share(OTHER), 100).await);
        drop((first, exceeding));
        assert!(grows(&mut memory.share(OTHER), 300).await, "its whole part");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_have_gone_are_forgotten() {
        let memory = BodyMemory::new(1 << 20);
        let kept = memory.share(OTHER);
        (0..100_000).for_each(|i| drop(memory.share(ClientId(i + 10))));
        assert!(memory.clients.lock().expect("unpoisoned").parts.len() < 200);
        let same = Arc::ptr_eq(&kept.of_client.budget, &memory.part(OTHER));
        assert!(same);
    }
}
