//! Which URLs may be fetched by Twilio for us, or called by us for somebody else: those of the public internet.
//!
//! Both come from callers. A media URL of an inner network is a mistake that Twilio would report minutes later; a
//! callback URL of one would have us knock at doors that are closed to the caller. What a name resolves to is known only
//! when it is called, so a client that calls such URLs takes [`PublicOnly`] besides.
//!
//! Source: the registries of special-purpose addresses,
//! <https://www.iana.org/assignments/iana-ipv4-special-registry> and
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// The longest URL that is taken, in characters.
pub const URL_LENGTH_MAX: usize = 4_000;

/// Why a URL is not taken. Nothing of the URL is shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// It has more than [`URL_LENGTH_MAX`] characters.
    #[error("must have at most {URL_LENGTH_MAX} characters")]
    TooLong,
    /// It cannot be read as a URL, or not by all in the same way.
    #[error("must be a whole URL, without blanks and backslashes")]
    Malformed,
    /// It is not `https`.
    #[error("must begin with https://")]
    NotHttps,
    /// It is neither `https` nor `http`.
    #[error("must begin with https:// or http://")]
    NotHttp,
    /// It holds a user name or a password.
    #[error("must not hold a user name or a password")]
    Userinfo,
    /// Its host is of this machine or of an inner network.
    #[error("must have a host that the public internet can reach")]
    NotPublic,
    /// It is where this service itself is called back.
    #[error("must not be one of this service's own webhooks")]
    OwnWebhook,
}

/// Decides whether Twilio may be told to fetch media from `url`: `https`, a public host, no user name.
///
/// A host by name is not looked up. Its port may be any.
pub fn check_media_url(url: &str) -> Result<(), UrlRefusal> {
    let url = read(url)?;
    if url.scheme() != "https" {
        return Err(UrlRefusal::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefusal::Userinfo);
    }
    if has_public_host(&url) { Ok(()) } else { Err(UrlRefusal::NotPublic) }
}

/// Decides whether callbacks may be relayed to `url`, which may be `http` and hold a user name as Twilio allows it; to a
/// host of this machine or of an inner network only if `private` ones are allowed.
///
/// A host by name is not looked up: the client that calls it resolves by [`PublicOnly`], follows no redirect and uses no
/// proxy.
pub fn check_relay_url(url: &str, private: bool) -> Result<(), UrlRefusal> {
    let url = read(url)?;
    if !["https", "http"].contains(&url.scheme()) {
        return Err(UrlRefusal::NotHttp);
    }
    if private || has_public_host(&url) { Ok(()) } else { Err(UrlRefusal::NotPublic) }
}

/// Refuses a URL to relay to that is a webhook of the service at `public_url`, in whatever way it is written: each callback
/// would make another one, or be refused for ever.
///
/// `http` and `https` on their own ports count as one, since the one is usually sent on to the other.
pub fn check_not_own_webhook(url: &str, public_url: &str) -> Result<(), UrlRefusal> {
    let (url, own) = (read(url)?, read(public_url)?);
    let host = |url: &Url| url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
    let port = |url: &Url| url.port_or_known_default().map(|port| if port == 80 { 443 } else { port });
    if host(&url) != host(&own) || port(&url) != port(&own) {
        return Ok(());
    }
    // Routes are looked for in the decoded path. What comes before a `=` or `&` decides, and that is one name of a form.
    let path = form_urlencoded::parse(url.path().as_bytes()).next().map(|(path, _)| path.into_owned());
    let path = path.unwrap_or_default();
    let below_prefix = path.strip_prefix(own.path().trim_end_matches('/'));
    let is_webhook =
        below_prefix.into_iter().chain([path.as_str()]).any(|path| path.starts_with("/webhooks/"));
    if is_webhook { Err(UrlRefusal::OwnWebhook) } else { Ok(()) }
}

