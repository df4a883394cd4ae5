//! Consent moved in and out on the command line.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use reqwest::Method;
use textledger::domain::Role;

use super::text;
use crate::{
    api::on_both_stores,
    support::service::{On, PUBLIC_URL, TestService, answer},
};

on_both_stores! {
    a_file_goes_through_a_running_service
    a_file_goes_into_the_store_itself
    a_long_file_goes_in_parts
    a_file_says_who_imported_it_and_which_opt_outs_stay
    a_link_is_printed_beside_the_running_service_that_it_leads_to
}

const FILE: &str = "phone_number,channel,state,source,at,evidence\n\
                    +14155550100,sms,opted_out,link,2026-01-02T03:04:05.000Z,\"footer, page 2\"\n\
                    +14155550101,whatsapp,opted_in,import,2026-01-02T03:04:05.000Z,\n";

/// Runs the command, and returns its exit code, its output and its errors.
async fn consent(service: &TestService, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = service.run(&[&["consent"], arguments].concat(), &[]).await;
    (status.code(), text(&stdout).to_owned(), text(&stderr).to_owned())
}

async fn a_file_goes_through_a_running_service(on: On) {
    let service = TestService::start(on).await;
    let (url, file) = (service.url(""), service.folder().join("in.csv"));
    fs::write(&file, format!("{FILE}+14155550102,fax,opted_out,,,\n")).unwrap();
    let (code, said, errors) = consent(&service, &["import", "in.csv", "--url", &url]).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "2 imported, 0 unchanged, 1 with errors, 0 kept opted out\n"),
        "{errors}"
    );
    assert!(errors.contains("in.csv: line 4: channel:") && errors.contains("mend"), "{errors}");
    fs::write(&file, FILE).unwrap();
    let (code, said, _) = consent(&service, &["import", "in.csv", "--url", &url]).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "0 imported, 2 unchanged, 0 with errors, 0 kept opted out\n")
    );
    let (code, exported, errors) = consent(&service, &["export", "--url", &url]).await;
    assert_eq!((code, exported.as_str()), (Some(0), FILE), "{errors}");
    for (arguments, said) in [
        (vec!["export", "--url", "http://127.0.0.1:9"], "check --url"),
        (vec!["export", "--url", &format!("{url}/nowhere")], "404"),
    ] {
        let (code, exported, errors) = consent(&service, &arguments).await;
        assert_eq!((code, exported.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(errors.to_lowercase().contains(said), "{errors}");
    }
    let (code, exported, errors) = consent(&service, &["export", "--url", &url, "--org", "acme"]).await;
    assert_eq!((code, exported.lines().count()), (Some(0), 1), "{errors}");
}

async fn a_file_goes_into_the_store_itself(on: On) {
    let mut service = TestService::start(on).await;
    fs::write(service.folder().join("in.csv"), FILE).unwrap();
    if matches!(on, On::Embedded) {
        for arguments in [["import", "in.csv"], ["export", "--output=out.csv"]] {
            let (code, _, errors) = consent(&service, &arguments).await;
            assert_eq!(code, Some(1));
            assert!(errors.contains("in use") && errors.contains("--url http://127.0.0.1"), "{errors}");
        }
        assert!(!service.folder().join("out.csv").exists());
        service.stop().await;
    }
    let (code, said, errors) = consent(&service, &["import", "in.csv"]).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "2 imported, 0 unchanged, 0 with errors, 0 kept opted out\n"),
        "{errors}"
    );
    assert!(!errors.contains("+14155550100"), "{errors}");
    let (code, said, errors) = consent(&service, &["export", "--output", "out.csv"]).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{errors}");
    assert!(errors.contains("2 lines in out.csv"), "{errors}");
    let out = service.folder().join("out.csv");
    assert_eq!(fs::read_to_string(&out).unwrap(), FILE);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    if matches!(on, On::Embedded) {
        service.start_again();
    }
    let (_, known) = answer(service.get(Role::Viewer, "/api/sms/consent/+14155550100")).await;
    assert_eq!(known["channels"]["sms"]["source"], "link");
    let (status, problem) = service.send("+14155550100", "hello").await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("recipient_opted_out")));
}

