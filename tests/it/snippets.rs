//! What the documents tell a reader to type, typed as it is printed: against a service and a stand-in for Twilio that the
//! README's own lines have started. A block of which nothing is said here fails the test.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    eventually,
    redis_server::{RedisServer, free_port},
    service::{On, PERSON},
    twilio::World,
};

/// What a reader does with a block.
enum Use {
    /// Runs it in a terminal of its own, where it goes on, and waits until it listens.
    Server,
    /// Runs it to its end, and sees these words in what it prints, in this order.
    Run(&'static [&'static str]),
    /// Runs it until it has printed these words, and ends it by Ctrl-C.
    Follow(&'static [&'static str]),
    /// Compares it with the first answer that the block before has printed: the same fields of the same types, of which
    /// null may stand for any.
    Answer,
    /// Puts it into the configuration file, and sees these words in `textledger config --effective`.
    Settings(&'static [&'static str]),
    /// Runs it beside a service over Redis, in whose streams there is something to be read, and sees these words.
    Streams(&'static [&'static str]),
    /// Compares it with what this line is answered.
    AnswerTo(&'static str),
    /// Does not run it here, for this reason.
    LeftOut(&'static str),
}

/// What is done with each block: the words by which it is recognized in its document, and its use.
const USES: &[(&str, &str, Use)] = &[
    ("README.md", "-- demo", Use::LeftOut("scripts/test runs this test, and tests/it/commands.rs the demo")),
    ("README.md", "your application", Use::LeftOut("a picture")),
    ("README.md", "-- simulator", Use::Server),
    (
        "docs/http.md",
        "\"forward\": [",
        Use::LeftOut("tests/it/api/forward.rs saves such settings and is told"),
    ),
    ("README.md", "-- serve", Use::Server),
    (
        "README.md",
        "Send a message.",
        Use::Follow(&[
            "\"message_sid\"",
            "\"events\"",
            "\"type\":\"delivery\"",
            "\"status\":200",
            "recipient_opted_out",
            "event: delivery",
            "event: consent",
        ]),
    ),
    ("README.md", "\"segments\"", Use::Answer),
    ("README.md", "docker compose", Use::LeftOut("it takes Docker, and builds the image from the network")),
    ("README.md", "XREVRANGE", Use::Streams(&["delivered", "opted_out", "tl:{default:0}:inbound"])),
    ("docs/ARCHITECTURE.md", "run the command line", Use::LeftOut("the map of the source")),
    (
        "docs/ARCHITECTURE.md",
        "startup alone names",
        Use::LeftOut("a picture; tests/it/tidy.rs holds its arrows"),
    ),
    ("docs/benchmarks.md", "--bench history", Use::LeftOut("a benchmark takes long")),
    ("docs/benchmarks.md", "--bench load", Use::LeftOut("a benchmark takes long, and wants a quiet machine")),
    ("docs/benchmarks.md", "--bench reading", Use::LeftOut("a benchmark takes long")),
    ("docs/benchmarks.md", "--bench retention", Use::LeftOut("a benchmark takes long")),
    ("docs/benchmarks.md", "--bench signature", Use::LeftOut("a benchmark takes long")),
    ("docs/benchmarks.md", "--bench tasks", Use::LeftOut("a benchmark takes long")),
    ("docs/benchmarks.md", "--test it faults::crowding", Use::LeftOut("the test runs by itself")),
    ("docs/benchmarks.md", "scripts/fuzz", Use::LeftOut("scripts/test runs scripts/fuzz")),
    (
        "docs/configuration.md",
        "textledger_listen",
        Use::LeftOut("tests/it/tidy.rs compares it with the source"),
    ),
    ("docs/http.md", "send-bulk", Use::Run(&["\"batch_id\"", "\"accepted\":2"])),
    // That service has no public URL: the command is right, and says what is missing.
    ("docs/http.md", "consent/links", Use::Run(&["public_url_not_configured", "TEXTLEDGER_PUBLIC_URL"])),
    ("docs/http.md", "consent export", Use::Run(&["0 imported, 1 unchanged, 0 with errors"])),
    ("docs/http.md", "/api/sms/consent/reviews", Use::Run(&["\"reviews\":[", "\"next_cursor\":null"])),
    ("docs/http.md", "/api/sms/api-keys", Use::Run(&["\"sid\":\"SK", "\"secret\":\"tl_"])),
    (
        "docs/http.md",
        "\"message.send\"",
        Use::AnswerTo(
            "curl -s 'http://127.0.0.1:8080/api/sms/audit?action=message.send&limit=1' \
             -H \"Authorization: Bearer $(textledger token --role admin)\"",
        ),
    ),
    // Twilio's stand-in does not know the reader's account.
    ("docs/http.md", "/api/sms/settings", Use::Run(&["is not the token of this account"])),
    ("docs/http.md", "[[accounts]]", Use::Settings(&["# account of acme: ", ACME_ACCOUNT])),
    ("docs/threat-model.md", "strangers", Use::LeftOut("a picture")),
    (
        "docs/operations.md",
        "\"webhooks\"",
        Use::LeftOut("what a service says whose Redis is away; tests/it/faults/store_away.rs looks at it"),
    ),
    ("docs/operations.md", "TEXTLEDGER_LISTEN", Use::LeftOut("two settings, whose names tidy.rs knows")),
    ("docs/operations.md", "proxy_pass", Use::LeftOut("it takes nginx")),
    ("docs/operations.md", "reverse_proxy", Use::LeftOut("it takes Caddy")),
    (
        "docs/operations.md",
        "textledger traffic list",
        Use::Run(&[
            "+4479111 is refused; of what was held are refused: 0",
            "+4477009 is released; of what was held leave: 0",
        ]),
    ),
    (
        "docs/operations.md",
        "textledger backup",
        Use::Run(&["textledger-backup: ", "the master key is not in it", " rows are in restored"]),
    ),
    ("docs/operations.md", "\"listening\"", Use::LeftOut("every test that starts the service waits for it")),
    ("docs/operations.md", "textledger_store", Use::Settings(&["# account of default: ", ACME_ACCOUNT])),
    (
        "docs/operations.md",
        "docker run",
        Use::LeftOut("it takes Docker, and builds the image from the network"),
    ),
    (
        "docs/replies.md",
        "consent read",
        Use::Run(&[
            "opt-out: a request in other words",
            "request (version",
            "English",
            "answer:   You are unsubscribed",
        ]),
    ),
    ("docs/streams.md", "> XRANGE", Use::LeftOut("tests/it/conformance/redis.rs knows every field")),
    ("docs/streams.md", "'(1795428646265-0'", Use::Streams(&["delivered", "delivered"])),
    (
        "docs/streams.md",
        "consents' '$' '$'",
        Use::Streams(&["tl:{default:0}:consents", "opted_in", "queued"]),
    ),
    ("docs/streams.md", "XGROUP", Use::Streams(&["OK", "delivered", "0-0"])),
    ("docs/operations.md", "ACL SETUSER textledger", Use::Streams(&["OK"])),
    ("docs/streams.md", "ACL SETUSER", Use::Streams(&["OK"])),
    ("docs/streams.md", "XTRIM", Use::Streams(&["0"])),
    (
        "docs/streams.md",
        "event: history-lost",
        Use::LeftOut("nothing here is old enough; tests/it/retention.rs sees it"),
    ),
    (
        "docs/streams.md",
        "\"next_cursor\"",
        Use::AnswerTo(
            "curl -s 'http://127.0.0.1:8080/api/sms/events?type=delivery&limit=1' \
             -H \"Authorization: Bearer $TOKEN\"",
        ),
    ),
    (
        "docs/streams.md",
        "curl -sN",
        Use::LeftOut("it prints what happens next; README.md has it from the start"),
    ),
    ("docs/streams.md", "event: consent", Use::LeftOut("what the line above prints, shortened")),
    ("docs/twilio-setup.md", "/api/sms/webhook-refusals", Use::Run(&["\"refusals\""])),
    ("docs/twilio-setup.md", "from twilio.rest", Use::LeftOut("tests/it/sdk.rs runs it")),
    ("docs/twilio-setup.md", "require(\"twilio\")", Use::LeftOut("tests/it/sdk.rs runs it")),
];

/// An account that is not the simulator's, since one account belongs to one organization.
const ACME_ACCOUNT: &str = "AC11111111111111111111111111111111";

/// A block of a document.
struct Block {
    document: String,
    line: usize,
    text: String,
}

/// The documents, in the order in which they are read: each is tried in the world that README.md has set up.
fn documents() -> Vec<String> {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut documents: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    documents.sort();
    documents.insert(0, "README.md".to_owned());
    documents
}

/// The blocks of `document`, in order.
fn blocks(document: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).unwrap();
    let (mut blocks, mut open) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        match (line.starts_with("```"), &mut open) {
            (true, None) => {
                let (document, line) = (document.to_owned(), index + 1);
                open = Some(Block { document, line, text: String::new() });
            }
            (true, Some(_)) => blocks.extend(open.take()),
            (false, Some(block)) => block.text.extend([line, "\n"]),
            (false, None) => {}
        }
    }
    assert!(open.is_none(), "the last block of {document} does not end");
    blocks
}

