//! The answer to an incoming message: a TwiML document that says nothing, or one message.
//!
//! It must not be sent as `text/plain`: Twilio would text the document to the person.
//!
//! Source: <https://www.twilio.com/docs/messaging/twiml>.

use std::io;

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

/// The content type of the document.
pub const CONTENT_TYPE: &str = "text/xml";

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Silence,
    /// One message with this text. A blank text is silence, for Twilio refuses a message without a body.
    Message(String),
}

impl Reply {
    /// The document. Characters that XML 1.0 can not hold are left out.
    pub fn to_xml(&self) -> String {
        let document = self.write().expect("writing to memory does not fail");
        String::from_utf8(document).expect("XML made of strings is UTF-8")
    }

    fn write(&self) -> io::Result<Vec<u8>> {
        let mut writer = Writer::new(Vec::new());
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let response = writer.create_element("Response");
        match self.text() {
            None => response.write_empty()?,
            Some(text) => response.write_inner_content(|writer| {
                writer.create_element("Message").write_text_content(BytesText::new(&text)).map(drop)
            })?,
        };
        Ok(writer.into_inner())
    }

    fn text(&self) -> Option<String> {
        let Reply::Message(text) = self else { return None };
        let text: String = text.chars().filter(|&character| is_xml(character)).collect();
        (!text.trim().is_empty()).then_some(text)
    }
}

/// Whether XML 1.0 can hold `character`, escaped or not: <https://www.w3.org/TR/xml/#charsets>.
fn is_xml(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::Reader;

    use super::*;

    const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

    fn message(text: &str) -> String {
        Reply::Message(text.into()).to_xml()
    }

    #[test]
    fn silence_is_an_empty_response() {
        let silence = format!("{DECLARATION}<Response/>");
        assert_eq!(Reply::Silence.to_xml(), silence);
        for blank in ["", " \n", "\u{0}", "\u{fffe}"] {
            assert_eq!(message(blank), silence);
        }
    }

    #[test]
    fn a_message_is_escaped_and_keeps_its_blanks() {
        assert_eq!(
            message(" <b>Tom & \"Jo\"</b>\n]]> é 😀 "),
            format!(
                "{DECLARATION}<Response><Message> &lt;b&gt;Tom &amp; &quot;Jo&quot;&lt;/b&gt;\n\
                 ]]&gt; é 😀 </Message></Response>"
            )
        );
    }

    #[test]
    fn characters_that_xml_can_not_hold_are_left_out() {
        assert_eq!(
            message("a\u{0}b\u{8}\u{1f}\u{fffe}\u{ffff}c\u{7f}"),
            format!("{DECLARATION}<Response><Message>abc\u{7f}</Message></Response>")
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back_from_a_well_formed_document(text in "\\PC{0,200}") {
            let document = message(&text);
            let mut reader = Reader::from_str(&document);
            let mut read = String::new();
            loop {
                match reader.read_event().unwrap() {
                    Event::Text(part) => read.push_str(&part),
                    Event::GeneralRef(name) => read.push_str(match &*name {
                        "lt" => "<",
                        "gt" => ">",
                        "amp" => "&",
                        "quot" => "\"",
                        "apos" => "'",
                        other => panic!("an unexpected reference: {other}"),
                    }),
                    Event::Eof => break,
                    _ => {}
                }
            }
            let expected = if text.trim().is_empty() { String::new() } else { text };
            prop_assert_eq!(read, expected);
        }
    }
}
