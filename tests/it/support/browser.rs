//! A real browser, driven over Chromium's DevTools protocol.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::eventually;

/// Chromium reads commands from the descriptor 3 and answers on 4; whoever starts it can only give it 0 and 1.
const START: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null";

/// What ends a command or an answer on the pipe.
const END: u8 = 0;

/// A page in a browser of its own. Dropping it ends the browser.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: String,
    last_id: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens `url`.
    pub fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut child = Command::new("bash")
            .args(["-c", START, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--window-size=1100,800", "--remote-debugging-pipe"])
            .args([&folder, "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let session = String::new();
        let mut browser = Self { child, commands, answers, session, last_id: 0, _profile: profile };
        let target = browser.command("Target.createTarget", json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// Sends a command and waits for its answer, past the events that come in between.
    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(END);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(END, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(END), "chromium runs: it has to be installed");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of a JavaScript expression, waited for if it is a promise.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.command("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    pub async fn becomes_true(&mut self, expression: &str) {
        eventually(expression, async || (self.value(expression) == true).then_some(())).await;
    }

    /// Writes what is shown to `file`, as PNG.
    pub fn screenshot(&mut self, file: &Path) {
        let shown = self.command("Page.captureScreenshot", json!({}));
        std::fs::write(file, STANDARD.decode(shown["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