async fn a_long_file_goes_in_parts(on: On) {
    let service = TestService::start(on).await;
    let mut file = "phone_number,channel,state,at,evidence\n".to_owned();
    for number in 0..6_000 {
        let channel = if number % 3_000 == 2_999 { "fax" } else { "sms" };
        file += &format!("+1415555{number:04},{channel},opted_in,2026-01-01T00:00:00Z,form {number}\n");
    }
    fs::write(service.folder().join("in.csv"), file).unwrap();
    let (code, said, errors) = consent(&service, &["import", "in.csv", "--url", &service.url("")]).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "5998 imported, 0 unchanged, 2 with errors, 0 kept opted out\n"),
        "{errors}"
    );
    for line in ["5000 of 5998 lines", "5998 of 5998 lines", "line 3001: channel", "line 6001: channel"] {
        assert!(errors.contains(line), "{line}: {errors}");
    }
}

async fn a_file_says_who_imported_it_and_which_opt_outs_stay(on: On) {
    let mut service = TestService::start(on).await;
    let url = service.url("");
    let first = "phone_number,channel,state,source,evidence\r\n\
                 +14155550100,sms,opted_out,keyword,\"two\r\nlines\"\r\n\
                 +14155550101,all,opted_out,link,\r\n\
                 +14155550102,all,opted_out,,\r\n";
    let second = "phone_number,channel,state,source,evidence\r\n\r\n\
                  +14155550102,sms,opted_in,,\"two\r\nlines\"\r\n\
                  +14155550100,sms,opted_in,keyword,\r\n\
                  +14155550101,all,opted_in,link,form\r\n";
    fs::write(service.folder().join("first.csv"), first).unwrap();
    fs::write(service.folder().join("second.csv"), second).unwrap();
    let arguments = ["import", "first.csv", "--url", &url, "--actor", "Ada, support"];
    let (code, said, errors) = consent(&service, &arguments).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "3 imported, 0 unchanged, 0 with errors, 0 kept opted out\n"),
        "{errors}"
    );
    let kept_are_told = |(code, said, errors): (Option<i32>, String, String), imported: usize| {
        let unchanged = 1 - imported;
        let expected =
            format!("{imported} imported, {unchanged} unchanged, 0 with errors, 2 kept opted out\n");
        assert_eq!((code, said), (Some(0), expected), "{errors}");
        for line in ["second.csv: line 5: the person has opted out of sms", "second.csv: line 6: "] {
            assert!(errors.contains(line), "{line}: {errors}");
        }
    };
    kept_are_told(consent(&service, &["import", "second.csv", "--url", &url]).await, 1);
    if matches!(on, On::Embedded) {
        service.stop().await;
    }
    kept_are_told(consent(&service, &["import", "second.csv"]).await, 0);
    if matches!(on, On::Embedded) {
        service.start_again();
    }
    let (_, history) = answer(service.get(Role::Viewer, "/api/sms/consent/+14155550102/history")).await;
    let actors: Vec<&str> = history["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["actor"].as_str().unwrap())
        .collect();
    assert_eq!(actors[0], "Ada, support");
    assert!(!["", "cli", "Ada, support"].contains(&actors[1]), "{actors:?}");
    let (code, _, errors) = consent(&service, &["import", "first.csv", "--actor", ""]).await;
    assert_eq!(code, Some(2), "{errors}");
}

async fn a_link_is_printed_beside_the_running_service_that_it_leads_to(on: On) {
    let service = TestService::start(on).await;
    let arguments = ["link", "+1 (415) 555-0100", "--language", "pt", "--ttl", "7d", "--org", "acme"];
    let (code, said, errors) = consent(&service, &arguments).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let path = said.trim_end().strip_prefix(PUBLIC_URL).unwrap();
    let page = service.anonymous(Method::GET, path).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("lang=\"pt\"") && page.contains("termina em 0100"), "{page}");
}

#[test]
fn nothing_is_exported_where_there_is_no_store() {
    let output = super::textledger(&["consent", "export"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("TEXTLEDGER_STORE"), "{}", text(&output.stderr));
}
