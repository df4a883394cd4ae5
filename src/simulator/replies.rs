//! What the answer to an incoming message says: TwiML, or plain text, which Twilio sends to the person as it is.
//!
//! Source: <https://www.twilio.com/docs/messaging/twiml>.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

use super::post::Answer;

/// The most messages that one answer may hold (14109).
const REPLIES_MAX: usize = 10;

/// A message in the answer to an incoming one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text.
    pub body: String,
    /// Media files.
    pub num_media: usize,
    /// Where its callbacks go: `action`, or `statusCallback` as it was called before.
    pub status_callback: Option<String>,
}

/// The messages that `answer` asks to send; none if it is no 2xx or can not be understood, which Twilio reports.
pub fn read(answer: &Answer) -> Vec<Reply> {
    if !(200..300).contains(&answer.status) || answer.body.is_empty() {
        return Vec::new();
    }
    let content_type = answer.content_type.as_deref().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/plain" => vec![Reply { body: answer.body.clone(), ..Reply::default() }],
        "text/xml" | "application/xml" | "text/html" => match read_twiml(&answer.body) {
            Ok(replies) if replies.len() <= REPLIES_MAX => replies,
            Ok(_) => {
                tracing::warn!(code = 14109, "the answer to an incoming message holds too many messages");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(code = 12100, %error, "the answer to an incoming message is no TwiML");
                Vec::new()
            }
        },
        _ => {
            tracing::warn!(
                code = 12300,
                "the answer to an incoming message has no content type that is TwiML's"
            );
            Vec::new()
        }
    }
}

fn read_twiml(document: &str) -> Result<Vec<Reply>, quick_xml::Error> {
    let mut reader = Reader::from_str(document);
    let mut replies: Vec<Reply> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    // A message's text is either its own or that of its `<Body>`; then what stands around that is mere layout.
    let mut own_text = String::new();
    loop {
        match reader.read_event()? {
            Event::Start(element) => {
                path.push(element.name().as_ref().to_owned());
                if is_at(&path, &["Response", "Message"]) {
                    own_text.clear();
                    replies.push(Reply { status_callback: status_callback(&element)?, ..Reply::default() });
                }
            }
            Event::End(_) => {
                if is_at(&path, &["Response", "Message"])
                    && let Some(reply) = replies.last_mut()
                    && reply.body.is_empty()
                {
                    reply.body = own_text.trim().to_owned();
                }
                if is_at(&path, &["Response", "Message", "Media"])
                    && let Some(reply) = replies.last_mut()
                {
                    reply.num_media += 1;
                }
                path.pop();
            }
            Event::Text(text) => add_text(&path, &mut replies, &mut own_text, &text),
            Event::CData(text) => add_text(&path, &mut replies, &mut own_text, &text),
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref()? {
                    Some(character) => character.to_string(),
                    None => quick_xml::escape::resolve_xml_entity(&reference).unwrap_or_default().to_owned(),
                };
                add_text(&path, &mut replies, &mut own_text, &text);
            }
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    replies.retain(|reply| !reply.body.is_empty() || reply.num_media > 0);
    Ok(replies)
}

fn is_at(path: &[String], names: &[&str]) -> bool {
    path.iter().map(String::as_str).eq(names.iter().copied())
}

fn add_text(path: &[String], replies: &mut [Reply], own_text: &mut String, text: &str) {
    if is_at(path, &["Response", "Message"]) {
        own_text.push_str(text);
    } else if is_at(path, &["Response", "Message", "Body"])
        && let Some(reply) = replies.last_mut()
    {
        reply.body.push_str(text);
    }
}

fn status_callback(element: &BytesStart<'_>) -> Result<Option<String>, quick_xml::Error> {
    for name in ["action", "statusCallback"] {
        if let Some(attribute) = element.try_get_attribute(name)? {
            return Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(content_type: &str, body: &str) -> Vec<String> {
        let answer = Answer { status: 200, content_type: Some(content_type.into()), body: body.into() };
        read(&answer).into_iter().map(|reply| reply.body).collect()
    }

    #[test]
    fn a_document_without_messages_says_nothing() {
        for body in
            ["", "<Response/>", "<Response></Response>", "<Response><Message/></Response>", "<a", "OK"]
        {
            assert!(replies("text/xml", body).is_empty(), "{body}");
        }
        assert!(replies("application/json", "{}").is_empty());
    }

    #[test]
    fn messages_are_read_with_their_references() {
        let document = r#"<?xml version="1.0" encoding="UTF-8"?>
            <Response>
              <Message>Tom &amp; Jo &#128512;</Message>
              <Message>
                <Body>See <![CDATA[<this>]]></Body><Media>https://a.example/1</Media>
              </Message>
              <Redirect>https://a.example/</Redirect>
            </Response>"#;
        assert_eq!(replies("text/xml; charset=utf-8", document), ["Tom & Jo 😀", "See <this>"]);
        let answer = Answer { status: 200, content_type: Some("text/xml".into()), body: document.into() };
        assert_eq!(read(&answer)[1].num_media, 1);
    }

    #[test]
    fn plain_text_goes_to_the_person_as_it_is() {
        assert_eq!(replies("text/plain; charset=utf-8", "OK"), ["OK"]);
    }

    #[test]
    fn a_failure_says_nothing() {
        let answer = Answer { status: 500, content_type: Some("text/plain".into()), body: "Oops".into() };
        assert!(read(&answer).is_empty());
    }

    #[test]
    fn a_message_may_name_where_its_callbacks_go() {
        let document = r#"<Response><Message action="/status?a=1&amp;b=2">Hi</Message></Response>"#;
        let answer = Answer { status: 200, content_type: Some("text/xml".into()), body: document.into() };
        assert_eq!(read(&answer)[0].status_callback.as_deref(), Some("/status?a=1&b=2"));
    }

    #[test]
    fn more_than_ten_messages_are_none() {
        let document = format!("<Response>{}</Response>", "<Message>Hi</Message>".repeat(11));
        assert!(replies("text/xml", &document).is_empty());
    }
}
