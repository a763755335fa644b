//! What a connection is doing, and until when it may.
//!
//! Written by the connection's stream (`watched`) and its requests, read by its task (`connection`). Bytes never extend
//! a deadline: only a whole head, a whole answer or a new request ends a phase.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How long the other end of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For the head of a request, counted from its first byte; before the first one also for a TLS handshake.
    pub(super) head: Duration,
    /// Between two requests, and before the first byte: balancers open connections ahead of need.
    pub(super) idle: Duration,
    /// To take an answer.
    pub(super) write: Duration,
}

/// How long a closing connection may go on sending what nobody asked for; nginx's `lingering_timeout`.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// How long an idle HTTP/2 connection may take to end once its client is told: hyper waits for the client to confirm.
const ENDING: Duration = Duration::from_secs(1);

/// Most bytes of HTTP/1.1 that are read without one of a body coming out of them. A head has at most 32 KiB, and so has
/// what lies in buffers; a chunk's size may have leading zeros without end, which the HTTP library reads as they come.
const MAX_FRAMING: usize = 1 << 20;

/// Which of a connection's times is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    Head,
    Idle,
    Write,
    Linger,
}

/// One connection's state.
#[derive(Debug)]
pub(super) struct Activity {
    timeouts: Timeouts,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The end of the last request, before the first one the connection's start or the end of its handshake.
    idle_since: Instant,
    /// When the first byte of the next request came.
    head_since: Option<Instant>,
    /// Requests that are not answered to their end.
    in_flight: usize,
    /// Answers that are not handed to the transport to their end, and since when none of them was.
    answers: usize,
    answers_since: Instant,
    /// Since when the transport takes no more bytes.
    blocked_since: Option<Instant>,
    /// Since when the connection is only read from, to drop what comes.
    lingering_since: Option<Instant>,
    /// Since when no further request is welcome.
    ending_since: Option<Instant>,
    /// Bytes read since a request, or a piece of its body, came out of them.
    framing: usize,
    /// Bytes of a request's body that were not read; `u64::MAX` where their number is unknown.
    unread: u64,
    /// Whether requests come side by side, as in HTTP/2. Then bytes without a request are frames that ask nothing, and
    /// requests end outside of the connection's task, which must be told.
    multiplexed: bool,
    task: Option<Waker>,
}