/// Every block with its use. Fails for a block without one, or with several, and for a use without a block.
fn blocks_with_uses() -> Vec<(Block, &'static Use)> {
    let mut faults = Vec::new();
    let mut unused: Vec<&(&str, &str, Use)> = USES.iter().collect();
    let mut found = Vec::new();
    for block in documents().iter().flat_map(|document| blocks(document)) {
        let fits = |(document, words, _): &&(&str, &str, Use)| {
            *document == block.document && block.text.contains(words)
        };
        match USES.iter().filter(fits).collect::<Vec<_>>()[..] {
            [row] => {
                unused.retain(|unused| !std::ptr::eq(*unused, row));
                found.push((block, &row.2));
            }
            ref rows => faults.push(format!(
                "{}:{}: {} rows of USES are for this block:\n{}",
                block.document,
                block.line,
                rows.len(),
                block.text
            )),
        }
    }
    faults
        .extend(unused.iter().map(|(document, words, _)| format!("{document} has no block with {words:?}")));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    found
}

/// Somebody who reads the documents, in a folder of their own.
struct Reader {
    folder: tempfile::TempDir,
    service: String,
    simulator: String,
    redis: RedisServer,
    /// Names the terminals.
    opened: usize,
}

impl Reader {
    fn new() -> Self {
        let address = || format!("127.0.0.1:{}", free_port());
        Self {
            folder: tempfile::tempdir().unwrap(),
            service: address(),
            simulator: address(),
            redis: RedisServer::start(),
            opened: 0,
        }
    }

