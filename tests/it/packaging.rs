//! What the packaging gives the service, held to what the service needs.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use textledger::{http::stopping::CLOSING_TIME_MAX, open_files::share_out};

use crate::support::service::tested_program;

/// Threads of a large machine for each address.
const THREADS: usize = 64;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// What is behind `name` in `file`.
fn behind(name: &str, file: &str) -> String {
    let text = read(file);
    let (_, behind) = text.split_once(name).unwrap_or_else(|| panic!("{file} does not name {name}"));
    behind.to_owned()
}

/// The number behind `name` in `file`.
fn number_behind(name: &str, file: &str) -> usize {
    let behind = behind(name, file);
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{file}: what is behind {name} is no number"))
}

/// systemd's own limit, 1,024, is 300 connections, which a stranger opens in a moment.
#[test]
fn a_packaged_service_may_have_as_many_files_as_its_most_connections_need() {
    for (file, name) in [
        ("packaging/textledger.service", "\nLimitNOFILE="),
        ("docker-compose.yml", "ulimits: { nofile: "),
        ("docs/operations.md", "--ulimit nofile="),
    ] {
        let files = number_behind(name, file);
        let most = share_out(usize::MAX, THREADS, true);
        assert_eq!(share_out(files, THREADS, true), most, "{file}: {files} files do not suffice");
    }
}

/// Killed before, it would leave requests without an answer.
#[test]
fn a_packaged_service_has_the_time_that_a_stop_takes() {
    for (file, name) in [
        ("packaging/textledger.service", "\nTimeoutStopSec="),
        ("docker-compose.yml", "stop_grace_period: "),
        ("docs/operations.md", "--stop-timeout "),
    ] {
        let seconds = number_behind(name, file);
        assert!(CLOSING_TIME_MAX.as_secs() < seconds as u64, "{file}: {seconds} seconds do not suffice");
    }
}

#[test]
fn the_documented_unit_is_the_one_that_is_there() {
    assert!(read("docs/operations.md").contains("`packaging/textledger.service`"));
    assert!(read("packaging/textledger.service").contains("ExecStart=/usr/local/bin/textledger serve "));
}

/// By which whoever runs it learns whether a fault that becomes known is one of its own.
#[test]
#[ignore = "needs a program that is built as that of the image: scripts/test builds one"]
fn the_program_names_the_packages_that_it_is_built_of() {
    let named =
        auditable_info::audit_info_from_file(Path::new(&tested_program()), Default::default()).unwrap();
    let named: BTreeSet<String> =
        named.packages.iter().map(|package| format!("{} v{}", package.name, package.version)).collect();
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    // What follows is where it is from.
    let built_of: BTreeSet<String> =
        tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert!(built_of.len() > 100, "{tree}");
    let missing: Vec<&String> = built_of.difference(&named).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Some are named that a library may use and does not here. None is named that was not considered at all.
    let locked = read("Cargo.lock").replace("name = \"", "").replace("\"\nversion = \"", " v");
    let unknown: Vec<&String> = named.iter().filter(|package| !locked.contains(*package)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_image_is_built_by_the_tool_that_the_tests_use() {
    let version =
        |name: &str, file: &str| behind(name, file).split_whitespace().next().map(str::to_owned).unwrap();
    let of_image = version("cargo-auditable --version ", "Dockerfile");
    assert_eq!(of_image, version("\nCARGO_AUDITABLE=", "scripts/test"));
}
