//! How far decoding may run ahead of the networks: whose images are decoded, or being decoded, and not running yet.
//!
//! Owned by `pool`. What is decoded long before it runs takes memory, leaves the caches, and is in vain if its client
//! has gone by then. Contains no clock, lock or thread.

use std::collections::HashMap;

use crate::fair_queue::ClientId;

/// A bound of the images under way together, of however many clients, where one alone has `limit`: the next has at most
/// a half of that, the one after it a third, and so on, and 1 + 1/2 + … + 1/n is at most 1 + ln n.
pub(super) fn most(limit: usize) -> usize {
    let limit = limit.max(1) as f64;
    (limit * (1.0 + limit.ln())) as usize
}

/// Images between the start of their decoding and that of their batch, by client.
#[derive(Debug)]
pub(super) struct Ahead {
    limit: usize,
    images: usize,
    clients: HashMap<ClientId, usize>,
}

impl Ahead {
    /// Room for `limit` images, at least 1.
    pub(super) fn new(limit: usize) -> Ahead {
        Ahead {
            limit: limit.max(1),
            images: 0,
            clients: HashMap::new(),
        }
    }

    /// Whether an image of this client may be decoded now: where there is room, and else where the client has less than
    /// its share, so that it need not wait until others' images have run. All together are at most [`most`].
    pub(super) fn may_start(&self, client: ClientId) -> bool {
        let own = self.clients.get(&client).copied().unwrap_or(0);
        let clients = self.clients.len() + usize::from(own == 0);
        self.images < self.limit || (own + 1).saturating_mul(clients) <= self.limit
    }

    pub(super) fn start(&mut self, client: ClientId) {
        self.images += 1;
        *self.clients.entry(client).or_default() += 1;
    }

    pub(super) fn end(&mut self, client: ClientId) {
        self.images -= 1;
        if let Some(own) = self.clients.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                self.clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: ClientId = ClientId(0);

    /// Starts as many images of a client as may.
    fn fill(ahead: &mut Ahead, client: ClientId) -> usize {
        let mut started = 0;
        while ahead.may_start(client) {
            ahead.start(client);
            started += 1;
        }
        started
    }

    #[test]
    fn one_client_has_it_all_and_each_newcomer_a_share() {
        let mut ahead = Ahead::new(16);
        assert_eq!(fill(&mut ahead, FLOOD), 16);
        let shares: Vec<usize> = (1..20).map(|c| fill(&mut ahead, ClientId(c))).collect();
        assert_eq!(shares[..6], [8, 5, 4, 3, 2, 2]);
        assert_eq!(shares[15..], [0, 0, 0, 0], "the seventeenth waits");
        assert_eq!((ahead.images, most(16)), (50, 60));
    }

    #[test]
    fn room_that_is_given_back_is_taken_again() {
        let mut ahead = Ahead::new(2);
        fill(&mut ahead, FLOOD);
        assert!(!ahead.may_start(FLOOD) && ahead.may_start(ClientId(1)));
        ahead.start(ClientId(1));
        ahead.end(FLOOD);
        assert!(!ahead.may_start(FLOOD), "two are under way");
        ahead.end(ClientId(1));
        assert!(ahead.may_start(FLOOD));
        ahead.end(FLOOD);
        assert!(ahead.clients.is_empty() && ahead.images == 0);
    }
}
