//! The queue and the admission under many orders of events: producers, clients that leave, workers and a shutdown at any
//! moment; every image is answered once or dropped once.
//!
//! `cargo test --features schedules --lib batcher::schedules`
//!
//! shuttle's locks stand in for the standard library's (see `sync`) and choose the order at random; `SCHEDULES` sets how
//! many orders of each scene, 2000 without it. A failure prints the schedule that `shuttle::replay` repeats.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shuttle::sync::Arc;
use shuttle::thread;

use super::admission::{Admission, AdmissionPolicy, Ask, Permit};
use super::policy::BatchPolicy;
use super::queue::{Queue, Wait};
use crate::fair_queue::ClientId;

/// What became of all images.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    dropped: AtomicUsize,
    refused: AtomicUsize,
}

/// An image that knows whether it was answered, and tells when it is gone.
struct Image {
    arrived: Instant,
    left: Arc<AtomicBool>,
    permit: Option<Permit>,
    answered: bool,
    tally: Arc<Tally>,
}

impl Wait for Image {
    fn arrived(&self) -> Instant {
        self.arrived
    }

    fn is_pointless(&self, _now: Instant) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let count = match self.answered {
            true => &self.tally.answered,
            false => &self.tally.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

struct Scene {
    queue: Queue<Image>,
    admission: Arc<Admission>,
    tally: Arc<Tally>,
}

impl Scene {
    fn new(workers: usize, capacity: usize) -> Arc<Scene> {
        let policy = BatchPolicy {
            max_batch_size: 2,
            max_queue_delay: Duration::ZERO,
            workers,
        };
        let admission = AdmissionPolicy {
            capacity,
            max_wait: Duration::MAX,
            prep_threads: 1,
            workers,
            max_batch_size: 2,
        };
        Arc::new(Scene {
            queue: Queue::new(1, policy),
            admission: Admission::new(1, admission),
            tally: Arc::default(),
        })
    }

    /// A client sends an image and may leave at any moment after.
    fn send(&self, client: u64, leaves: bool) {
        let client = ClientId(client);
        let ask = Ask {
            client,
            lane: 0,
            images: 1,
            held: 0,
            left: Duration::MAX,
        };
        let Ok(mut permits) = self.admission.admit(&ask) else {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut permit = permits.remove(0);
        thread::yield_now();
        permit.decoded(Duration::from_millis(1), Instant::now());
        let left = Arc::new(AtomicBool::new(false));
        let image = Image {
            arrived: Instant::now(),
            left: Arc::clone(&left),
            permit: Some(permit),
            answered: false,
            tally: Arc::clone(&self.tally),
        };
        let _ = self.queue.push(0, client, image); // a closed queue drops it
        if leaves {
            thread::yield_now();
            left.store(true, Ordering::Relaxed);
        }
    }

    /// The loop of a worker, as in `batcher/worker.rs`.
    fn work(&self) {
        while let Some(batch) = self.queue.next() {
            drop(batch.dropped);
            let count = batch.entries.len();
            assert!(count <= 2, "a batch of {count}");
            let mut running: Vec<Image> = batch.entries;
            running
                .iter_mut()
                .flat_map(|i| &mut i.permit)
                .for_each(Permit::start);
            thread::yield_now();
            self.admission
                .ran(0, count.max(1), Duration::from_millis(5), Instant::now());
            for mut image in running {
                drop(image.permit.take());
                image.answered = true;
            }
        }
    }

    fn counts(&self) -> (usize, usize, usize) {
        let get = |n: &AtomicUsize| n.load(Ordering::Relaxed);
        let Tally {
            answered,
            dropped,
            refused,
        } = &*self.tally;
        (get(answered), get(dropped), get(refused))
    }

    fn gone(&self) -> usize {
        let (answered, dropped, refused) = self.counts();
        answered + dropped + refused
    }

    /// Nobody is on the way any more: all places are free again.
    fn assert_empty(&self, capacity: usize) {
        let all = Ask {
            client: ClientId(99),
            lane: 0,
            images: capacity,
            held: 0,
            left: Duration::MAX,
        };
        drop(
            self.admission
                .admit(&all)
                .expect("every place is free again"),
        );
        assert_eq!(self.queue.depth(0), 0);
    }
}

/// Runs senders, each a client that may leave, and workers to their end; `close_early` closes the queue at any moment.
fn play(workers: usize, senders: &'static [(u64, bool)], close_early: bool, capacity: usize) {
    let scene = Scene::new(workers, capacity);
    let spawn_worker = |_| {
        let scene = Arc::clone(&scene);
        thread::spawn(move || scene.work())
    };
    let crew: Vec<_> = (0..workers).map(spawn_worker).collect();
    let spawn_sender = |&(client, leaves): &(u64, bool)| {
        let scene = Arc::clone(&scene);
        thread::spawn(move || scene.send(client, leaves))
    };
    let senders_running: Vec<_> = senders.iter().map(spawn_sender).collect();
    if close_early {
        scene.queue.close();
    }
    for sender in senders_running {
        sender.join().expect("a sender");
    }
    // Closing wakes everybody, so before it everything must have been taken: a lost wake-up shows here, as a test that
    // takes too many steps.
    while !close_early && scene.gone() < senders.len() {
        thread::yield_now();
    }
    scene.queue.close();
    for worker in crew {
        worker.join().expect("a worker");
    }
    let (answered, dropped, refused) = scene.counts();
    assert_eq!(answered + dropped + refused, senders.len());
    if !close_early && senders.iter().all(|&(_, leaves)| !leaves) {
        assert_eq!(answered + refused, senders.len(), "nothing is lost");
    }
    if capacity >= senders.len() {
        assert_eq!(refused, 0);
    }
    scene.assert_empty(capacity);
}

/// A queue without workers, closed and cleared while an image comes: it is dropped, so that nobody waits for ever.
fn clear() {
    let scene = Scene::new(1, 8);
    let sender = {
        let scene = Arc::clone(&scene);
        thread::spawn(move || scene.send(1, false))
    };
    scene.queue.close();
    scene.queue.clear();
    sender.join().expect("a sender");
    assert_eq!(scene.counts(), (0, 1, 0));
    scene.assert_empty(8);
}

#[cfg(test)]
fn schedules() -> usize {
    let wish = std::env::var("SCHEDULES");
    wish.map_or(2_000, |n| n.parse().expect("a number"))
}

const STAYING: &[(u64, bool)] = &[(1, false), (1, false), (2, false), (3, false)];
const SOME_LEAVE: &[(u64, bool)] = &[(1, false), (1, true), (2, true), (3, false)];

#[test]
fn every_image_is_answered_whatever_the_order() {
    shuttle::check_random(|| play(2, STAYING, false, 8), schedules());
}

#[test]
fn images_of_clients_that_leave_are_answered_or_dropped_once() {
    shuttle::check_random(|| play(2, SOME_LEAVE, false, 8), schedules());
}

#[test]
fn shutdown_at_any_moment_loses_no_place_and_no_worker() {
    shuttle::check_random(|| play(2, SOME_LEAVE, true, 8), schedules());
}

#[test]
fn full_queue_refuses_and_recovers() {
    shuttle::check_random(|| play(1, STAYING, false, 2), schedules());
}

#[test]
fn unlikely_orders_are_tried_too() {
    // Few changes of thread at the worst places: finds what needs one rare order.
    shuttle::check_pct(|| play(2, SOME_LEAVE, true, 3), schedules(), 3);
}

#[test]
fn queue_without_workers_is_cleared() {
    shuttle::check_random(clear, schedules());
}
