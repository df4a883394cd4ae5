//! The media files of messages. There is one picture, which stands for every file that a message has.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/media-resource>.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::message::{API_VERSION, Message, rfc_2822};
use crate::twilio::{AccountSid, MediaSid};

/// The path below which the files themselves are.
pub const FILES: &str = "/simulator/media";

/// What every file is.
pub const CONTENT_TYPE: &str = "image/png";

/// A picture of one point.
pub const FILE: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1f, 0x15, 0xc4, 0x89, 0x00,
    0x00, 0x00, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0x00, 0x05,
    0x00, 0x01, 0xff, 0x89, 0x99, 0x3d, 0x1d, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42,
    0x60, 0x82,
];

/// The files of `message`, by their names.
pub fn of(message: &Message) -> impl Iterator<Item = MediaSid> {
    let names = (0..message.num_media).map(|index| {
        let digest = Sha256::digest(format!("{} {index}", message.sid));
        let name = format!("ME{}", hex::encode(&digest[..16]));
        MediaSid::parse(&name).expect("it has the shape of a media SID")
    });
    names.filter(|name| !message.deleted_media.contains(name))
}

/// The file `sid` of `message`, if it has it.
pub fn find(message: &Message, sid: &str) -> Option<MediaSid> {
    of(message).find(|own| own.as_str() == sid)
}

/// The path of a file of `message`, as Twilio names it in webhooks.
pub fn path(message: &Message, file: &MediaSid, account_sid: &AccountSid) -> String {
    format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{}/Media/{file}", message.sid)
}

/// A file as the API tells of it.
pub fn resource(message: &Message, file: &MediaSid, account_sid: &AccountSid) -> Value {
    let at = rfc_2822(message.date_created);
    json!({
        "account_sid": account_sid.as_str(),
        "content_type": CONTENT_TYPE,
        "date_created": at,
        "date_updated": at,
        "parent_sid": message.sid.as_str(),
        "sid": file.as_str(),
        "uri": format!("{}.json", path(message, file, account_sid)),
    })
}

/// All files of `message`, as the API lists them at `uri`.
pub fn list(message: &Message, account_sid: &AccountSid, uri: &str) -> Value {
    let files: Vec<Value> = of(message).map(|file| resource(message, &file, account_sid)).collect();
    json!({
        "page": 0, "page_size": 50, "start": 0, "end": files.len().saturating_sub(1), "uri": uri, "first_page_uri": uri,
        "next_page_uri": null, "previous_page_uri": null, "media_list": files,
    })
}
