//! Whether a request may come in: what is waiting already, how long it will take, and whose it is.
//!
//! Asked through `classifier` before a request's body is read, and again when that turns out to hold more images. Gives
//! out the [`Permit`]s that `backlog` counts. Contains no clock and no thread.

use std::time::{Duration, Instant};

use super::backlog::{Backlog, Progress};
use super::refusal::Refusal;
use super::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::fair_queue::ClientId;

/// A client may hold at most this many times the places that are free. One alone fills eight ninths of the queue, two
/// eight seventeenths each, and whoever comes next finds a place.
///
/// Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
const SHARE_OF_FREE: usize = 8;

/// The limits of admission, and the threads that serve what is admitted.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionPolicy {
    /// Images that may be accepted and not yet running, in all.
    pub capacity: usize,
    /// Longest estimated wait for a worker.
    pub max_wait: Duration,
    /// Threads that decode, at least 1.
    pub prep_threads: usize,
    /// Threads that run batches, at least 1.
    pub workers: usize,
    /// Most images in one batch, at least 1.
    pub max_batch_size: usize,
}

/// A request that asks to come in.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The client that sent it.
    pub client: ClientId,
    /// The lane of its model.
    pub lane: usize,
    /// Images in it, as far as is known: at least 1.
    pub images: usize,
    /// Places in the queue that the request holds already.
    pub held: usize,
    /// Time until its deadline.
    pub left: Duration,
}

/// The count of all images on their way, and what is known of their cost.
#[derive(Debug)]
pub struct Admission {
    policy: AdmissionPolicy,
    backlog: Mutex<Backlog>,
}

/// One image's place, from its acceptance to its answer.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    client: ClientId,
    lane: usize,
    stage: Progress,
}

impl Admission {
    /// An empty count, for models in this many lanes.
    #[must_use]
    pub fn new(lanes: usize, policy: AdmissionPolicy) -> Arc<Admission> {
        Arc::new(Admission {
            policy,
            backlog: Mutex::new(Backlog::new(lanes)),
        })
    }

    /// Believes of a lane what `before` has learnt of its own: it is the same model.
    pub fn learn(&self, lane: usize, before: &Admission, of: usize) {
        let learnt = before.lock().costs[of].clone();
        self.lock().costs[lane] = learnt;
    }

    /// Nothing is done under the lock that could panic halfway, so a poisoned lock still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for each image of a request, all or none.
    ///
    /// # Errors
    /// [`Refusal`], at once.
    pub fn admit(self: &Arc<Self>, ask: &Ask) -> Result<Vec<Permit>, Refusal> {
        let mut backlog = self.lock();
        check(&backlog, &self.policy, ask)?;
        (0..ask.images).for_each(|_| backlog.add(ask.client, ask.lane));
        drop(backlog);
        let permit = |_| self.permit(ask.client, ask.lane);
        Ok((0..ask.images).map(permit).collect())
    }

    /// Takes a place whatever is waiting: for callers who bound their own work, as a command line does.
    #[must_use]
    pub fn enter(self: &Arc<Self>, client: ClientId, lane: usize) -> Permit {
        self.lock().add(client, lane);
        self.permit(client, lane)
    }

    fn permit(self: &Arc<Self>, client: ClientId, lane: usize) -> Permit {
        Permit {
            admission: Arc::clone(self),
            client,
            lane,
            stage: Progress::Decoding,
        }
    }

    /// A batch of `images` images of a lane has run for `time`, until `now`.
    pub fn ran(&self, lane: usize, images: usize, time: Duration, now: Instant) {
        self.lock().costs[lane].ran(images, time, now);
    }

    /// The time in which all threads together decode and run an image of a lane; zero as long as none has been.
    #[must_use]
    pub fn time_of_an_image(&self, lane: usize) -> Duration {
        self.lock().time_of_an_image(&self.policy, lane)
    }

    /// Images of a lane that have been accepted and are not running.
    #[must_use]
    pub fn waiting(&self, lane: usize) -> usize {
        self.lock().waiting_in(lane)
    }

    /// Estimated wait of one more image for a worker, if the client with most images on their way sends it: what that
    /// client is told if it is refused. Others wait no longer.
    #[must_use]
    pub fn estimated_wait(&self, lane: usize) -> Duration {
        let backlog = self.lock();
        let one_more = Ask {
            client: backlog.busiest().unwrap_or(ClientId::LOCAL),
            lane,
            images: 1,
            held: 0,
            left: Duration::MAX,
        };
        backlog.estimate(&self.policy, &one_more).0
    }
}

