//! Memory for the bodies of all requests together: a body takes its share as it arrives, and waits if none is left.
//!
//! Asked by `body` before it keeps bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit stands for.
const UNIT: usize = 1024;

/// The budget, and the right of one body to exceed it.
///
/// Bodies that hold a part each and wait for more could wait for one another. So one body at a time goes on without
/// waiting, and gives everything back when its request is done. All bodies together hold the budget and one body more.
#[derive(Debug)]
pub(super) struct BodyMemory {
    units: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

/// What one body holds; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    units: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl BodyMemory {
    /// A budget of this many bytes, at least one unit.
    pub(super) fn new(bytes: u64) -> BodyMemory {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        BodyMemory {
            units: Arc::new(Semaphore::new(units.clamp(1, Semaphore::MAX_PERMITS))),
            overdraft: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until the share may hold this many bytes altogether. Given up half-way, the share is what it was.
    pub(super) async fn grow(&self, share: &mut Share, bytes: usize) {
        let held = share
            .units
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT).saturating_sub(held);
        if missing == 0 || share.overdraft.is_some() {
            return;
        }
        let count = u32::try_from(missing).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            units = Arc::clone(&self.units).acquire_many_owned(count) => {
                let units = units.expect("the budget is never closed");
                match &mut share.units {
                    Some(held) => held.merge(units),
                    None => share.units = Some(units),
                }
            }
            overdraft = Arc::clone(&self.overdraft).acquire_owned() => {
                share.overdraft = Some(overdraft.expect("the overdraft is never closed"));
            }
        }
    }
}
