//! Requests as the document tells them. They are read field by field ([`super::super::fields`]), so that all faults are
//! reported at once; the schema-driven tests hold the two against each other.
#![allow(dead_code, reason = "they are read by their schemas alone")]

use utoipa::ToSchema;

/// A message to one person. One of `message`, `media_url` and `content_sid` has to be given.
#[derive(ToSchema)]
#[schema(example = json!({ "to_number": "+14155552671", "message": "Your inspection is due tomorrow." }))]
pub struct SendRequest {
    /// The recipient: E.164, or a number of the default region; over WhatsApp with or without `whatsapp:`.
    pub to_number: String,
    /// The text, of at most 1600 characters.
    #[schema(max_length = 1600)]
    pub message: Option<String>,
    /// The sender, instead of the configured one.
    pub from_number: Option<String>,
    /// The messaging service that chooses the sender.
    #[schema(pattern = "^MG[0-9a-fA-F]{32}$")]
    pub messaging_service_sid: Option<String>,
    /// Up to 10 public https URLs of media, which Twilio fetches.
    #[schema(value_type = Option<Object>)]
    pub media_url: Option<serde_json::Value>,
    /// A content template.
    #[schema(pattern = "^HX[0-9a-fA-F]{32}$")]
    pub content_sid: Option<String>,
    /// The template's variables: an object, or its JSON as text.
    #[schema(value_type = Option<Object>)]
    pub content_variables: Option<serde_json::Value>,
    /// Not before this time (RFC 3339).
    #[schema(format = DateTime)]
    pub send_at: Option<String>,
    /// Seconds the message may wait at Twilio.
    #[schema(minimum = 1, maximum = 36000)]
    pub validity_period: Option<u32>,
    /// What it is about; `emergency` is held back by nothing but consent.
    #[schema(max_length = 255)]
    pub category: Option<String>,
    /// Your user it is for.
    #[schema(max_length = 255)]
    pub user_id: Option<String>,
}

/// A message to many. One of `message`, `media_url` and `content_sid` has to be given.
#[derive(ToSchema)]
#[schema(example = json!({ "phone_numbers": ["+14155552671", "+14155552672"], "message": "The site is closed today." }))]
pub struct BulkRequest {
    /// The recipients; each is sent to once.
    #[schema(min_items = 1, max_items = 10000)]
    pub phone_numbers: Vec<String>,
    /// The text, of at most 1600 characters.
    #[schema(max_length = 1600)]
    pub message: Option<String>,
    /// The sender, instead of the configured one.
    pub from_number: Option<String>,
    /// The messaging service that chooses the sender.
    #[schema(pattern = "^MG[0-9a-fA-F]{32}$")]
    pub messaging_service_sid: Option<String>,
    /// Up to 10 public https URLs of media, which Twilio fetches.
    #[schema(value_type = Option<Object>)]
    pub media_url: Option<serde_json::Value>,
    /// A content template.
    #[schema(pattern = "^HX[0-9a-fA-F]{32}$")]
    pub content_sid: Option<String>,
    /// The template's variables: an object, or its JSON as text.
    #[schema(value_type = Option<Object>)]
    pub content_variables: Option<serde_json::Value>,
    /// Not before this time (RFC 3339).
    #[schema(format = DateTime)]
    pub send_at: Option<String>,
    /// Seconds the message may wait at Twilio.
    #[schema(minimum = 1, maximum = 36000)]
    pub validity_period: Option<u32>,
    /// What it is about; `emergency` goes first and is held back by nothing but consent.
    #[schema(max_length = 255)]
    pub category: Option<String>,
    /// Your user it is for.
    #[schema(max_length = 255)]
    pub user_id: Option<String>,
}

/// A notice to users.
#[derive(ToSchema)]
#[schema(example = json!({ "user_ids": ["ada"], "message": "Please approve request 7.", "category": "workflow_approval" }))]
pub struct NotifyRequest {
    /// The users; each is told once.
    #[schema(min_items = 1, max_items = 1000)]
    pub user_ids: Vec<String>,
    /// The text, of at most 1600 characters.
    #[schema(max_length = 1600)]
    pub message: Option<String>,
    /// What it is about; `emergency` goes first and is held back by nothing but consent.
    pub category: Category,
    /// Up to 10 public https URLs of media, which Twilio fetches.
    #[schema(value_type = Option<Object>)]
    pub media_url: Option<serde_json::Value>,
    /// A template for WhatsApp, instead of the text.
    #[schema(pattern = "^HX[0-9a-fA-F]{32}$")]
    pub content_sid: Option<String>,
    /// The template's variables: an object, or its JSON as text.
    #[schema(value_type = Option<Object>)]
    pub content_variables: Option<serde_json::Value>,
    /// An SMS if the WhatsApp message does not arrive.
    pub fallback: Option<FallbackRequest>,
}

