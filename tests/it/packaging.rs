//! What the packaging gives the service, held to what the service needs.

use std::{fs, path::Path};

use textledger::open_files::share_out;

/// Threads of a large machine for each address.
const THREADS: usize = 64;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The number behind `name` in `file`.
fn number_behind(name: &str, file: &str) -> usize {
    let text = read(file);
    let (_, behind) = text.split_once(name).unwrap_or_else(|| panic!("{file} does not name {name}"));
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

#[test]
fn the_documented_unit_is_the_one_that_is_there() {
    assert!(read("docs/operations.md").contains("`packaging/textledger.service`"));
    assert!(read("packaging/textledger.service").contains("ExecStart=/usr/local/bin/textledger serve "));
}
