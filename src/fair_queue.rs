//! A queue that serves its clients in turn: one that sends much waits behind itself, not others behind it.
//!
//! Used wherever images wait: before the `prep-N` threads and in the batcher's lanes.

use std::collections::{HashMap, VecDeque};

/// Whose turn it is: an API key or a network address, as a number that is the same for all its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The only client of a command line.
    pub const LOCAL: ClientId = ClientId(0);
}

/// Items of several clients; [`FairQueue::pop`] takes one item of each client in turn, each client's in their order.
#[derive(Debug)]
pub struct FairQueue<T> {
    waiting: HashMap<ClientId, VecDeque<T>>,
    /// Clients with at least one item, each once.
    turn: VecDeque<ClientId>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue {
            waiting: HashMap::new(),
            turn: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// Items of all clients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an item behind those of its client.
    pub fn push(&mut self, client: ClientId, item: T) {
        let items = self.waiting.entry(client).or_default();
        if items.is_empty() {
            self.turn.push_back(client);
        }
        items.push_back(item);
        self.len += 1;
    }

    /// Takes the first item of the client whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_where(|_, _| true)
    }

    /// Takes the first item of the next client whose may be taken; those that are passed over keep their turn.
    pub fn pop_where(&mut self, may: impl Fn(ClientId, &T) -> bool) -> Option<T> {
        let front = |client: &ClientId| self.waiting.get(client).and_then(VecDeque::front);
        let may = |client: &ClientId| front(client).is_some_and(|item| may(*client, item));
        let next = self.turn.iter().position(may)?;
        let client = self.turn.remove(next)?;
        let items = self.waiting.get_mut(&client)?;
        let item = items.pop_front();
        if items.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.turn.push_back(client);
        }
        self.len -= usize::from(item.is_some());
        item
    }

    /// The first item of each client.
    pub fn fronts(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().filter_map(VecDeque::front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newcomer_waits_for_one_item_of_each_other_client() {
        let mut queue = FairQueue::default();
        for i in 0..100 {
            queue.push(ClientId(1), (1, i));
        }
        assert_eq!(queue.pop(), Some((1, 0)));
        queue.push(ClientId(2), (2, 0));
        assert_eq!(queue.pop(), Some((1, 1)));
        assert_eq!(queue.pop(), Some((2, 0)));
        assert_eq!(queue.len(), 98);
    }

    #[test]
    fn client_that_may_not_keeps_its_turn() {
        let mut queue = FairQueue::default();
        for (client, i) in [(1, 0), (1, 1), (2, 0), (3, 0)] {
            queue.push(ClientId(client), (client, i));
        }
        assert_eq!(queue.pop_where(|client, _| client.0 == 3), Some((3, 0)));
        assert_eq!(queue.pop_where(|_, item| item.1 == 1), None);
        assert_eq!(queue.len(), 3);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [(1, 0), (2, 0), (1, 1)]);
    }

    proptest! {
        #[test]
        fn every_item_comes_out_once_and_in_the_order_of_its_client(
            steps in proptest::collection::vec(proptest::option::of(0u64..5), 0..200),
        ) {
            let mut queue = FairQueue::default();
            let (mut pushed, mut popped) = ([0; 5], [0; 5]);
            let take = |queue: &mut FairQueue<(u64, usize)>, popped: &mut [usize; 5]| {
                let Some((client, i)) = queue.pop() else { return false };
                assert_eq!(i, popped[client as usize]);
                popped[client as usize] += 1;
                true
            };
            for step in steps {
                match step {
                    Some(client) => {
                        queue.push(ClientId(client), (client, pushed[client as usize]));
                        pushed[client as usize] += 1;
                    }
                    None => {
                        let waiting = pushed != popped;
                        prop_assert_eq!(take(&mut queue, &mut popped), waiting);
                    }
                }
                prop_assert_eq!(queue.len(), pushed.iter().sum::<usize>() - popped.iter().sum::<usize>());
                prop_assert_eq!(queue.fronts().count(), (0..5).filter(|&c| pushed[c] > popped[c]).count());
            }
            while take(&mut queue, &mut popped) {}
            prop_assert_eq!(pushed, popped);
            prop_assert!(queue.waiting.is_empty() && queue.turn.is_empty());
        }
    }
}
