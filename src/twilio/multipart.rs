//! A form in parts, `multipart/form-data`, which Twilio's API takes beside the usual encoding. A part is a name and a value;
//! what it says of a file or a type is not looked at.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc7578>.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, stream};

use super::Form;

/// The media type.
pub const MEDIA_TYPE: &str = "multipart/form-data";

/// Reads `body`, which was declared as `content_type`, and writes the same form as it stands in a URL. `None` if it cannot be
/// read to its end, or a part has no name.
pub fn to_url_encoded(content_type: &str, body: Bytes) -> Option<String> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    let body = stream::once(async { Ok::<_, Infallible>(body) });
    let mut parts = multer::Multipart::new(body, boundary);
    let pairs = async {
        let mut pairs = Vec::new();
        while let Some(part) = parts.next_field().await.ok()? {
            let name = part.name()?.to_owned();
            pairs.push((name, part.bytes().await.ok()?));
        }
        Some(pairs)
    };
    // All of the body is there, so that nothing is waited for.
    let pairs = pairs.now_or_never()??;
    Some(pairs.iter().map(|(name, value)| (name, value)).collect::<Form>().encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<String> {
        to_url_encoded("multipart/form-data; boundary=edge", body.to_owned().into())
    }

    fn part(head: &str, value: &str) -> String {
        format!("--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    #[test]
    fn parts_are_the_pairs_of_a_form() {
        let (to, body, empty) = (
            part("name=\"To\"", "+14155550100"),
            part("name=\"Body\"", "a=b&c\r\nd é"),
            part("name=\"Body\"; filename=\"a\"", ""),
        );
        assert_eq!(
            read(&format!("{to}{body}{empty}--edge--\r\n")).as_deref(),
            Some("To=%2B14155550100&Body=a%3Db%26c%0D%0Ad+%C3%A9&Body=")
        );
        assert_eq!(read("--edge--\r\n").as_deref(), Some(""));
    }

    #[test]
    fn parts_without_a_name_or_an_end_are_no_form() {
        for body in [
            String::new(),
            "To=1".to_owned(),
            format!("{}--edge--", part("filename=\"a\"", "1")),
            part("name=\"To\"", "1"),
            "--edge\r\nContent-Disposition: form-data; name=\"To\"".to_owned(),
            part("name=\"To\"", "1").replace("edge", "other"),
        ] {
            assert_eq!(read(&body), None, "{body}");
        }
        assert_eq!(to_url_encoded("multipart/form-data", "--edge--".into()), None);
    }
}