fn read(text: &str) -> Result<Url, UrlRefusal> {
    if text.chars().count() > URL_LENGTH_MAX {
        return Err(UrlRefusal::TooLong);
    }
    // Readers of URLs differ on these, so that another host could be called than was looked at.
    if text
        .contains(|character: char| character == '\\' || character.is_whitespace() || character.is_control())
    {
        return Err(UrlRefusal::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UrlRefusal::Malformed)?;
    if url.has_host() { Ok(url) } else { Err(UrlRefusal::Malformed) }
}

/// Ends of names that only an inner network knows.
const INNER_SUFFIXES: [&str; 9] =
    ["localhost", "local", "internal", "localdomain", "lan", "home", "corp", "intranet", "home.arpa"];

/// Whether the host is a public address, or a name that the public internet may know.
fn has_public_host(url: &Url) -> bool {
    // Reading has turned `0x7f.1` and `2130706433` into `127.0.0.1`, and the name into lower case.
    let Some(name) = url.domain() else {
        let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        return address.is_some_and(is_public);
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_inner = |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|before| before.ends_with('.'));
    name.contains('.') && !INNER_SUFFIXES.iter().any(is_inner)
}

/// IPv4 networks that are not of the public internet.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this host
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by a provider's customers
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local; a cloud's metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays from 6to4, given up
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
];

/// Where IPv6 is of the public internet, but for [`SPECIAL_V6`].
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks within [`GLOBAL_V6`] that are not public, or lead to an IPv4 address of the caller's choice.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Behind which a network without IPv4 puts the IPv4 address that is meant.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is one of the public internet, rather than of this machine, of an inner network, or of none.
pub fn is_public(address: IpAddr) -> bool {
    let within_v6 = |address: Ipv6Addr, (network, length): (Ipv6Addr, u32)| {
        (address.to_bits() ^ network.to_bits()) >> (128 - length) == 0
    };
    match address {
        IpAddr::V4(address) => !SPECIAL_V4
            .iter()
            .any(|(network, length)| (address.to_bits() ^ network.to_bits()) >> (32 - length) == 0),
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                is_public(mapped.into())
            } else if within_v6(address, NAT64) {
                is_public(Ipv4Addr::from_bits(address.to_bits() as u32).into())
            } else {
                within_v6(address, GLOBAL_V6)
                    && !SPECIAL_V6.iter().any(|network| within_v6(address, *network))
            }
        }
    }
}

/// A name that has no public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has no public address")]
pub struct NotPublic;