/// Checks a request against the limits of the queue, of its client's share, of the wait and of its deadline.
fn check(backlog: &Backlog, policy: &AdmissionPolicy, ask: &Ask) -> Result<(), Refusal> {
    let (wait, needed) = backlog.estimate(policy, ask);
    let waiting = backlog.waiting();
    let free = policy.capacity.saturating_sub(waiting);
    if ask.images > free {
        return Err(Refusal::QueueFull {
            waiting,
            capacity: policy.capacity,
            wait,
        });
    }
    let held = backlog.waiting_of(ask.client);
    let allowed = free.saturating_mul(SHARE_OF_FREE);
    if held + ask.images > allowed {
        return Err(Refusal::ClientFull {
            held,
            free,
            allowed,
            wait,
        });
    }
    if backlog.images().saturating_sub(ask.held) < policy.workers {
        // Whatever the estimate says: a worker is free, and only what is served can correct it.
        return Ok(());
    }
    if wait > policy.max_wait {
        let max = policy.max_wait;
        return Err(Refusal::TooLong { wait, max });
    }
    if needed > ask.left {
        let left = ask.left;
        return Err(Refusal::TooLate { wait, needed, left });
    }
    Ok(())
}

impl Permit {
    /// The image has been decoded, in `time`, until `now`.
    pub fn decoded(&mut self, time: Duration, now: Instant) {
        let mut backlog = self.admission.lock();
        backlog.costs[self.lane].decoded(time, now);
        backlog.decoded(self.client, self.lane);
        self.stage = Progress::Queued;
    }

    /// Decoding it took `time`, until `now`, and has failed.
    pub fn wasted(&self, time: Duration, now: Instant) {
        self.admission.lock().costs[self.lane].decoded(time, now);
    }

    /// Notes that the image's batch starts: somebody else may wait in its place.
    pub fn start(&mut self) {
        self.admission.lock().started(self.client, self.lane);
        self.stage = Progress::Running;
    }

