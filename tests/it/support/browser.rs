//! A real browser, spoken to by its own protocol (<https://chromedevtools.github.io/devtools-protocol/>) over two pipes.

use std::process::Stdio;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{DEADLINE, eventually};

/// By which names the browser is installed.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Sees to it that the browser reads its commands from file 3 and writes to file 4, as the protocol has it.
const LAUNCH: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    _child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    /// What it has told since a page was last waited for.
    events: Vec<Value>,
    commands_sent: u64,
    /// Holds what the browser keeps.
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a browser in which no script runs, and that asks for pages in `language`.
    pub async fn without_script(language: &str) -> Self {
        let mut browser = Self::open(language).await;
        browser.command("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        browser
    }

    /// Opens a browser that asks for pages in `language`.
    pub async fn open(language: &str) -> Self {
        let is_installed = |name: &&str| {
            let found = std::process::Command::new("sh").args(["-c", &format!("command -v {name}")]).output();
            found.is_ok_and(|found| found.status.success())
        };
        let program = PROGRAMS.into_iter().find(is_installed);
        let program = program.expect("no browser is installed: run scripts/test, which installs it");
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", LAUNCH, "sh", program, "--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--disable-dev-shm-usage"])
            .arg(format!("--accept-lang={language}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (commands, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Self {
            _child: child,
            commands,
            answers,
            session: None,
            events: Vec::new(),
            commands_sent: 0,
            _profile: profile,
        };
        let target = browser.command("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.command("Target.attachToTarget", attach).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "DOM.enable", "Accessibility.enable"] {
            browser.command(domain, json!({})).await;
        }
        browser
    }

    /// Has `script` run in every page from now on, before the page's own.
    pub async fn before_each_page(&mut self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Goes to `url`, and waits until the page is there.
    pub async fn visit(&mut self, url: &str) {
        let gone = self.command("Page.navigate", json!({ "url": url })).await;
        assert_eq!(gone.get("errorText"), None, "{url}");
        self.event("Page.loadEventFired").await;
    }

    /// Gives the page another width, in a light or a dark room.
    pub async fn look(&mut self, width: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", media).await;
    }

    /// The width of what is on the page, which is more than the window's if one has to scroll sideways.
    pub async fn content_width(&mut self) -> u64 {
        self.command("Page.getLayoutMetrics", json!({})).await["cssContentSize"]["width"].as_f64().unwrap()
            as u64
    }

    /// The value of a JavaScript expression, waited for if it is a promise.
    pub async fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.command("Runtime.evaluate", asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until a JavaScript expression is true.
    pub async fn becomes_true(&mut self, expression: &str) {
        eventually(expression, async || (self.value(expression).await == true).then_some(())).await;
    }

    /// The page as a picture: PNG.
    pub async fn picture(&mut self) -> Vec<u8> {
        let taken = self.command("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// The names of everything with `role` on the page, as a screen reader tells them.
    pub async fn named(&mut self, role: &str) -> Vec<String> {
        self.nodes().await.iter().filter(|node| role_of(node) == role).map(name_of).collect()
    }

    /// The role and the name of what has the focus.
    pub async fn focused(&mut self) -> Option<(String, String)> {
        let has_focus = |node: &&Value| {
            let properties = node["properties"].as_array().into_iter().flatten();
            let mut focused = properties.filter(|property| property["name"] == "focused");
            focused.any(|property| property["value"]["value"] == true)
        };
        let nodes = self.nodes().await;
        let mut focused = nodes.iter().filter(has_focus).filter(|node| role_of(node) != "RootWebArea");
        focused.next().map(|node| (role_of(node).to_owned(), name_of(node)))
    }

    /// Goes on to the next thing that a keyboard reaches.
    pub async fn press_tab(&mut self) {
        self.press("Tab", 9, "").await;
    }

    /// Does what the button or link that has the focus does, and waits for the page that follows.
    pub async fn press_enter(&mut self) {
        self.press("Enter", 13, "\r").await;
        self.event("Page.loadEventFired").await;
    }

    async fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let press = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
                "text": if kind == "keyDown" { text } else { "" },
            });
            self.command("Input.dispatchKeyEvent", press).await;
        }
    }

    async fn nodes(&mut self) -> Vec<Value> {
        let tree = self.command("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes.filter(|node| node["ignored"] != true).cloned().collect()
    }

    /// Sends a command, and returns its result.
    async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.commands_sent += 1;
        let id = self.commands_sent;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).await.unwrap();
        loop {
            let mut answer = self.next(method).await;
            if answer["id"] == id {
                assert_eq!(answer.get("error"), None, "{method}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// Waits until the browser tells of `event`.
    async fn event(&mut self, event: &str) {
        let is_it = |told: &Value| told["method"] == event;
        let told = std::mem::take(&mut self.events);
        if !told.iter().any(is_it) {
            while !is_it(&self.next(event).await) {}
        }
    }

    /// What the browser says next.
    async fn next(&mut self, waiting_for: &str) -> Value {
        let mut said = Vec::new();
        let read = timeout(DEADLINE, self.answers.read_until(0, &mut said)).await;
        read.unwrap_or_else(|_| panic!("the browser does not tell of {waiting_for}")).unwrap();
        serde_json::from_slice(said.strip_suffix(b"\0").expect("the browser runs")).unwrap()
    }
}

fn role_of(node: &Value) -> &str {
    node["role"]["value"].as_str().unwrap_or_default()
}

fn name_of(node: &Value) -> String {
    node["name"]["value"].as_str().unwrap_or_default().to_owned()
}
