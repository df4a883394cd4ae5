//! Refusals that wait to be looked into: a line for each account that they may be about, and the lines take turns.
//!
//! A look costs too much to be had by everything that strangers post, so most of a flood is never looked into. What is left
//! of it must not depend on who sends most. So a line is only as long as the others let it be, and in a line whoever has sent
//! most is left out first: a flood that names one account keeps nothing of another waiting for more than a turn, and one of
//! a single address leaves room for what Twilio posts from its own. Behind a reverse proxy all peers are one, Twilio among
//! them: there the lines alone keep a flood from the rest, and in its line chance decides what is left out.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

/// What waits in lines that are called by a `K`, each sent by a `P`.
pub struct Turns<K, P, T> {
    waiting_max: usize,
    lines: Mutex<Lines<K, P, T>>,
    added: Notify,
}

/// The lines, that whose turn is next first. None is empty.
type Lines<K, P, T> = VecDeque<(K, VecDeque<(P, T)>)>;

impl<K: PartialEq, P: Clone + Eq + Hash, T> Turns<K, P, T> {
    /// At most `waiting_max` wait at the same time.
    pub fn new(waiting_max: usize) -> Self {
        Self { waiting_max, lines: Mutex::default(), added: Notify::new() }
    }

    /// Puts `item` of `sender` at the end of `line`. If there is no room, one is taken out of the longest line and returned: of
    /// those whose sender has most there, the one that `chance`, which is below 1, points at.
    pub fn add(&self, line: K, sender: P, item: T, chance: f64) -> Option<T> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, items)) => items.push_back((sender, item)),
            None => lines.push_back((line, VecDeque::from([(sender, item)]))),
        }
        self.added.notify_one();
        let count: usize = lines.iter().map(|(_, items)| items.len()).sum();
        if count <= self.waiting_max {
            return None;
        }
        let longest = (0..lines.len()).max_by_key(|&line| lines[line].1.len())?;
        let items = &mut lines[longest].1;
        let sender = most_frequent(items.iter().map(|(sender, _)| sender))?.clone();
        let of_sender: Vec<usize> = (0..items.len()).filter(|&place| items[place].0 == sender).collect();
        let (_, left_out) = items.remove(*of_sender.get((chance * of_sender.len() as f64) as usize)?)?;
        if items.is_empty() {
            lines.remove(longest);
        }
        Some(left_out)
    }

    /// The first of the line whose turn it is, as soon as there is one.
    pub async fn next(&self) -> T {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            self.added.notified().await;
        }
    }

    fn take(&self) -> Option<T> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (line, mut items) = lines.pop_front()?;
        let (_, item) = items.pop_front()?;
        if !items.is_empty() {
            lines.push_back((line, items));
        }
        Some(item)
    }
}

/// Whoever is most often among `senders`.
pub fn most_frequent<P: Eq + Hash>(senders: impl Iterator<Item = P>) -> Option<P> {
    let mut counts = HashMap::<P, usize>::new();
    for sender in senders {
        *counts.entry(sender).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(sender, _)| sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turns: &Turns<&str, &str, String>) -> Vec<String> {
        std::iter::from_fn(|| turns.take()).collect()
    }

    #[test]
    fn lines_take_turns_however_long_one_of_them_is() {
        let turns = Turns::new(8);
        for number in 0..4 {
            assert_eq!(turns.add("flooded", "stranger", format!("f{number}"), 0.0), None);
        }
        for (line, item) in [("acme", "a0"), ("acme", "a1"), ("best", "b0")] {
            assert_eq!(turns.add(line, "twilio", item.to_owned(), 0.0), None);
        }
        assert_eq!(all(&turns), ["f0", "a0", "b0", "f1", "a1", "f2", "f3"]);
    }

    #[test]
    fn where_there_is_no_room_whoever_sends_most_is_left_out() {
        let turns = Turns::new(4);
        for number in 0..4 {
            assert_eq!(turns.add("flooded", "stranger", format!("f{number}"), 0.0), None);
        }
        // In another line, and by another sender in the same.
        assert_eq!(turns.add("acme", "twilio", "a0".to_owned(), 0.99).as_deref(), Some("f3"));
        assert_eq!(turns.add("flooded", "twilio", "t0".to_owned(), 0.0).as_deref(), Some("f0"));
        // What goes on to come takes its own place alone, the new one or an earlier one.
        assert_eq!(turns.add("flooded", "stranger", "f4".to_owned(), 0.99).as_deref(), Some("f4"));
        assert_eq!(turns.add("flooded", "stranger", "f5".to_owned(), 0.5).as_deref(), Some("f2"));
        assert_eq!(all(&turns), ["f1", "a0", "t0", "f5"]);
    }

    #[tokio::test]
    async fn who_waits_for_the_next_gets_it_when_it_comes() {
        let turns = Turns::new(4);
        let (next, left_out) = tokio::join!(turns.next(), async { turns.add("acme", "twilio", 1, 0.0) });
        assert_eq!((next, left_out), (1, None));
    }
}
