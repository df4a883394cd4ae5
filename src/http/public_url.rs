//! The URL by which Twilio reaches us, and what it makes of a request.

/// The configured URL, cut where a proxy may cut it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    prefix: String,
}

impl PublicUrl {
    /// Takes `scheme://host`, with a port and a path prefix if it has them, and no slash at its end.
    pub fn new(url: &str) -> Self {
        let authority = url.find("://").map_or(0, |at| at + "://".len());
        let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
        let (origin, prefix) = url.split_at(path);
        Self { origin: origin.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// The path in front of ours; empty if there is none.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL by which Twilio asked for `target` (path and query as received), whether a proxy took the prefix off or
    /// left it on.
    pub fn of(&self, target: &str) -> String {
        let has_prefix = target.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('/'));
        let prefix = if has_prefix { "" } else { &self.prefix };
        format!("{}{prefix}{target}", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_there_once_whatever_a_proxy_did_to_it() {
        let url = PublicUrl::new("https://sms.example.com:8443/a/b/");
        assert_eq!(url.prefix(), "/a/b");
        for target in ["/webhooks/twilio/status?id=1", "/a/b/webhooks/twilio/status?id=1"] {
            assert_eq!(url.of(target), "https://sms.example.com:8443/a/b/webhooks/twilio/status?id=1");
        }
        assert_eq!(url.of("/a/bc"), "https://sms.example.com:8443/a/b/a/bc");
        let plain = PublicUrl::new("http://127.0.0.1:8080");
        assert_eq!((plain.prefix(), plain.of("/x?y")), ("", "http://127.0.0.1:8080/x?y".to_owned()));
    }
}
