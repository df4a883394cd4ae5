//! Addresses, SIDs and numbers as people type them: what is accepted prints as it reads, and a mask hides the middle.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::{
    phone,
    twilio::{
        Address, MessageSid,
        address::{is_e164, mask, mask_numbers},
    },
};

fuzz_target!(|text: &str| {
    if let Ok(address) = Address::parse(text) {
        assert_eq!(Address::parse(&address.to_twilio()).as_ref(), Ok(&address));
        assert_eq!(address.is_e164(), is_e164(address.bare()));
    }
    if let Ok(sid) = MessageSid::parse(text) {
        assert_eq!(sid.as_str(), text);
    }
    for region in [None, "US".parse().ok(), "DE".parse().ok()] {
        if let Ok(number) = phone::normalize(text, region) {
            assert!(is_e164(&number), "{number}");
        }
    }
    let masked = mask(text);
    if is_e164(text) {
        assert!(masked != text, "{masked}");
    }
    mask_numbers(text);
});