/// What a notice can be about.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Category {
    /// Something waits for approval.
    WorkflowApproval,
    /// Something has been assigned.
    TaskAssignment,
    /// An inspection is due.
    InspectionReminder,
    /// Danger.
    Emergency,
    /// Somebody is invited.
    UserInvitation,
    /// Anything else.
    General,
}

/// What follows if the first message does not arrive.
#[derive(ToSchema)]
pub struct FallbackRequest {
    /// The channel.
    pub channel: FallbackChannel,
    /// How long the first may take, in seconds.
    #[schema(minimum = 1, maximum = 86400)]
    pub after_s: u32,
}

/// The channel of what follows.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum FallbackChannel {
    /// SMS.
    Sms,
}

/// A person's wish.
#[derive(ToSchema)]
#[schema(example = json!({ "phone_number": "+14155552671", "channel": "sms", "state": "opted_in", "evidence": "signed form of 2026-01-31" }))]
pub struct ConsentRequest {
    /// The person.
    pub phone_number: String,
    /// Which channel.
    pub channel: super::ConsentChannel,
    /// What they wish.
    pub state: Wish,
    /// How it came to you; `api` if left out.
    pub source: Option<ClaimedSource>,
    /// What shows it.
    #[schema(max_length = 1000)]
    pub evidence: Option<String>,
}

/// What a person can wish.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Wish {
    /// To get messages.
    OptedIn,
    /// To get none.
    OptedOut,
}

/// What a caller may name as the source of a wish.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ClaimedSource {
    /// The caller.
    Api,
    /// A file.
    Import,
    /// The person's preferences.
    Preferences,
    /// A link that the person followed.
    Link,
}

/// Preferences to change; what is left out stays.
#[derive(ToSchema)]
#[schema(example = json!({ "phone_number": "+14155552671", "sms_enabled": true, "whatsapp_enabled": true }))]
pub struct PreferencesRequest {
    /// SMS on or off.
    pub sms_enabled: Option<bool>,
    /// WhatsApp on or off.
    pub whatsapp_enabled: Option<bool>,
    /// The number; null for none.
    pub phone_number: Option<String>,
}

/// Settings to change; what is left out stays, null clears. The first ones need `account_sid` and `auth_token`.
#[derive(ToSchema)]
#[schema(example = json!({ "phone_number": "+15005550006" }))]
pub struct SettingsRequest {
    /// The account.
    #[schema(pattern = "^AC[0-9a-fA-F]{32}$")]
    pub account_sid: Option<String>,
    /// Its token, which verifies webhooks, and signs calls where there is no API key. Never shown again.
    #[schema(min_length = 1, max_length = 256)]
    pub auth_token: Option<String>,
    /// A second token that webhooks may be signed with, during a rotation.
    #[schema(min_length = 1, max_length = 256)]
    pub auth_token_secondary: Option<String>,
    /// The sender of SMS and MMS.
    pub phone_number: Option<String>,
    /// The sender over WhatsApp.
    pub whatsapp_number: Option<String>,
    /// The messaging service that chooses the sender.
    #[schema(pattern = "^MG[0-9a-fA-F]{32}$")]
    pub messaging_service_sid: Option<String>,
    /// An API key that signs calls in place of the token.
    #[schema(pattern = "^SK[0-9a-fA-F]{32}$")]
    pub api_key_sid: Option<String>,
    /// Its secret.
    #[schema(min_length = 1, max_length = 256)]
    pub api_key_secret: Option<String>,
    /// Twilio's shared keys, which sign webhooks; all of them.
    #[schema(max_items = 10)]
    pub shared_keys: Option<Vec<SharedKey>>,
    /// Refuses webhooks that only an auth token signed.
    pub require_shared_key: Option<bool>,
}

/// A shared key.
#[derive(ToSchema)]
#[schema(as = SharedKeyRequest)]
pub struct SharedKey {
    /// Its id, as it is at Twilio.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// Its secret.
    #[schema(min_length = 1, max_length = 256)]
    pub secret: String,
}
