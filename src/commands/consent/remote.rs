//! Consent at a running service.

use anyhow::anyhow;
use reqwest::{Method, Response, header::CONTENT_TYPE};
use serde::Deserialize;

use crate::{
    app::consents::{
        csv,
        record::{Fault, FileRecord, Imported},
    },
    commands::remote::Remote,
};

/// What came of a part of a file.
#[derive(Deserialize)]
struct Answer {
    imported: usize,
    unchanged: usize,
    errors: Vec<LineLeftOut>,
    #[serde(default, rename = "kept_opt_out")]
    kept: Vec<LineLeftOut>,
}

#[derive(Deserialize)]
struct LineLeftOut {
    line: u64,
    detail: String,
}

/// Imports some records of a file, whose lines the outcome names.
pub(super) async fn import(service: &Remote, records: &[FileRecord]) -> anyhow::Result<Imported> {
    let file = csv::write_records(records);
    let lines = csv::record_lines(&file);
    let request = service.request(Method::POST, "/api/sms/consent/import");
    let Answer { imported, unchanged, errors, kept } =
        service.ask_for(request.header(CONTENT_TYPE, "text/csv").body(file)).await?;
    if let Some(fault) = errors.first() {
        // They were read here before: what is refused there is read otherwise by another version.
        return Err(anyhow!("{} refuses a line: {}", service.base(), fault.detail));
    }
    let fault_of = |LineLeftOut { line, detail }| {
        let index = lines.binary_search(&line).map_err(|_| service.is_no_service())?;
        Ok(Fault { line: records[index].line, detail })
    };
    let kept = kept.into_iter().map(fault_of).collect::<anyhow::Result<_>>()?;
    Ok(Imported { applied: imported, unchanged, kept })
}

/// Asks for everything that is known.
pub(super) async fn export(service: &Remote) -> anyhow::Result<Response> {
    service.ask(service.request(Method::GET, "/api/sms/consent/export")).await
}
