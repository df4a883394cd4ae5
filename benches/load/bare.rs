//! The floor under the service: actix-web with the service's own settings, a body that is read, and 204.

use actix_web::{App, HttpResponse, HttpServer, http::StatusCode, web};

/// Serves until it is killed; the first line on stdout tells the address, as the service's does.
pub fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = HttpServer::new(|| App::new().default_service(web::to(read_body)))
            .workers(std::thread::available_parallelism().map_or(1, usize::from))
            .disable_signals()
            .bind(("127.0.0.1", 0))?;
        println!("{}", serde_json::json!({ "address": server.addrs()[0].to_string() }));
        Ok(server.run().await?)
    })
}

async fn read_body(body: web::Bytes) -> HttpResponse {
    std::hint::black_box(body);
    HttpResponse::new(StatusCode::NO_CONTENT)
}