    /// `text` with what a reader puts in place of what is printed.
    fn filled_in(&self, text: &str) -> String {
        let placeholders = [
            // What it builds is built already.
            ("cargo run -q --", "textledger"),
            ("cargo run --", "textledger"),
            // The usual ports may be taken.
            ("textledger simulator", &format!("textledger simulator --listen {}", self.simulator)),
            ("127.0.0.1:8080", &self.service),
            ("127.0.0.1:8081", &self.simulator),
            ("redis-cli", &format!("redis-cli -p {}", self.redis.port())),
            // Secrets that are the reader's own.
            ("AC...", ACME_ACCOUNT),
            ("webhooks_sharedkey_...", "webhooks_sharedkey_1"),
            ("\"...\"", "\"0123456789abcdef0123456789abcdef\""),
            // Ids of entries that the reader has seen.
            ("1795428646265-0", "0-1"),
            ("1795428646686-0", "0-1"),
        ];
        placeholders.iter().fold(text.to_owned(), |text, (printed, typed)| text.replace(printed, typed))
    }

    /// Types `script` in a new terminal.
    fn types(&mut self, script: &str, token: &str) -> Terminal {
        self.opened += 1;
        let output = self.folder.path().join(format!("terminal-{}", self.opened));
        let program = Path::new(env!("CARGO_BIN_EXE_textledger")).parent().expect("it is in a folder");
        let path = std::env::var("PATH").unwrap();
        let file = File::create(&output).unwrap();
        let child = Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", program.display()))
            .env("TEXTLEDGER_LISTEN", &self.service)
            .env("TOKEN", token)
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Terminal { child, output }
    }
}

/// What was typed, while it runs. Dropping it closes the terminal.
struct Terminal {
    child: Child,
    output: PathBuf,
}

impl Terminal {
    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits until it has printed `words`, in this order.
    async fn prints(&mut self, words: &[&str]) -> String {
        let what = format!("{words:?} is printed");
        eventually(&what, async || {
            // Looked at first, so that what was printed last is seen.
            let ended = self.child.try_wait().unwrap();
            let output = self.output();
            let found = in_order(&output, words);
            assert!(found || ended.is_none(), "it ended without {words:?}, {ended:?}:\n{output}");
            found.then_some(output)
        })
        .await
    }

    /// Waits until it has ended, well, and has printed `words`, in this order.
    async fn ends(mut self, words: &[&str]) -> String {
        let ended = eventually("it ends", async || self.child.try_wait().unwrap()).await;
        let output = self.output();
        assert!(ended.success() && in_order(&output, words), "{ended:?}, not {words:?}:\n{output}");
        output
    }

