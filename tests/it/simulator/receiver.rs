//! A server that takes webhooks: it keeps every request as it came and answers what the test says.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use textledger::twilio::{
    Form,
    signature::{Content, Request, SIGNATURE_HEADER, SigningKey, Spelling, verify},
};

/// A request as it came.
#[derive(Clone)]
pub struct Received {
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let (_, value) = found.next().unwrap_or_else(|| panic!("there is no header {name}"));
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    pub fn get(&self, name: &str) -> Option<String> {
        Form::parse(self.body.as_bytes()).get(name).map(|value| value.into_owned())
    }

    pub fn status(&self) -> String {
        self.get("MessageStatus").expect("a status callback has a status")
    }
}

type Answering = Pin<Box<dyn Future<Output = HttpResponse>>>;
type Answer = dyn Fn(usize, Received) -> Answering + Send + Sync;

/// The server; dropping it stops it.
pub struct Receiver {
    base_url: String,
    received: Arc<Mutex<Vec<Received>>>,
    server: ServerHandle,
}

impl Receiver {
    /// Answers every request with 204.
    pub fn start() -> Self {
        Self::answering(|_, _| async { HttpResponse::NoContent().finish() })
    }

    /// Answers what `answer` says, which gets the request and how many came before it.
    pub fn answering<A, F>(answer: A) -> Self
    where
        A: Fn(usize, Received) -> F + Send + Sync + 'static,
        F: Future<Output = HttpResponse> + 'static,
    {
        let answer: Arc<Answer> = Arc::new(move |index, received| Box::pin(answer(index, received)));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (of_app, answer) = (web::Data::from(received.clone()), web::Data::from(answer));
        let app = move || {
            App::new().app_data(of_app.clone()).app_data(answer.clone()).default_service(web::to(handle))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let base_url = format!("http://{}", server.addrs()[0]);
        let running = server.run();
        let server = running.handle();
        tokio::spawn(running);
        Self { base_url, received, server }
    }

    /// The URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// What has come so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The statuses that have been told so far, in order.
    pub fn statuses(&self) -> Vec<String> {
        self.received().iter().map(Received::status).collect()
    }

    /// Checks that everything that has come is signed with `key` for the URL as it was called.
    pub fn assert_signed(&self, key: &SigningKey) {
        for request in self.received() {
            let url = self.url(&request.target);
            let form = Form::parse(request.body.as_bytes());
            let signed = Request { url: &url, content: Content::Form(&form) };
            let verified = verify(std::slice::from_ref(key), signed, request.header(SIGNATURE_HEADER));
            assert_eq!(
                verified.map(|verified| verified.spelling),
                Ok(Spelling::AS_GIVEN),
                "{}",
                request.target
            );
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn handle(
    request: HttpRequest,
    body: String,
    received: web::Data<Mutex<Vec<Received>>>,
    answer: web::Data<Answer>,
) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let request = Received {
        method: request.method().to_string(),
        target: request.uri().path_and_query().unwrap().to_string(),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
    };
    let index = {
        let mut received = received.lock().unwrap();
        received.push(request.clone());
        received.len() - 1
    };
    answer(index, request).await
}