    /// The client whose image it is.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut backlog = self.admission.lock();
        backlog.remove(self.client, self.lane, self.stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: ClientId = ClientId(1);
    const OTHER: ClientId = ClientId(2);

    fn policy(capacity: usize, max_wait: Duration) -> AdmissionPolicy {
        AdmissionPolicy {
            capacity,
            max_wait,
            prep_threads: 1,
            workers: 2,
            max_batch_size: 8,
        }
    }

    fn ask(client: ClientId, images: usize) -> Ask {
        Ask {
            client,
            lane: 0,
            images,
            held: 0,
            left: Duration::MAX,
        }
    }

    /// Two workers, 100 ms an image.
    fn taught(capacity: usize, max_wait: Duration) -> Arc<Admission> {
        let admission = Admission::new(1, policy(capacity, max_wait));
        (0..20).for_each(|_| admission.ran(0, 8, Duration::from_millis(800), Instant::now()));
        admission
    }

    fn seconds(wait: Duration) -> f64 {
        (wait.as_secs_f64() * 1e3).round() / 1e3
    }

    #[test]
    fn places_are_taken_whole_and_given_back_when_the_batch_starts() {
        let admission = Admission::new(1, policy(4, Duration::MAX));
        let mut permits = admission.admit(&ask(FLOOD, 3)).expect("there are four");
        let full = admission.admit(&ask(OTHER, 2)).expect_err("one is left");
        assert!(
            matches!(
                full,
                Refusal::QueueFull {
                    waiting: 3,
                    capacity: 4,
                    ..
                }
            ),
            "{full:?}"
        );
        admission.admit(&ask(OTHER, 1)).expect("one is left");
        permits[0].decoded(Duration::ZERO, Instant::now());
        permits[0].start();
        admission.admit(&ask(OTHER, 2)).expect("two are left");
        drop(permits);
        let backlog = admission.lock();
        assert_eq!((backlog.images(), backlog.waiting()), (0, 0));
    }

    #[test]
    fn flood_leaves_places_for_others() {
        let admission = Admission::new(1, policy(90, Duration::MAX));
        let mut permits = Vec::new();
        let refusal = loop {
            match admission.admit(&ask(FLOOD, 1)) {
                Ok(more) => permits.extend(more),
                Err(refusal) => break refusal,
            }
        };
        assert!(
            matches!(
                refusal,
                Refusal::ClientFull {
                    held: 80,
                    free: 10,
                    allowed: 80,
                    ..
                }
            ),
            "{refusal:?}"
        );
        admission.admit(&ask(OTHER, 5)).expect("there is room");
    }

    #[test]
    fn wait_is_estimated_from_what_was_served() {
        let admission = taught(1000, Duration::from_secs(2));
        let _places = admission.admit(&ask(FLOOD, 40)).expect("nothing waits");
        let wait = |client| {
            admission
                .lock()
                .estimate(&admission.policy, &ask(client, 1))
        };
        assert_eq!(seconds(wait(OTHER).0), 0.05);
        let (until_worker, until_answer) = wait(FLOOD);
        assert_eq!((seconds(until_worker), seconds(until_answer)), (2.0, 2.8));
        let _one_more = admission.admit(&ask(FLOOD, 1)).expect("2 s are allowed");
        let refusal = admission.admit(&ask(FLOOD, 1)).expect_err("2.05 s");
        assert_eq!(seconds(refusal.wait()), 2.05);
        assert_eq!(admission.estimated_wait(0), refusal.wait());
        assert!(matches!(refusal, Refusal::TooLong { .. }), "{refusal:?}");
    }

    #[test]
    fn flood_does_not_lengthen_the_wait_of_others() {
        let admission = taught(1000, Duration::from_secs(2));
        let _flood = admission.admit(&ask(FLOOD, 41)).expect("nothing waits");
        admission
            .admit(&ask(FLOOD, 1))
            .expect_err("it waits for itself");
        // Three of the flood's come before the third of the other's.
        let (wait, _) = admission.lock().estimate(&admission.policy, &ask(OTHER, 3));
        assert_eq!(seconds(wait), 0.15);
        admission
            .admit(&ask(OTHER, 3))
            .expect("its turn comes soon");
    }

    #[test]
    fn request_that_would_be_late_is_refused_at_once() {
        let admission = taught(1000, Duration::MAX);
        let _flood = admission.admit(&ask(FLOOD, 10)).expect("nothing waits");
        let mut late = ask(FLOOD, 1);
        late.left = Duration::from_millis(900);
        let refusal = admission.admit(&late).expect_err("0.5 s and a batch of 6");
        assert!(
            matches!(refusal, Refusal::TooLate { needed, .. } if seconds(needed) == 1.1),
            "{refusal:?}"
        );
        late.left = Duration::from_millis(1200);
        admission.admit(&late).expect("in time");
    }

    #[test]
    fn wrong_estimate_locks_nobody_out() {
        let admission = Admission::new(1, policy(20, Duration::from_secs(1)));
        admission.ran(0, 1, Duration::from_secs(3600), Instant::now());
        let mut impatient = ask(OTHER, 1);
        impatient.left = Duration::from_millis(100);
        let first = admission.admit(&impatient).expect("two workers are free");
        let second = admission.admit(&impatient).expect("one worker is free");
        admission.admit(&impatient).expect_err("none is free");
        drop((first, second));
        (0..200).for_each(|_| admission.ran(0, 1, Duration::from_millis(10), Instant::now()));
        let _places = [admission.enter(FLOOD, 0), admission.enter(FLOOD, 0)];
        admission.admit(&impatient).expect("it has learnt");
    }

    #[test]
    fn large_request_is_estimated_whole() {
        let admission = taught(1000, Duration::MAX);
        let (_, needed) = admission
            .lock()
            .estimate(&admission.policy, &ask(OTHER, 32));
        // 24 images by two workers, and a batch of eight.
        assert_eq!(seconds(needed), 2.0);
    }

    #[test]
    fn rest_of_a_request_does_not_wait_for_its_first_image() {
        let policy = AdmissionPolicy {
            workers: 1,
            ..policy(1000, Duration::from_millis(10))
        };
        let admission = Admission::new(1, policy);
        admission.ran(0, 1, Duration::from_secs(1), Instant::now());
        let _first = admission.admit(&ask(OTHER, 1)).expect("a worker is free");
        let mut rest = ask(OTHER, 3);
        admission.admit(&rest).expect_err("as a request of its own");
        rest.held = 1;
        admission.admit(&rest).expect("it is the same request");
    }

    #[test]
    fn undecoded_images_cost_their_decoding_too() {
        let admission = taught(1000, Duration::MAX);
        admission
            .enter(FLOOD, 0)
            .decoded(Duration::from_millis(30), Instant::now());
        let mut permits = admission.admit(&ask(FLOOD, 2)).expect("unlimited");
        let newcomer = || {
            admission
                .lock()
                .estimate(&admission.policy, &ask(OTHER, 1))
                .0
        };
        assert_eq!(seconds(newcomer()), 0.08);
        permits[0].decoded(Duration::from_millis(30), Instant::now());
        // one of two comes before a newcomer's, and half of them are decoded
        assert_eq!(seconds(newcomer()), 0.065);
        permits[1].decoded(Duration::from_millis(30), Instant::now());
        assert_eq!(seconds(newcomer()), 0.05);
        permits.iter_mut().for_each(Permit::start);
        assert_eq!(seconds(newcomer()), 0.05);
        drop(permits);
        assert_eq!(newcomer(), Duration::ZERO);
        assert_eq!(admission.estimated_wait(0), Duration::ZERO);
    }
}
