//! Redis by TLS, with an authority of its own and certificates for both sides: what fits is used, and what does not is said.

use crate::support::{
    certificates::Authority,
    redis_cluster::RedisCluster,
    redis_server::{RedisServer, free_port},
    service::{On, TestService, callback},
};

const STATUS: &str = "/webhooks/twilio/status";

/// The settings of a Redis that speaks TLS at `port` with a certificate, and wants one by `authority`.
fn tls(port: u16, (certificate, key): &(String, String), authority: &Authority, wants: &str) -> Vec<String> {
    let settings = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", certificate.clone()),
        ("--tls-key-file", key.clone()),
        ("--tls-ca-cert-file", authority.certificate()),
        ("--tls-auth-clients", wants.to_owned()),
    ];
    settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn start(settings: &[String]) -> RedisServer {
    RedisServer::start_with(&settings.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What `textledger check` says of the store.
async fn checked(service: &TestService, settings: &[(&str, &str)]) -> String {
    let output = service.run(&["check"], settings).await;
    let lines = String::from_utf8(output.stdout).unwrap();
    let line = lines.lines().find(|line| line.contains(" store: ")).map(str::to_owned);
    line.unwrap_or_else(|| format!("{lines}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_an_authority_of_ones_own_are_used_and_faults_are_said_with_their_mend() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.sign("server", "IP:127.0.0.1", 2);
    let (client, of_stranger) =
        (authority.sign("client", "DNS:textledger", 2), stranger.sign("client", "DNS:textledger", 2));
    let serve = |certificate: &(String, String)| {
        let port = free_port();
        (start(&tls(port, certificate, &authority, "yes")), format!("rediss://127.0.0.1:{port}"))
    };
    let (_redis, url) = serve(&good);
    let (ca, wrong_ca) = (authority.certificate(), stranger.certificate());
    let all = |url: &str| {
        [
            ("TEXTLEDGER_STORE", url.to_owned()),
            ("TEXTLEDGER_REDIS_CA_FILE", ca.clone()),
            ("TEXTLEDGER_REDIS_CERT_FILE", client.0.clone()),
            ("TEXTLEDGER_REDIS_KEY_FILE", client.1.clone()),
        ]
    };
    let given = all(&url);
    let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let service = TestService::start_with(On::Redis, &given).await;
    let sid = format!("SM{:032x}", 1);
    assert_eq!(service.webhook(STATUS, &callback(&sid, "sent")).await.status(), 204);
    assert_eq!((service.ready().await, service.all_events().await.len()), (200, 1));
    assert!(checked(&service, &[]).await.contains("takes writes"));

    let (_expired, expired) = serve(&authority.sign("expired", "IP:127.0.0.1", -1));
    let (_named, named) = serve(&authority.sign("named", "DNS:redis.example.com", 2));
    for (changed, says) in [
        (vec![("TEXTLEDGER_REDIS_CA_FILE", wrong_ca.as_str())], "TEXTLEDGER_REDIS_CA_FILE"),
        (vec![("TEXTLEDGER_STORE", &expired)], "has expired"),
        (vec![("TEXTLEDGER_STORE", &named)], "is for another name"),
        (
            vec![("TEXTLEDGER_REDIS_CERT_FILE", ""), ("TEXTLEDGER_REDIS_KEY_FILE", "")],
            "asks for a client certificate",
        ),
        (vec![("TEXTLEDGER_REDIS_KEY_FILE", of_stranger.1.as_str())], "is not that of the certificate"),
        (
            vec![
                ("TEXTLEDGER_REDIS_CERT_FILE", of_stranger.0.as_str()),
                ("TEXTLEDGER_REDIS_KEY_FILE", of_stranger.1.as_str()),
            ],
            "does not take the client certificate",
        ),
    ] {
        let line = checked(&service, &changed).await;
        assert!(line.starts_with("FAILED") && line.contains(says), "{changed:?}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_by_tls_with_a_user_is_used() {
    let authority = Authority::new();
    let server = authority.sign("server", "IP:127.0.0.1", 2);
    // Every node tells of the TLS ports of the others.
    let tls_port = |port: u16| if port > 32_767 { port - 20_000 } else { port + 20_000 };
    let cluster = RedisCluster::start_with(|port| {
        [tls(tls_port(port), &server, &authority, "no"), vec!["--tls-cluster".to_owned(), "yes".to_owned()]]
            .concat()
    });
    for place in cluster.places() {
        let mut user = redis::cmd("ACL");
        user.arg("SETUSER").arg("ada").arg("on").arg(">s3cret").arg("~*").arg("+@all");
        cluster.node(place).ask(&user).await;
    }
    let url = cluster.url_with("rediss-cluster", "ada:s3cret@", tls_port);
    let ca = authority.certificate();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_REDIS_CA_FILE", ca.as_str())];
    let service = TestService::start_with(On::Redis, &settings).await;
    for number in 0..40 {
        let sid = format!("SM{number:032x}");
        assert_eq!(service.webhook(STATUS, &callback(&sid, "sent")).await.status(), 204);
    }
    assert_eq!((service.ready().await, service.all_events().await.len()), (200, 40));
}
