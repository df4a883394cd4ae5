//! The file of consents is opened in spreadsheets, which calculate what looks like a formula: nothing that somebody wrote
//! does.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::service::{On, TestService, answer, token, token_in};

on_both_stores! {
    no_evidence_is_a_formula_and_all_of_it_comes_back
}

const EXPORT: &str = "/api/sms/consent/export";
const IMPORT: &str = "/api/sms/consent/import";

/// What a spreadsheet does something about if a cell begins with it.
const BEGINNINGS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Evidence by number.
fn evidence() -> Vec<String> {
    let whole = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\tsaid no", "\rsaid no"];
    let calls = BEGINNINGS.map(|begin| format!("{begin}cmd|' /C calc'!A0"));
    let behind = BEGINNINGS.map(|begin| format!("'{begin}1"));
    let unseen = ["\u{feff}=1", "\u{200b}=1", " =1", "\u{ff1d}1", "\n=1", "\"=1\"", "\"\n=1,", "said =1"];
    whole.iter().chain(&unseen).map(|text| (*text).to_owned()).chain(calls).chain(behind).collect()
}

fn phone(number: usize) -> String {
    format!("+14155550{number:03}")
}

async fn evidence_of(service: &TestService, organization: &str, number: usize) -> Value {
    let path = format!("/api/sms/consent/{}/history", phone(number));
    let (status, history) = service.get_in(organization, &path).await;
    assert_eq!(status, 200, "{history}");
    history["changes"][0]["evidence"].clone()
}

async fn no_evidence_is_a_formula_and_all_of_it_comes_back(on: On) {
    let service = TestService::start(on).await;
    for (number, evidence) in evidence().iter().enumerate() {
        let consent = json!({
            "phone_number": phone(number), "channel": "sms", "state": "opted_out", "evidence": evidence,
        });
        let (status, answered) = answer(service.post(Role::Admin, "/api/sms/consent", &consent)).await;
        assert_eq!(status, 200, "{evidence:?}: {answered}");
        assert_eq!(evidence_of(&service, "default", number).await, *evidence);
    }
    let file = service.anonymous(Method::GET, EXPORT).bearer_auth(token(Role::Admin));
    let file = file.send().await.unwrap().text().await.unwrap();
    let mut lines = csv::ReaderBuilder::new().has_headers(false).from_reader(file.as_bytes());
    let mut seen = 0;
    for line in lines.records() {
        let line = line.unwrap();
        seen += 1;
        for (column, cell) in line.iter().enumerate() {
            // A sign and digits are a number, whoever reads them.
            let is_number = column == 0 && cell[1..].bytes().all(|byte| byte.is_ascii_digit());
            assert!(is_number || !cell.starts_with(BEGINNINGS), "{cell:?}");
            assert!(!cell.trim_start().starts_with('=') && !cell.contains('\u{0}'), "{cell:?}");
        }
    }
    assert_eq!(seen, evidence().len() + 1);
    // Another organization that takes the file over has it as it was.
    let import = service.anonymous(Method::POST, IMPORT).bearer_auth(token_in("acme", Role::Admin));
    let (status, imported) = answer(import.header("Content-Type", "text/csv").body(file)).await;
    assert_eq!((status, &imported["imported"]), (200, &json!(evidence().len())), "{imported}");
    for (number, evidence) in evidence().iter().enumerate() {
        let came = evidence_of(&service, "acme", number).await;
        assert_eq!(came.as_str().unwrap().trim(), evidence.trim(), "{evidence:?}");
    }
}
