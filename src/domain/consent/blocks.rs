//! Twilio's own blocks: which of our senders a person has silenced at Twilio.
//!
//! Twilio keeps a block for a person and a sender, or for a person and a messaging service if the sender is in one. So a
//! STOP to one sender leaves the others free, and a START to another sender does not lift it.
//!
//! Source: <https://help.twilio.com/articles/223134027>.

use serde::{Deserialize, Serialize};

use super::Route;
use crate::twilio::{BareAddress, MessagingServiceSid};

/// The most blocks that are told apart for a person on one channel. With one more, every sender counts as blocked: what
/// Twilio would have sent is then refused, and nothing that it would refuse is tried.
pub const BLOCKS_MAX: usize = 32;

/// One block of Twilio's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Block {
    /// The sender that the person wrote to, or that Twilio refused to send from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<BareAddress>,
    /// The messaging service that the sender is in, all of whose senders are blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<MessagingServiceSid>,
}

impl Block {
    /// A block of every sender: what is known is that there is one, and not of which sender.
    const OF_EVERY_SENDER: Block = Block { sender: None, service: None };

    fn is_of_every_sender(&self) -> bool {
        *self == Self::OF_EVERY_SENDER
    }

    /// Whether it is the block of `sender`, or of `service`.
    fn is_of(&self, sender: Option<&BareAddress>, service: Option<&MessagingServiceSid>) -> bool {
        let is_of_sender = sender.is_some() && self.sender.as_ref() == sender;
        let is_of_service = service.is_some() && self.service.as_ref() == service;
        is_of_sender || is_of_service
    }
}

/// The blocks that are known of one person on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "StoredBlocks")]
pub struct Blocks(Vec<Block>);

/// As blocks are stored, or were before senders were told apart.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredBlocks {
    OfEverySender(bool),
    Listed(Vec<Block>),
}

impl From<StoredBlocks> for Blocks {
    fn from(stored: StoredBlocks) -> Self {
        match stored {
            StoredBlocks::OfEverySender(false) => Self::default(),
            StoredBlocks::OfEverySender(true) => Self(vec![Block::OF_EVERY_SENDER]),
            StoredBlocks::Listed(blocks) => Self(blocks),
        }
    }
}

impl Blocks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether Twilio refuses what is sent by `route`.
    pub fn refuse(&self, route: &Route<'_>) -> bool {
        self.0.iter().any(|block| block.is_of_every_sender() || block.is_of(route.from, route.service))
    }

    /// Whether `block` is known.
    pub(super) fn hold(&self, block: &Block) -> bool {
        self.0.iter().any(|known| known.is_of_every_sender() || known == block)
    }

    /// Notes `block`.
    pub(super) fn add(&mut self, block: Block) {
        if self.hold(&block) {
            return;
        }
        if block.is_of_every_sender() || self.0.len() == BLOCKS_MAX {
            self.0 = vec![Block::OF_EVERY_SENDER];
        } else {
            self.0.push(block);
        }
    }

    /// The blocks of both.
    pub(super) fn merged(&self, other: &Blocks) -> Blocks {
        let mut merged = self.clone();
        for block in &other.0 {
            merged.add(block.clone());
        }
        merged
    }

    /// Forgets what a START to `opened` lifts: the block of that sender, and that of its service, which Twilio lifts as a
    /// whole, whether the START names the service or the block does.
    pub(super) fn lift(&mut self, opened: &Block) {
        let (sender, service) = (opened.sender.as_ref(), opened.service.as_ref());
        let lifted = self.0.iter().filter(|block| block.is_of(sender, service));
        let services: Vec<MessagingServiceSid> = lifted.filter_map(|block| block.service.clone()).collect();
        self.0.retain(|block| {
            let is_of_service = block.service.as_ref().is_some_and(|service| services.contains(service));
            !(block.is_of_every_sender() || block.is_of(sender, service) || is_of_service)
        });
    }

    /// The blocked senders and services, as Twilio writes them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|block| {
            let service = block.service.as_ref().map(MessagingServiceSid::as_str);
            block.sender.as_ref().map(BareAddress::as_str).into_iter().chain(service)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::twilio::Channel;

    fn block(sender: Option<&str>, service: Option<char>) -> Block {
        Block {
            sender: sender.map(|sender| sender.parse().unwrap()),
            service: service.map(|letter| {
                let text = format!("MG{}", letter.to_string().repeat(32));
                MessagingServiceSid::parse(&text).unwrap()
            }),
        }
    }

    fn refuse(blocks: &Blocks, from: &Block) -> bool {
        let (from, service) = (from.sender.as_ref(), from.service.as_ref());
        blocks.refuse(&Route { channel: Channel::Sms, from, service, category: None })
    }

    #[test]
    fn a_block_is_of_a_sender_or_of_its_service_until_either_is_opened() {
        let (a, b) = (block(Some("+15005550001"), None), block(Some("+15005550002"), None));
        let mut blocks = Blocks::default();
        blocks.add(a.clone());
        assert!(refuse(&blocks, &a) && !refuse(&blocks, &b));
        blocks.lift(&b);
        assert!(refuse(&blocks, &a));
        blocks.lift(&a);
        assert!(blocks.is_empty());

        let (in_pool, other) =
            (block(Some("+15005550001"), Some('a')), block(Some("+15005550002"), Some('a')));
        blocks.add(in_pool.clone());
        assert!(refuse(&blocks, &block(None, Some('a'))) && refuse(&blocks, &a));
        assert!(!refuse(&blocks, &block(None, Some('b'))));
        blocks.lift(&other);
        assert!(blocks.is_empty());
    }

    #[test]
    fn what_was_stored_before_senders_were_told_apart_blocks_all_of_them() {
        let read = |text: &str| serde_json::from_str::<Blocks>(text).unwrap();
        let mut blocks = read("true");
        let anyone = block(Some("+15005550001"), None);
        assert!(refuse(&blocks, &anyone) && refuse(&blocks, &block(None, None)));
        assert!(read("false").is_empty() && read("[]").is_empty());
        assert_eq!(read(&serde_json::to_string(&blocks).unwrap()), blocks);
        blocks.lift(&anyone);
        assert!(blocks.is_empty());
    }

    fn some_block() -> impl Strategy<Value = Block> {
        let senders = select(&[None, Some("+15005550001"), Some("+15005550002"), Some("12345")][..]);
        let services = select(&[None, Some('a'), Some('b')][..]);
        (senders, services).prop_map(|(sender, service)| block(sender, service))
    }

    proptest! {
        #[test]
        fn a_block_refuses_its_own_sender_and_a_start_there_lifts_it(
            others in prop::collection::vec(some_block(), 0..6),
            own in some_block(),
        ) {
            let mut blocks = Blocks::default();
            for other in others {
                blocks.add(other);
            }
            blocks.add(own.clone());
            prop_assert!(refuse(&blocks, &own));
            blocks.lift(&own);
            prop_assert!(!refuse(&blocks, &own));
        }

        #[test]
        fn no_more_blocks_are_kept_than_there_may_be(numbers in prop::collection::vec(0..100_u8, 0..200)) {
            let mut blocks = Blocks::default();
            for number in numbers {
                let added = block(Some(&format!("+150055500{number:02}")), None);
                blocks.add(added.clone());
                prop_assert!(refuse(&blocks, &added));
                prop_assert!(blocks.0.len() <= BLOCKS_MAX);
            }
        }
    }
}
