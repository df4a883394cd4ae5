//! The answer to an incoming message: a TwiML document that says nothing, or one message; and such documents of others.
//!
//! It must not be sent as `text/plain`: Twilio would text the document to the person.
//!
//! Source: <https://www.twilio.com/docs/messaging/twiml>.

use std::io;

use quick_xml::{
    Reader, Writer,
    events::{BytesDecl, BytesStart, BytesText, Event},
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

/// What an application has answered a message with, which is handed on as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// The document.
    pub xml: String,
    /// Whether it says nothing.
    pub is_silent: bool,
}

/// Why an application's answer is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTwiml {
    /// It is no XML, or not to its end.
    #[error("it is not well-formed XML")]
    Malformed,
    /// Its root is another.
    #[error("its root is not Response")]
    Root,
    /// It has Twilio ask elsewhere for what to say, of which we would know nothing.
    #[error("Redirect is not taken: answer with what it leads to")]
    Redirect,
    /// It speaks to others than the writer, who may have opted out.
    #[error("a Message with `to` or `from` is not taken: send it by the API")]
    ToOthers,
}

impl Document {
    /// Reads what was answered as `content_type`: TwiML, or as Twilio does, a plain text that is one message.
    pub fn read(content_type: &str, body: &str) -> Result<Self, NotTwiml> {
        if content_type.trim_start().to_ascii_lowercase().starts_with("text/plain") {
            let reply = Reply::Message(body.to_owned());
            return Ok(Self { is_silent: reply.text().is_none(), xml: reply.to_xml() });
        }
        // Nothing at all is how many say that they say nothing.
        if body.trim().is_empty() {
            return Ok(Self { xml: Reply::Silence.to_xml(), is_silent: true });
        }
        let mut reader = Reader::from_str(body.trim_start_matches('\u{feff}').trim_start());
        let (mut depth, mut roots, mut is_silent) = (0_usize, 0, true);
        loop {
            match reader.read_event().map_err(|_| NotTwiml::Malformed)? {
                Event::Start(element) => {
                    take_element(&element, depth)?;
                    is_silent &= depth == 0;
                    roots += usize::from(depth == 0);
                    depth += 1;
                }
                Event::Empty(element) => {
                    take_element(&element, depth)?;
                    is_silent &= depth == 0;
                    roots += usize::from(depth == 0);
                }
                Event::End(_) => depth -= 1,
                // A document of its own kind may define what it likes, such as entities.
                Event::DocType(_) => return Err(NotTwiml::Malformed),
                Event::Text(text) if depth == 0 && !text.trim().is_empty() => {
                    return Err(NotTwiml::Malformed);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match (depth, roots) {
            (0, 1) => Ok(Self { xml: body.to_owned(), is_silent }),
            (0, 0) => Err(NotTwiml::Root),
            _ => Err(NotTwiml::Malformed),
        }
    }
}

fn take_element(element: &BytesStart<'_>, depth: usize) -> Result<(), NotTwiml> {
    let name = element.local_name();
    match (depth, name.as_ref()) {
        (0, name) if name != "Response" => Err(NotTwiml::Root),
        (1, "Redirect") => Err(NotTwiml::Redirect),
        (1, "Message" | "Sms") => {
            for attribute in element.attributes() {
                let attribute = attribute.map_err(|_| NotTwiml::Malformed)?;
                if matches!(attribute.key.local_name().as_ref(), "to" | "from") {
                    return Err(NotTwiml::ToOthers);
                }
            }
            Ok(())
        }
        _ => Ok(()),
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

    #[test]
    fn an_applications_document_is_handed_on_as_it_is() {
        let said = "<?xml version=\"1.0\"?>\n<Response>\n  <Message>Hi &amp; bye<Media>https://x.example/a.png</Media></Message></Response>";
        let read = Document::read("text/xml; charset=utf-8", said).unwrap();
        assert_eq!((read.xml.as_str(), read.is_silent), (said, false));
        for silent in
            ["", " ", "<Response/>", "<Response></Response>", "<Response>\n<!-- none --></Response>"]
        {
            let read = Document::read("application/xml", silent);
            assert!(read.is_ok_and(|read| read.is_silent), "{silent}");
        }
        let plain = Document::read("text/plain", "a < b").unwrap();
        assert_eq!((plain.xml, plain.is_silent), (message("a < b"), false));
    }

    #[test]
    fn what_is_no_answer_to_the_writer_alone_is_not() {
        for (body, expected) in [
            ("Internal error", NotTwiml::Malformed),
            ("{}", NotTwiml::Malformed),
            ("<html><body/></html>", NotTwiml::Root),
            ("<Response><Message>a</Response>", NotTwiml::Malformed),
            ("<Response><Message>a</Message>", NotTwiml::Malformed),
            ("<Response/><Response/>", NotTwiml::Malformed),
            ("<!-- -->", NotTwiml::Root),
            ("<!DOCTYPE x [<!ENTITY a 'b'>]><Response/>", NotTwiml::Malformed),
            ("<Response><Redirect>https://x.example</Redirect></Response>", NotTwiml::Redirect),
            ("<Response><Message to='+14155550100'>a</Message></Response>", NotTwiml::ToOthers),
            ("<Response><Message from='+14155550100'/></Response>", NotTwiml::ToOthers),
        ] {
            assert_eq!(Document::read("text/xml", body).err(), Some(expected), "{body}");
        }
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
