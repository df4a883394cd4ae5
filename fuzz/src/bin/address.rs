//! Addresses, SIDs and typed phone numbers: what is accepted prints and reads back the same, and nothing that is shown
//! masked gives its middle away.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::{
    phone,
    twilio::{
        AccountSid, Address, Channel, ContentSid, MessageSid, MessagingServiceSid,
        address::{ADDRESS_BYTES_MAX, is_e164, mask, mask_numbers},
    },
};

/// From how many characters on a text shows its ends when it is masked.
const SHOWN_FROM: usize = 7;

/// Characters that a mask hides at the least where it shows any.
const HIDDEN_MIN: usize = 3;

/// Digits in a row that are a phone number.
const NUMBER_DIGITS_MIN: usize = 7;

/// Countries with numbers of different kinds: fixed length and not, with and without a leading zero.
const REGIONS: [&str; 8] = ["US", "DE", "GB", "IN", "BR", "IT", "SM", "AR"];

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    reads_back(&text);
    hides_its_middle(&text);
    hides_every_number(&text);
    is_normalized_once(&text);
    is_a_sid_or_not(&text);
});

fn reads_back(text: &str) {
    let Ok(address) = Address::parse(text) else {
        let is_bare = Channel::parse(text.split(':').next().unwrap_or_default()).is_none();
        let is_refused =
            text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control);
        assert!(!is_bare || is_refused, "a bare address is refused for no reason");
        return;
    };
    assert_eq!(Address::parse(&address.to_twilio()).as_ref(), Ok(&address));
    assert_eq!(address.to_twilio(), text);
    assert_eq!(Address::new(address.channel(), address.bare()).as_ref(), Ok(&address));
    assert_eq!(address.is_e164(), is_e164(address.bare()));
    assert_eq!(Channel::parse(address.channel().as_str()), Some(address.channel()));
    let stored = serde_json::to_string(&address).expect("an address can be stored");
    assert_eq!(serde_json::from_str::<Address>(&stored).as_ref().ok(), Some(&address));
    for shown in [address.to_string(), format!("{address:?}")] {
        assert!(shown.ends_with(&mask(address.bare())));
    }
}

fn hides_its_middle(text: &str) {
    let characters: Vec<char> = text.chars().collect();
    let masked = mask(text);
    let shown = masked.chars().count() - "***".len();
    if characters.len() < SHOWN_FROM {
        assert_eq!(masked, "***");
    } else {
        assert!(shown + HIDDEN_MIN <= characters.len(), "{masked} hides too little");
    }
    assert!(shown <= 9, "{masked}");
}

fn hides_every_number(text: &str) {
    let masked = mask_numbers(text);
    assert_eq!(mask_numbers(&masked), masked, "what is masked stays as it is");
    // A run of digits that is left belongs to a word.
    let mut before = None;
    let mut rest = masked.as_str();
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits >= NUMBER_DIGITS_MIN {
            assert!(before.is_some_and(char::is_alphabetic), "{masked} shows a number");
        }
        let step = digits.max(first.len_utf8());
        before = rest[..step].chars().next_back();
        rest = &rest[step..];
    }
}

fn is_normalized_once(text: &str) {
    let region = REGIONS[text.len() % REGIONS.len()].parse().expect("a country");
    for region in [None, Some(region)] {
        if let Ok(number) = phone::normalize(text, region) {
            assert!(is_e164(&number), "{number:?}");
            assert_eq!(phone::normalize(&number, region).as_ref(), Ok(&number));
            assert!(Address::parse(&number).is_ok_and(|address| address.is_e164()));
        }
    }
}

fn is_a_sid_or_not(text: &str) {
    if let Ok(sid) = AccountSid::parse(text) {
        assert_eq!(sid.to_string(), text);
    }
    if let Ok(sid) = MessageSid::parse(text) {
        assert_eq!(sid.to_string(), text);
    }
    if let Ok(sid) = MessagingServiceSid::parse(text) {
        assert_eq!(sid.to_string(), text);
    }
    if let Ok(sid) = ContentSid::parse(text) {
        assert_eq!(sid.to_string(), text);
    }
}