impl Activity {
    /// The state of a connection that has just been accepted.
    pub(super) fn new(timeouts: Timeouts) -> Activity {
        let now = Instant::now();
        let state = State {
            idle_since: now,
            head_since: None,
            in_flight: 0,
            answers: 0,
            answers_since: now,
            blocked_since: None,
            lingering_since: None,
            ending_since: None,
            framing: 0,
            unread: 0,
            multiplexed: false,
            task: None,
        };
        Activity {
            timeouts,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment after another: no panic leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first deadline that passes.
    pub(super) async fn expired(&self) -> Expired {
        let mut timer = pin!(tokio::time::sleep(self.timeouts.head));
        poll_fn(|cx| {
            loop {
                let Some((deadline, what)) = self.deadline(cx.waker()) else {
                    return Poll::Pending;
                };
                // Moving a timer costs more than a wake-up too many: most deadlines are forgotten long before.
                if deadline < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if Instant::now() >= deadline {
                    return Poll::Ready(what);
                }
            }
        })
        .await
    }

    fn deadline(&self, task: &Waker) -> Option<(Instant, Expired)> {
        let mut state = self.state();
        if state.multiplexed {
            state.task = Some(task.clone());
        }
        state.deadline(&self.timeouts)
    }

    /// Notes that requests come side by side; the client has said so, and nothing else yet.
    pub(super) fn set_multiplexed(&self) {
        let mut state = self.state();
        state.multiplexed = true;
        state.begin_silence();
    }

    /// A handshake is done, and nothing of a request has come with its end.
    pub(super) fn has_shaken_hands(&self) {
        self.state().begin_silence();
    }

    /// Where requests come side by side: bytes have been read in which a head, or another frame, has `ended`, and behind
    /// which one is `begun`.
    pub(super) fn has_read_frames(&self, ended: bool, begun: bool) {
        let mut state = self.state();
        if ended {
            state.head_since = None;
        }
        if begun && state.in_flight == 0 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// The connection is to end with the requests that are under way.
    pub(super) fn set_ending(&self) {
        self.state().ending_since = Some(Instant::now());
    }

    /// Bytes have come; `false` if nothing comes out of them and they are too many.
    pub(super) fn has_read(&self, bytes: usize) -> bool {
        let mut state = self.state();
        state.framing += bytes;
        if state.in_flight == 0 && state.head_since.is_none() && !state.multiplexed {
            state.head_since = Some(Instant::now());
        }
        state.framing <= MAX_FRAMING || state.multiplexed
    }

    /// A piece of a request's body has come out of what was read.
    pub(super) fn has_received(&self) {
        self.state().framing = 0;
    }

    /// Notes that the transport takes no more bytes for now.
    pub(super) fn is_blocked(&self) {
        self.state().blocked_since.get_or_insert_with(Instant::now);
    }

    /// Notes that the transport has taken everything.
    pub(super) fn has_flushed(&self) {
        self.state().blocked_since = None;
    }

    /// Notes that everything is answered; what still comes is dropped.
    pub(super) fn lingers(&self) {
        self.state()
            .lingering_since
            .get_or_insert_with(Instant::now);
    }

    /// Whether the client has begun to send something that was not read to its end.
    pub(super) fn is_mid_message(&self) -> bool {
        let state = self.state();
        state.unread > 0 || state.head_since.is_some()
    }

    /// Notes that a request's head is complete.
    pub(super) fn begin_request(&self) {
        let mut state = self.state();
        state.in_flight += 1;
        state.head_since = None;
        state.framing = 0;
        state.unread = 0;
    }

    /// A request's body is dropped with this many bytes unread, `None` if their number is unknown.
    pub(super) fn leave_unread(&self, bytes: Option<u64>) {
        let mut state = self.state();
        if !state.multiplexed {
            state.unread = bytes.unwrap_or(u64::MAX);
        }
    }

    /// Bytes that [`leave_unread`](Self::leave_unread) was told of for the last request.
    pub(super) fn unread(&self) -> u64 {
        self.state().unread
    }

    /// Notes that a request's answer is ready.
    pub(super) fn begin_answer(&self) {
        let mut state = self.state();
        if state.answers == 0 {
            state.answers_since = Instant::now();
        }
        state.answers += 1;
        state.wake();
    }

    /// Notes that an answer is handed to the transport or given up.
    pub(super) fn end_answer(&self) {
        let mut state = self.state();
        state.answers -= 1;
        state.answers_since = Instant::now();
    }

    /// Notes that a request is over.
    pub(super) fn end_request(&self) {
        let mut state = self.state();
        state.in_flight -= 1;
        state.idle_since = Instant::now();
        state.wake();
    }
}

impl State {
    fn begin_silence(&mut self) {
        self.head_since = None;
        self.idle_since = Instant::now();
    }

    fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Expired)> {
        if let Some(since) = self.lingering_since {
            return Some((since + LINGER_TIME, Expired::Linger));
        }
        let reading = match (self.in_flight, self.head_since) {
            // What is begun over and over is no more than silence.
            (0, Some(since)) => {
                let since = since.min(self.idle_end(timeouts));
                Some((since + timeouts.head, Expired::Head))
            }
            (0, None) => Some((self.idle_end(timeouts), Expired::Idle)),
            _ => None,
        };
        let answers_since = (self.answers > 0).then_some(self.answers_since);
        let writing = |since: Option<Instant>| Some((since? + timeouts.write, Expired::Write));
        [reading, writing(answers_since), writing(self.blocked_since)]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn idle_end(&self, timeouts: &Timeouts) -> Instant {
        match self.ending_since {
            Some(since) => self.idle_since.max(since) + ENDING,
            None => self.idle_since + timeouts.idle,
        }
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}