/// Resolves names to their public addresses only, so that a name cannot lead a client to an inner network, not even one
/// that resolves otherwise a moment later.
///
/// A client asks no resolver for a host that is an address: those are for [`check_relay_url`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The client puts in the URL's port.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_callback_is_not_relayed_to_where_it_came_from() {
        let public = "https://sms.example.com/textledger";
        for own in [
            "https://sms.example.com/textledger/webhooks/twilio/status",
            "https://sms.example.com/webhooks/twilio/status?id=1",
            "HTTPS://SMS.Example.COM:443/textledger/webhooks/twilio/status",
            "http://sms.example.com/textledger/webhooks/twilio/inbound",
            "https://user:secret@sms.example.com./textledger/webhooks/twilio/events#rc=5",
            "https://sms.example.com/a/../textledger/./webhooks/x=y",
            "https://sms.example.com/text%6cedger/%77ebhooks/twilio/status",
            "https://sms%2eexample.com/%2e%2e/webhooks/",
        ] {
            assert_eq!(check_not_own_webhook(own, public), Err(UrlRefusal::OwnWebhook), "{own}");
        }
        for other in [
            "https://sms.example.com:8443/textledger/webhooks/twilio/status",
            "https://sms.example.com/textledger/status",
            "https://sms.example.com/other/webhooks/twilio/status",
            "https://sms.example.com/webhooks-of-another/",
            "https://example.com/webhooks/twilio/status",
        ] {
            assert_eq!(check_not_own_webhook(other, public), Ok(()), "{other}");
        }
        for (own, public) in [
            ("http://127.1:8080/webhooks/twilio/status", "http://127.0.0.1:8080"),
            ("http://[0:0::1]:8080/webhooks/twilio/status", "http://[::1]:8080"),
            ("https://b%C3%BCcher.example/webhooks/twilio/status", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(check_not_own_webhook(own, public), Err(UrlRefusal::OwnWebhook), "{own}");
        }
    }

    #[test]
    fn media_is_fetched_over_https_from_a_public_host() {
        for right in [
            "https://example.com/a.png",
            "https://example.com:8443/a.png?b=c#d",
            "HTTPS://EXAMPLE.COM./",
            "https://93.184.215.14/a.png",
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            "https://bücher.example.com/ü",
            "https://mylocal.com/",
            "https://internal.example.com/",
            "https://a.localhost.example.com/",
        ] {
            assert_eq!(check_media_url(right), Ok(()), "{right}");
        }
        for (wrong, refusal) in [
            ("http://example.com/a.png", UrlRefusal::NotHttps),
            ("ftp://example.com/a.png", UrlRefusal::NotHttps),
            ("file:///etc/passwd", UrlRefusal::Malformed),
            ("data:image/png;base64,AA==", UrlRefusal::Malformed),
            ("", UrlRefusal::Malformed),
            ("example.com/a.png", UrlRefusal::Malformed),
            ("https://", UrlRefusal::Malformed),
            ("https://exa mple.com/", UrlRefusal::Malformed),
            ("https://example.com/\n", UrlRefusal::Malformed),
            ("https://example.com\\@127.0.0.1/", UrlRefusal::Malformed),
            ("https://example.com:99999/", UrlRefusal::Malformed),
            ("https://user@example.com/", UrlRefusal::Userinfo),
            ("https://:hunter2@example.com/", UrlRefusal::Userinfo),
        ] {
            assert_eq!(check_media_url(wrong), Err(refusal), "{wrong}");
        }
        let longest = format!("https://example.com/{}", "é".repeat(URL_LENGTH_MAX - 20));
        assert_eq!(check_media_url(&longest), Ok(()));
        assert_eq!(check_media_url(&format!("{longest}x")), Err(UrlRefusal::TooLong));
    }

    #[test]
    fn inner_hosts_are_refused_however_they_are_spelled() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.b.localhost",
            "printer.local",
            "metadata.google.internal",
            "metadata.google.internal.",
            "router.home.arpa",
            "redis",
            "redis.",
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0177.0.0.1",
            "2130706433",
            "127.0.0.1.",
            "127%2e0.0.1",
            "１２７.0.0.1",
            "0",
            "10.1.2.3",
            "100.127.255.255",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[3fff::1]",
        ] {
            assert_eq!(check_media_url(&format!("https://{host}/")), Err(UrlRefusal::NotPublic), "{host}");
            assert_eq!(
                check_relay_url(&format!("http://{host}:8080/"), false),
                Err(UrlRefusal::NotPublic),
                "{host}"
            );
            assert_eq!(check_relay_url(&format!("http://{host}:8080/"), true), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_relay_may_be_plain_http_and_have_a_user() {
        assert_eq!(check_relay_url("http://user:secret@example.com/status?id=1", false), Ok(()));
        assert_eq!(check_relay_url("ftp://example.com/", true), Err(UrlRefusal::NotHttp));
        assert_eq!(check_relay_url("unix:/run/x", true), Err(UrlRefusal::Malformed));
    }

    #[test]
    fn the_edges_of_the_networks_are_where_they_should_be() {
        for (inside, outside) in [
            ("0.255.255.255", "1.0.0.0"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("172.16.0.0", "172.15.255.255"),
            ("172.31.255.255", "172.32.0.0"),
            ("198.19.255.255", "198.20.0.0"),
            ("224.0.0.0", "223.255.255.255"),
            ("::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("64:ff9b::10.0.0.1", "64:ff9b::11.0.0.1"),
            ("1fff:ffff::", "2600::"),
            ("2001:1ff:ffff::", "2001:200::"),
            ("2002:ffff::", "2003::"),
            ("3fff:fff::", "3fff:1000::"),
            ("4000::", "3ffe::"),
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_name_with_inner_addresses_alone_is_not_resolved() {
        let client =
            reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(PublicOnly)).build().unwrap();
        let error = client.get("http://localhost:9/").send().await.unwrap_err();
        let mut causes = std::iter::successors(error.source(), |error| (*error).source());
        assert!(causes.any(|cause| cause.is::<NotPublic>()), "{error:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in ".*", host in "[0-9a-fA-FxX.:\\[\\]%]{0,20}") {
            check_media_url(&text).ok();
            check_relay_url(&format!("http://{host}/"), false).ok();
        }

        /// Everything that the standard library calls special is special here.
        #[test]
        fn any_public_address_is_nothing_else(v4: [u8; 4], v6: [u8; 16]) {
            let v4 = Ipv4Addr::from(v4);
            let is_special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            prop_assert!(!(is_public(v4.into()) && is_special));
            prop_assert_eq!(is_public(v4.to_ipv6_mapped().into()), is_public(v4.into()));
            let v6 = Ipv6Addr::from(v6);
            let is_special = v6.is_loopback() || v6.is_multicast() || v6.is_unspecified()
                || v6.is_unique_local() || v6.is_unicast_link_local();
            prop_assert!(!(is_public(v6.into()) && is_special));
        }
    }
}
