//! Status callbacks and incoming messages, read from bodies as Twilio shapes them.

use std::{fs, path::PathBuf};

use textledger::twilio::{
    Address, Channel, Form, IncomingMessage, MessageStatus, StatusCallback,
    webhook::{InvalidWebhook, OptOutType},
};

const ACCOUNT_SID: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const MESSAGE_SID: &str = "SMb0b1b2b3b4b5b6b7b8b9babbbcbdbebf";
const SERVICE_SID: &str = "MGcccccccccccccccccccccccccccccccc";

fn body_of(kind: &str, name: &str) -> Vec<u8> {
    let path: PathBuf = ["fixtures", "twilio", kind, &format!("{name}.form")].iter().collect();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names_of(kind: &str) -> Vec<String> {
    let entries = fs::read_dir(["fixtures", "twilio", kind].iter().collect::<PathBuf>()).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|file| Some(file.strip_suffix(".form")?.to_owned())).collect()
}

fn status_callback(name: &str) -> StatusCallback {
    StatusCallback::parse(&Form::parse(&body_of("status_callback", name))).unwrap()
}

fn incoming_message(name: &str) -> IncomingMessage {
    IncomingMessage::parse(&Form::parse(&body_of("incoming_message", name))).unwrap()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_status_callback_is_read_and_nothing_known_is_left_over() {
    let names = names_of("status_callback");
    assert!(names.len() >= 18);
    for name in names {
        let callback = status_callback(&name);
        assert_eq!(callback.account_sid.as_str(), ACCOUNT_SID, "{name}");
        assert_eq!(&callback.message_sid.as_str()[2..], &MESSAGE_SID[2..], "{name}");
        assert_eq!(callback.other.is_empty(), name != "new_parameters", "{name}: {:?}", callback.other);
    }
}

#[test]
fn a_status_callback_says_what_became_of_which_message() {
    for (name, status, error_code, channel, from, to) in [
        ("sms_sent", "sent", None, Channel::Sms, "+15005550006", "+14155550100"),
        ("sms_delivered", "delivered", None, Channel::Sms, "+15005550006", "+14155550100"),
        ("sms_undelivered", "undelivered", Some(30003), Channel::Sms, "+15005550006", "+14155550100"),
        ("sms_failed", "failed", Some(21610), Channel::Sms, "+15005550006", "+14155550100"),
        ("sms_queued", "queued", None, Channel::Sms, "ACME Ltd", "+14155550100"),
        ("sms_canceled", "canceled", None, Channel::Sms, "+15005550006", "+14155550100"),
        ("sms_short_code", "delivered", None, Channel::Sms, "12345", "+14155550100"),
        ("mms_delivered", "delivered", None, Channel::Sms, "+15005550006", "+14155550100"),
        ("whatsapp_sent", "sent", None, Channel::Whatsapp, "whatsapp:+14155238886", "whatsapp:+14155550100"),
        ("whatsapp_read", "read", None, Channel::Whatsapp, "whatsapp:+14155238886", "whatsapp:+14155550100"),
        (
            "whatsapp_undelivered",
            "undelivered",
            Some(63016),
            Channel::Whatsapp,
            "whatsapp:+14155238886",
            "whatsapp:+14155550100",
        ),
        (
            "whatsapp_business_scoped_user_id",
            "delivered",
            None,
            Channel::Whatsapp,
            "whatsapp:+14155238886",
            "whatsapp:CO.899759302823042",
        ),
        ("rcs_delivered", "delivered", None, Channel::Rcs, "rcs:brand_agent", "+14155550100"),
        ("rcs_read", "read", None, Channel::Rcs, "rcs:brand_agent", "rcs:+14155550100"),
        ("rcs_failed", "failed", Some(63036), Channel::Rcs, "rcs:brand_agent", "+14155550100"),
        ("deprecated_names", "delivered", None, Channel::Sms, "+15005550006", "+14155550100"),
        ("new_parameters", "teleported", None, Channel::Sms, "+15005550006", "+14155550100"),
    ] {
        let callback = status_callback(name);
        assert_eq!(callback.status, MessageStatus::parse(status), "{name}");
        assert_eq!(callback.error_code, error_code, "{name}");
        assert_eq!(callback.channel, channel, "{name}");
        assert_eq!(callback.from.unwrap().to_twilio(), from, "{name}");
        assert_eq!(callback.to.unwrap().to_twilio(), to, "{name}");
    }
    let delivered = status_callback("sms_delivered");
    assert_eq!(delivered.raw_dlr_done_date.as_deref(), Some("2611221230"));
    assert_eq!(delivered.messaging_service_sid.unwrap().as_str(), SERVICE_SID);
    let failed = status_callback("sms_failed");
    assert_eq!(failed.error_message.as_deref(), Some("Attempt to send to unsubscribed recipient"));
}

#[test]
fn parameters_that_twilio_did_not_have_are_kept_in_their_order() {
    let expected = owned(&[("RegionOrigin", "us1"), ("NewFlag", ""), ("Tags", r#"{"a":"é 1"}"#)]);
    assert_eq!(status_callback("new_parameters").other, expected);
    let expected = owned(&[("NumMedia", "many"), ("OptOutType", "PAUSE"), ("Sentiment", "glad")]);
    let message = incoming_message("new_parameters");
    assert_eq!(message.other, expected);
    assert_eq!((message.num_media, message.opt_out_type), (0, None));
}

/// A status callback of as little as is required, and `more`.
fn status_callback_with(more: &str) -> Result<StatusCallback, InvalidWebhook> {
    let body = format!("AccountSid={ACCOUNT_SID}&MessageSid={MESSAGE_SID}&MessageStatus=sent&{more}");
    StatusCallback::parse(&Form::parse(body.as_bytes()))
}

#[test]
fn an_error_code_is_a_number_or_is_absent() {
    for (more, error_code, other) in [
        ("", None, &[][..]),
        ("ErrorCode=", None, &[]),
        ("ErrorCode=0", None, &[]),
        ("ErrorCode=null", None, &[]),
        ("ErrorCode=30008", Some(30008), &[]),
        ("ErrorCode=E30008", None, &[("ErrorCode", "E30008")]),
        ("ErrorCode=-1", None, &[("ErrorCode", "-1")]),
        ("ErrorCode=4294967296", None, &[("ErrorCode", "4294967296")]),
    ] {
        let callback = status_callback_with(more).unwrap();
        assert_eq!(callback.error_code, error_code, "{more}");
        assert_eq!(callback.other, owned(other), "{more}");
    }
}

#[test]
fn the_channel_is_the_prefix_that_is_said_or_else_that_of_an_address() {
    for (more, channel) in [
        ("", Channel::Sms),
        ("To=whatsapp:%2B14155550100&From=%2B15005550006", Channel::Whatsapp),
        ("From=rcs:brand&To=%2B14155550100", Channel::Rcs),
        ("ChannelPrefix=rcs&From=%2B15005550006", Channel::Rcs),
        ("ChannelPrefix=whatsapp", Channel::Whatsapp),
        ("ChannelPrefix=messenger&To=whatsapp:1", Channel::Whatsapp),
    ] {
        assert_eq!(status_callback_with(more).unwrap().channel, channel, "{more}");
    }
    assert_eq!(
        status_callback_with("ChannelPrefix=messenger").unwrap().other,
        owned(&[("ChannelPrefix", "messenger")])
    );
}

#[test]
fn what_is_not_required_and_cannot_be_read_is_kept() {
    let more = "To=a%0Ab&From=whatsapp:&MessagingServiceSid=MG1&RawDlrDoneDate=&ErrorMessage=";
    let callback = status_callback_with(more).unwrap();
    assert_eq!((callback.to, callback.from, callback.messaging_service_sid), (None, None, None));
    assert_eq!((callback.raw_dlr_done_date, callback.error_message), (None, None));
    let expected = [("To", "a\nb"), ("From", "whatsapp:"), ("MessagingServiceSid", "MG1")];
    assert_eq!(callback.other, owned(&expected));
}

#[test]
fn what_is_required_is_named_when_it_is_absent_or_malformed() {
    let message_sid = format!("MessageSid={MESSAGE_SID}");
    let account_sid = format!("AccountSid={ACCOUNT_SID}");
    for (pieces, error) in [
        (vec!["MessageStatus=sent", &account_sid], InvalidWebhook::Missing("MessageSid")),
        (vec!["MessageStatus=sent", &account_sid, "MessageSid="], InvalidWebhook::Missing("MessageSid")),
        (vec!["MessageStatus=sent", &account_sid, "MessageSid=SM1"], InvalidWebhook::Malformed("MessageSid")),
        (vec!["MessageStatus=sent", &account_sid, "SmsSid=SM1"], InvalidWebhook::Malformed("SmsSid")),
        (vec!["MessageStatus=sent", &message_sid], InvalidWebhook::Missing("AccountSid")),
        (vec!["MessageStatus=sent", &message_sid, "AccountSid=1"], InvalidWebhook::Malformed("AccountSid")),
        (vec![&message_sid, &account_sid, "MessageStatus="], InvalidWebhook::Missing("MessageStatus")),
    ] {
        let body = pieces.join("&");
        assert_eq!(StatusCallback::parse(&Form::parse(body.as_bytes())), Err(error), "{body}");
    }
    let body = format!("{account_sid}&{message_sid}&From=%2B14155550100");
    assert_eq!(IncomingMessage::parse(&Form::parse(body.as_bytes())), Err(InvalidWebhook::Missing("To")));
    assert_eq!(InvalidWebhook::Missing("To").to_string(), "the parameter To is missing");
}

#[test]
fn every_incoming_message_is_read_and_nothing_known_is_left_over() {
    let names = names_of("incoming_message");
    assert!(names.len() >= 19);
    for name in names {
        let message = incoming_message(&name);
        let channel = match name.split('_').next() {
            Some("whatsapp") => Channel::Whatsapp,
            Some("rcs") => Channel::Rcs,
            _ => Channel::Sms,
        };
        assert_eq!(message.account_sid.as_str(), ACCOUNT_SID, "{name}");
        assert_eq!(&message.message_sid.as_str()[2..], &MESSAGE_SID[2..], "{name}");
        assert_eq!(message.channel, channel, "{name}");
        assert_eq!(message.num_media as usize, message.media.len(), "{name}");
        assert_eq!(message.other.is_empty(), name != "new_parameters", "{name}: {:?}", message.other);
    }
}

#[test]
fn a_body_is_read_untrimmed() {
    for (name, body) in [
        ("sms", " 1+1=2 & é 👍\n"),
        ("sms_empty", ""),
        ("sms_stop", "Stop "),
        ("sms_stop_advanced_opt_out", "ARRET"),
        ("whatsapp_button", "Yes, please"),
    ] {
        assert_eq!(incoming_message(name).body, body, "{name}");
    }
}

#[test]
fn an_opt_out_type_is_read_where_twilio_gives_one() {
    for (name, opt_out_type) in [
        ("sms_stop", None),
        ("sms_stop_advanced_opt_out", Some(OptOutType::Stop)),
        ("sms_start_advanced_opt_out", Some(OptOutType::Start)),
        ("sms_help_advanced_opt_out", Some(OptOutType::Help)),
    ] {
        assert_eq!(incoming_message(name).opt_out_type, opt_out_type, "{name}");
    }
    assert_eq!(OptOutType::parse("stop"), Some(OptOutType::Stop));
}

#[test]
fn media_segments_and_what_whatsapp_adds_are_read() {
    let media = incoming_message("mms").media;
    assert!(media[0].url.ends_with(&format!("/Media/ME{}", "1".repeat(32))));
    assert_eq!(media[0].content_type.as_deref(), Some("image/jpeg"));
    assert!(media[1].url.ends_with(&format!("/Media/ME{}", "2".repeat(32))));
    assert_eq!(media[1].content_type.as_deref(), Some("text/x-vcard"));

    let long = incoming_message("sms_two_segments");
    assert_eq!((long.num_segments, long.messaging_service_sid.unwrap().as_str()), (2, SERVICE_SID));

    let button = incoming_message("whatsapp_button");
    assert_eq!(button.button_text.as_deref(), Some("Yes, please"));
    assert_eq!(button.button_payload.as_deref(), Some("confirm-42"));
    assert_eq!(button.profile_name.as_deref(), Some("Zoë 🦊"));
    assert_eq!(button.wa_id.as_deref(), Some("14155550100"));
    assert_eq!(
        button.original_replied_message_sid.as_ref().unwrap().as_str(),
        format!("SM{}", "e".repeat(32))
    );

    assert_eq!(button.user_id_and_number(), None);
    let named = IncomingMessage { external_user_id: Some("whatsapp:US.444555666".to_owned()), ..button };
    let both = named.user_id_and_number().unwrap();
    assert_eq!((both.0.as_str(), both.1.as_str()), ("US.444555666", "+14155550100"));
    let by_id = IncomingMessage { from: Address::parse("whatsapp:US.444555666").unwrap(), ..named };
    assert_eq!(by_id.user_id_and_number(), Some(both));
    for wa_id in [None, Some("US.444555666".to_owned())] {
        assert_eq!(IncomingMessage { wa_id, ..by_id.clone() }.user_id_and_number(), None);
    }

    let hidden = incoming_message("whatsapp_business_scoped_user_id");
    assert_eq!(hidden.from.bare().as_str(), "CO.899759302823042");
    assert_eq!(hidden.external_user_id.as_deref(), Some("whatsapp:CO.899759302823042"));
    assert_eq!((hidden.wa_id, hidden.username.as_deref()), (None, Some("zoe.fox")));
}

#[test]
fn nothing_personal_is_shown() {
    for name in names_of("incoming_message") {
        let message = incoming_message(&name);
        let shown = format!("{message:?}");
        for text in ["4155550100", "5005550006", "899759302823042", "Zo", "api.twilio.com", "San Francisco"] {
            assert!(!shown.contains(text), "{name} shows {text}: {shown}");
        }
        assert!(message.body.is_empty() || !shown.contains(&message.body), "{name}: {shown}");
    }
    for name in names_of("status_callback") {
        let shown = format!("{:?}", status_callback(&name));
        for text in ["4155550100", "5005550006", "899759302823042", "order 42", "unsubscribed"] {
            assert!(!shown.contains(text), "{name} shows {text}: {shown}");
        }
    }
}