    /// Sends a signal to everything that runs in it.
    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        Command::new("kill")
            .args([&format!("-{name}"), "--", &group])
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signal("KILL");
        self.child.wait().ok();
    }
}

/// Whether `text` has all of `words`, each behind the one before.
fn in_order(text: &str, words: &[&str]) -> bool {
    let rest = words.iter().try_fold(text, |rest, word| rest.split_once(word).map(|(_, rest)| rest));
    rest.is_some()
}

/// Whether what is shown has the same fields as what was answered, of the same types. Null may stand for any.
fn is_alike(shown: &Value, answered: &Value) -> bool {
    match (shown, answered) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(shown), Value::Object(answered)) => {
            shown.len() == answered.len()
                && shown
                    .iter()
                    .all(|(name, field)| answered.get(name).is_some_and(|answered| is_alike(field, answered)))
        }
        (Value::Array(shown), Value::Array(answered)) => {
            shown.iter().all(|shown| answered.iter().all(|answered| is_alike(shown, answered)))
        }
        (shown, answered) => std::mem::discriminant(shown) == std::mem::discriminant(answered),
    }
}

/// Compares the answer that `block` shows with the first one of those that were printed.
fn assert_alike(block: &Block, printed: &str) {
    let shown: Value = serde_json::from_str(&block.text).unwrap();
    let answered: Value = serde_json::Deserializer::from_str(printed)
        .into_iter()
        .next()
        .expect("an answer was printed")
        .unwrap();
    assert!(is_alike(&shown, &answered), "shown: {shown}\nanswered: {answered}");
}

/// Runs lines that read Redis beside a service over it, in whose streams there is something to be read. One of them may
/// wait for what happens next: somebody writes.
async fn reads_the_streams(reader: &mut Reader, script: &str, words: &[&str]) {
    let store = reader.redis.url();
    let mut connection = reader.redis.connect().await;
    let _: String = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    let settings = [("TEXTLEDGER_STORE", store.as_str()), ("TEXTLEDGER_KEY_PREFIX", "tl")];
    let world = World::start_with(On::Redis, &settings).await;
    assert_eq!(world.service.send(PERSON, "hello").await.0, 201);
    world.settle().await;
    assert_eq!(world.write(PERSON, "STOP").await.0, 200);
    let mut terminal = reader.types(script, "");
    let waits = eventually("the lines end, or wait", async || {
        let clients: String = redis::cmd("INFO").arg("clients").query_async(&mut connection).await.unwrap();
        let has_ended = terminal.child.try_wait().unwrap().is_some();
        (has_ended || clients.contains("blocked_clients:1")).then_some(!has_ended)
    })
    .await;
    if waits {
        assert_eq!(world.write(PERSON, "START").await.0, 200);
    }
    terminal.ends(words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_of_the_documents_works_as_it_is_printed() {
    let blocks = blocks_with_uses();
    let mut reader = Reader::new();
    let (mut servers, mut token, mut printed) = (Vec::new(), String::new(), String::new());
    for (block, usage) in blocks {
        println!("{}:{}", block.document, block.line);
        let script = reader.filled_in(&block.text);
        if token.is_empty() && servers.len() == 2 {
            token = reader.types("textledger token --role sender", "").ends(&[]).await.trim().to_owned();
        }
        match usage {
            Use::Server => {
                let mut server = reader.types(&script, "");
                server.prints(&["\"listening\""]).await;
                servers.push(server);
            }
            Use::Run(words) => printed = reader.types(&script, &token).ends(words).await,
            Use::Follow(words) => {
                let mut terminal = reader.types(&script, &token);
                printed = terminal.prints(words).await;
                terminal.signal("INT");
                eventually("Ctrl-C ends it", async || terminal.child.try_wait().unwrap()).await;
            }
            Use::Answer => assert_alike(&block, &printed),
            Use::AnswerTo(line) => {
                let line = reader.filled_in(line);
                assert_alike(&block, &reader.types(&line, &token).ends(&[]).await);
            }
            Use::Settings(words) => {
                fs::write(reader.folder.path().join("textledger.toml"), &script).unwrap();
                let command = "textledger config --effective --config textledger.toml";
                reader.types(command, "").ends(words).await;
            }
            Use::Streams(words) => reads_the_streams(&mut reader, &script, words).await,
            Use::LeftOut(reason) => println!("not run: {reason}"),
        }
    }
}
