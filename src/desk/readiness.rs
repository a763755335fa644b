//! Whether requests are taken, as those are told who wait for a change.

/// Whether requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The models are being loaded: no requests are taken yet.
    Loading,
    /// Requests are taken.
    Ready,
    /// The server has been told to stop.
    Draining,
}

impl Readiness {
    /// The models are there; whether that is news. A server that is to stop does not become ready again.
    pub(super) fn load(&mut self) -> bool {
        let is_news = *self == Readiness::Loading;
        if is_news {
            *self = Readiness::Ready;
        }
        is_news
    }
}
