//! Whether the store is the one that this installation knew: its identity, and how often consent has changed in it.
//!
//! A store that comes back empty, or as it was a while ago, answers like any other, and does not know who said STOP. So a store
//! carries a random identity, its [`Mark`], and counts the changes of consent in every partition. A process remembers both
//! ([`Known`]) and hands them to each step by which a message leaves, and to what records what Twilio told: the store compares them
//! in that step, and does nothing if the identity is another or the count a smaller one. The error is [`Error::NotKnown`].
//!
//! Once that was found, the store refuses every write of this process, until [`Known::trust`].

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Error, Known};
use crate::domain::{Organization, UnixMs};

/// Former identities that a mark names at the most: a process that was away for longer has to be told.
const FORMER_MAX: usize = 16;

/// The identity of a store: 128 random bits, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct StoreId(String);

/// Why a text is no [`StoreId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a store's identity is 32 digits and letters from a to f")]
pub struct InvalidStoreId;

impl StoreId {
    /// One that no store has yet.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, InvalidStoreId> {
        let is_one = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_one.then(|| Self(text.to_owned())).ok_or(InvalidStoreId)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StoreId {
    type Error = InvalidStoreId;

    fn try_from(text: String) -> Result<Self, InvalidStoreId> {
        Self::parse(&text)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its identity.
    pub id: StoreId,
    /// In place of which it has been accepted, the last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_place_of: Vec<Former>,
}

/// A store in place of which another one was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its identity.
    pub id: StoreId,
    /// Changes of consent that were seen in it, in all.
    pub changes: u64,
    /// When the other one was accepted.
    pub accepted_at: UnixMs,
}

impl Mark {
    /// That of a store with a new identity.
    pub fn new() -> Self {
        Self { id: StoreId::random(), in_place_of: Vec::new() }
    }

    /// That of a store which is accepted in place of `former` ones, the last first. Its identity is a new one, so that a copy of
    /// the store from before is none that was accepted.
    pub fn accepted(former: impl IntoIterator<Item = Former>) -> Self {
        let mut in_place_of: Vec<Former> = Vec::new();
        for former in former {
            if in_place_of.iter().all(|known| known.id != former.id) {
                in_place_of.push(former);
            }
        }
        in_place_of.truncate(FORMER_MAX);
        Self { id: StoreId::random(), in_place_of }
    }

    /// What this store is called, and those in place of which it was accepted.
    pub fn names(&self) -> Vec<String> {
        let former = self.in_place_of.iter().map(|former| &former.id);
        std::iter::once(&self.id).chain(former).map(StoreId::to_string).collect()
    }

    /// Whether the store `id` is this one, or one in place of which this one was accepted.
    pub fn stands_for(&self, id: &StoreId) -> bool {
        self.id == *id || self.in_place_of.iter().any(|former| former.id == *id)
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a store is not the one that was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It has no identity: it is empty, or was never used by this version.
    NoIdentity {
        /// The one that was known.
        known: StoreId,
        /// The changes of consent that were seen in it.
        known_changes: u64,
    },
    /// It has another identity.
    Another {
        /// The one that was known.
        known: StoreId,
        /// The changes of consent that were seen in it.
        known_changes: u64,
        /// The one that was found.
        found: StoreId,
        /// The changes of consent in that, as far as they were counted.
        found_changes: u64,
    },
    /// It has fewer changes of consent than were seen: a part of it was lost, or it is a copy of an earlier time.
    FewerChanges {
        /// Its identity.
        known: StoreId,
        /// Whose changes.
        organization: Organization,
        /// In which partition.
        partition: u16,
        /// How many were seen.
        known_changes: u64,
        /// How many there are.
        found_changes: u64,
    },
}

impl Mismatch {
    /// The kind, in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Mismatch::NoIdentity { .. } => "no_identity",
            Mismatch::Another { .. } => "another_identity",
            Mismatch::FewerChanges { .. } => "fewer_changes",
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::NoIdentity { known, known_changes } => write!(
                f,
                "it has no identity (changes of consent: 0), and {known} was known (changes of consent: {known_changes})"
            ),
            Mismatch::Another { known, known_changes, found, found_changes } => write!(
                f,
                "its identity is {found} (changes of consent: {found_changes}), and {known} was known (changes of consent: \
                 {known_changes})"
            ),
            Mismatch::FewerChanges { known, organization, partition, known_changes, found_changes } => {
                write!(
                    f,
                    "its identity is {known}, as was known, with changes of consent of {organization}: {found_changes} in partition \
                 {partition}, where {known_changes} were seen"
                )
            }
        }
    }
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Recognition {
    /// What this process knows of the store.
    fn known(&self) -> &Known;

    /// What the store says of itself; `None` if it was never said.
    async fn mark(&self) -> Result<Option<Mark>, Error>;

    /// Has the store say `after` of itself, if it still says `before`; returns whether it did. It is done whatever is known of the
    /// store.
    async fn replace_mark(&self, before: Option<&Mark>, after: &Mark) -> Result<bool, Error>;

    /// How often consent has changed in the store's partitions of `organization`, for those in which it has.
    async fn consent_counts(&self, organization: &Organization) -> Result<Vec<(u16, u64)>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_store_stands_for_those_before_it_and_none_of_them_for_it() {
        let former = |mark: &Mark| Former { id: mark.id.clone(), changes: 1, accepted_at: UnixMs::EPOCH };
        let first = Mark::new();
        let second = Mark::accepted([former(&first)]);
        let third = Mark::accepted([former(&second)].into_iter().chain(second.in_place_of.clone()));
        assert!(third.stands_for(&third.id) && third.stands_for(&second.id) && third.stands_for(&first.id));
        assert!(!second.stands_for(&third.id) && !first.stands_for(&second.id));
        let read: Mark = serde_json::from_str(&serde_json::to_string(&third).unwrap()).unwrap();
        assert_eq!(read, third);
    }

    #[test]
    fn what_a_mark_names_has_a_bound() {
        let mut mark = Mark::new();
        for _ in 0..2 * FORMER_MAX {
            let former = Former { id: mark.id.clone(), changes: 0, accepted_at: UnixMs::EPOCH };
            mark = Mark::accepted([former.clone(), former].into_iter().chain(mark.in_place_of));
        }
        assert_eq!(mark.in_place_of.len(), FORMER_MAX);
    }

    #[test]
    fn an_identity_is_128_bits_in_hexadecimal() {
        assert_eq!(StoreId::parse(StoreId::random().as_str()).unwrap().as_str().len(), 32);
        for text in ["", "0", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdeg"] {
            assert!(StoreId::parse(text).is_err(), "{text}");
        }
    }
}
