//! All images on their way, whose they are and how far they have come, and how long one more would take.
//!
//! Kept by `admission` under its lock. Contains no clock, lock or thread.

use std::collections::HashMap;
use std::time::Duration;

use super::admission::{AdmissionPolicy, Ask};
use super::service_time::ServiceTime;
use crate::fair_queue::ClientId;

/// How far an image has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Decoding,
    Queued,
    Running,
}

#[derive(Debug)]
pub(super) struct Backlog {
    /// What an image of each lane costs.
    pub(super) costs: Vec<ServiceTime>,
    clients: HashMap<ClientId, Held>,
    /// Images of all clients.
    images: usize,
    /// Images of all clients that are not running.
    waiting: usize,
    /// Images of all clients that are not running, by lane.
    waiting_in: Vec<usize>,
}

/// Images of one client.
#[derive(Debug)]
struct Held {
    lanes: Vec<Count>,
    /// Images of the client in all lanes.
    images: usize,
    /// Images of the client that are not running.
    waiting: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    to_decode: usize,
    to_run: usize,
}

impl Backlog {
    pub(super) fn new(lanes: usize) -> Backlog {
        Backlog {
            costs: vec![ServiceTime::default(); lanes],
            clients: HashMap::new(),
            images: 0,
            waiting: 0,
            waiting_in: vec![0; lanes],
        }
    }

    /// Images of all clients.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// Images of all clients that are not running.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Images of a lane that are not running.
    pub(super) fn waiting_in(&self, lane: usize) -> usize {
        self.waiting_in[lane]
    }

    /// Images of a client that are not running.
    pub(super) fn waiting_of(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, |c| c.waiting)
    }

    /// The client with most images, if there are any.
    pub(super) fn busiest(&self) -> Option<ClientId> {
        let most = self.clients.iter().max_by_key(|(_, held)| held.images);
        most.map(|(client, _)| *client)
    }

    /// An image has been accepted.
    pub(super) fn add(&mut self, client: ClientId, lane: usize) {
        let lanes = self.costs.len();
        let held = self.clients.entry(client).or_insert_with(|| Held {
            lanes: vec![Count::default(); lanes],
            images: 0,
            waiting: 0,
        });
        held.lanes[lane].to_decode += 1;
        held.images += 1;
        held.waiting += 1;
        self.images += 1;
        self.waiting += 1;
        self.waiting_in[lane] += 1;
    }

    /// An image that was being decoded waits for its batch.
    pub(super) fn decoded(&mut self, client: ClientId, lane: usize) {
        if let Some(held) = self.clients.get_mut(&client) {
            held.lanes[lane].to_decode -= 1;
            held.lanes[lane].to_run += 1;
        }
    }

    /// The batch of an image that waited has started.
    pub(super) fn started(&mut self, client: ClientId, lane: usize) {
        if let Some(held) = self.clients.get_mut(&client) {
            held.waiting -= 1;
            self.waiting -= 1;
            self.waiting_in[lane] -= 1;
        }
    }

    /// An image has been answered, or given up at this stage.
    pub(super) fn remove(&mut self, client: ClientId, lane: usize, stage: Progress) {
        let Some(held) = self.clients.get_mut(&client) else {
            return;
        };
        match stage {
            Progress::Decoding => held.lanes[lane].to_decode -= 1,
            Progress::Queued | Progress::Running => held.lanes[lane].to_run -= 1,
        }
        if stage != Progress::Running {
            held.waiting -= 1;
            self.waiting -= 1;
            self.waiting_in[lane] -= 1;
        }
        held.images -= 1;
        self.images -= 1;
        if held.images == 0 {
            self.clients.remove(&client);
        }
    }

    /// The time in which all threads together decode and run an image of a lane, as part of a large batch.
    pub(super) fn time_of_an_image(&self, policy: &AdmissionPolicy, lane: usize) -> Duration {
        let (cost, batch) = (&self.costs[lane], policy.max_batch_size as f64);
        let run = cost.batch(batch) / batch / policy.workers as f64;
        Duration::from_secs_f64(cost.decode(1.0) / policy.prep_threads as f64 + run)
    }

    /// The wait of a request for a worker, and the time to its answer.
    ///
    /// Clients are served in turn, so before the last image of this request come as many of each other client as this
    /// one then has, and no more.
    pub(super) fn estimate(&self, policy: &AdmissionPolicy, ask: &Ask) -> (Duration, Duration) {
        let (workers, prep_threads) = (policy.workers as f64, policy.prep_threads as f64);
        let max_batch_size = policy.max_batch_size as f64;
        let own = self.clients.get(&ask.client).map_or(0, |c| c.images) + ask.images;
        let (mut wait, mut run_with) = (0.0, 0.0);
        for (lane, cost) in self.costs.iter().enumerate() {
            let (mut to_decode, mut to_run) = (0.0, 0.0);
            for held in self.clients.values() {
                let before = (own as f64 / held.images as f64).min(1.0);
                let count = held.lanes[lane];
                to_decode += before * count.to_decode as f64;
                to_run += before * (count.to_decode + count.to_run) as f64;
            }
            wait += cost.decode(to_decode) / prep_threads
                + cost.batches(to_run, max_batch_size) / workers;
            if lane == ask.lane {
                run_with = to_run / workers;
            }
        }
        let (cost, images) = (&self.costs[ask.lane], ask.images as f64);
        // The last batch, and those of a large request that come before it.
        let batch = (run_with + images).min(max_batch_size);
        let before = (images - batch).max(0.0);
        let own = cost.decode(images) / prep_threads
            + cost.batches(before, max_batch_size) / workers
            + cost.batch(batch);
        (
            Duration::from_secs_f64(wait),
            Duration::from_secs_f64(wait + own),
        )
    }
}
