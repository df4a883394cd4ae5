//! Rules about the source tree that no compiler knows: who may name whom, what every file begins with, and that the
//! documentation speaks of what exists.
//!
//! Each test lists everything that breaks its rule, so that one run is enough to mend it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use textledger::config::setting;

/// What the modules of each layer may name outside of it; a path opens everything below it.
///
/// The rows stand in the layers' order: none names a row further down.
const ARROWS: &[(&str, &[&str])] = &[
    // Twilio's protocol, and what stands in for Twilio, would make crates of their own.
    ("twilio", &[]),
    ("simulator", &["twilio"]),
    // The rules.
    ("domain", &["twilio"]),
    // Leaves: no more than a type or a function of the layers above.
    ("clock", &["domain::UnixMs"]),
    ("phone", &["twilio"]),
    ("public_host", &[]),
    ("redis_address", &[]),
    ("printable", &[]),
    ("telemetry", &["printable"]),
    ("open_files", &[]),
    ("metrics", &[]),
    ("spool", &[]),
    // What keeps state, what the service does, what drives it.
    ("store", &["clock", "domain", "redis_address", "sampling", "sealing", "twilio"]),
    ("sampling", &[]),
    ("sealing", &[]),
    ("app", &["clock", "domain", "metrics", "phone", "public_host", "sealing", "spool", "store", "twilio"]),
    ("worker", &["app", "clock", "domain", "store"]),
    (
        "http",
        &[
            "app",
            "domain",
            "metrics",
            "phone",
            "public_host",
            "sampling",
            "spool::Size",
            "store",
            "twilio",
            "worker",
        ],
    ),
    // What puts it together.
    ("config", &["domain", "phone", "redis_address", "sealing", "twilio"]),
    (
        "startup",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "http",
            "metrics",
            "open_files",
            "public_host",
            "sealing",
            "spool",
            "store",
            "twilio",
            "worker",
        ],
    ),
    (
        "commands",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "http::auth",
            "phone",
            "printable",
            "simulator",
            "startup",
            "telemetry",
            "twilio",
        ],
    ),
];

/// Parts that few may name, although their layer is open to more.
const GUARDED: &[(&str, &[&str])] = &[
    ("store::embedded", &["store::embedded", "startup"]),
    ("store::redis", &["store::redis", "startup"]),
    (
        "twilio::client",
        &["twilio::client", "app", "commands::check", "http::dropin", "http::problem", "startup"],
    ),
];

/// Libraries that belong to few, so that neither HTTP nor a database shows anywhere else.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("actix_web", &["http", "simulator", "startup"]),
    ("maud", &["http::consent_page"]),
    ("redb", &["store::embedded"]),
    (
        "reqwest",
        &[
            "twilio::client",
            "public_host",
            "twilio::poster",
            "simulator",
            "commands::check",
            "commands::consent",
            "commands::demo",
            "commands::remote",
            "http::auth::jwks_url",
        ],
    ),
];

/// Macros that say "not done yet".
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// What a name in the documentation may be.
const ITEMS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];

#[test]
fn every_layer_names_only_what_its_arrows_allow() {
    let mut faults = Vec::new();
    for file in files("src", "rs") {
        let module = module_of(&file);
        let layer = module.split("::").next().unwrap_or_default();
        if layer.is_empty() {
            // The binary and the library's root name every layer.
            continue;
        }
        let Some((_, open)) = ARROWS.iter().find(|(name, _)| *name == layer) else {
            faults.push(format!("{}: the layer {layer} has no row in ARROWS", shown(&file)));
            continue;
        };
        for path in named_paths(&module, &read(&file)) {
            let allowed = is_within(&path, layer) || open.iter().any(|part| is_within(&path, part));
            if !allowed {
                faults.push(format!("{}: {layer} may not name {path}", shown(&file)));
            }
            for (part, open_to) in GUARDED {
                let allowed = open_to.iter().any(|layer| is_within(&module, layer));
                if is_within(&path, part) && !allowed {
                    faults.push(format!("{}: only {open_to:?} may name {path}", shown(&file)));
                }
            }
        }
    }
    assert_none(&faults);
}

/// Files that name each other in a circle can only be understood, tested and moved together.
#[test]
fn no_files_name_each_other_in_a_circle() {
    let modules: BTreeMap<String, PathBuf> =
        files("src", "rs").into_iter().map(|file| (module_of(&file), file)).collect();
    // What a path names is defined in the module of its longest beginning.
    let file_of = |path: &str| {
        let mut path = path;
        while !modules.contains_key(path) {
            path = path.rsplit_once("::").map_or("", |(above, _)| above);
        }
        path.to_owned()
    };
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (module, file) in &modules {
        // A unit test may look at its module from above.
        let code = read(file);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let others = named_paths(module, code).into_iter().map(|path| file_of(&path));
        // A module declares those within it, which may use what it has for all of them.
        named.insert(module, others.filter(|other| !is_within(module, other) && !other.is_empty()).collect());
    }
    // Files that name nothing that is left, and those that nothing left names, are in no circle.
    loop {
        let before = named.len();
        let left: BTreeSet<String> = named.keys().map(|module| (*module).to_owned()).collect();
        named.retain(|_, others| {
            others.retain(|other| left.contains(other));
            !others.is_empty()
        });
        let used: BTreeSet<String> = named.values().flatten().cloned().collect();
        named.retain(|module, _| used.contains(*module));
        if named.len() == before {
            break;
        }
    }
    let faults: Vec<String> = named
        .iter()
        .map(|(module, others)| {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            format!("{module} is in a circle, or between two: it names {}", others.join(", "))
        })
        .collect();
    assert_none(&faults);
}

#[test]
fn libraries_stay_where_they_belong() {
    let mut faults = Vec::new();
    for file in files("src", "rs") {
        let (module, code) = (module_of(&file), without_comments(&read(&file)));
        for (library, open_to) in LIBRARIES {
            let allowed = open_to.iter().any(|part| is_within(&module, part));
            if !allowed && code.contains(&format!("{library}::")) {
                faults.push(format!("{}: {library} belongs to {open_to:?}", shown(&file)));
            }
        }
    }
    assert_none(&faults);
}

/// Calls that are made in one file each: who would know that nothing leaves after a STOP has these to read.
const ONE_HOME: [(&str, &str); 4] = [
    (".step_outbound(", "src/app/outgoing/advance.rs"),
    (".create_outbound(", "src/app/outgoing/advance.rs"),
    (".store.enqueue(", "src/app/outgoing/advance.rs"),
    (".create_message(", "src/app/outgoing/call.rs"),
];

#[test]
fn a_message_on_its_way_out_is_moved_and_called_with_in_one_place() {
    let mut faults = Vec::new();
    for (call, home) in ONE_HOME {
        let layers = ["src/app", "src/http", "src/worker", "src/commands"];
        let callers = layers.into_iter().flat_map(|layer| files(layer, "rs"));
        let callers = callers.filter(|file| without_comments(&read(file)).contains(call));
        let callers: Vec<String> = callers.map(|file| shown(&file)).collect();
        if callers != [home] {
            faults.push(format!("{call} belongs to {home} alone, and is called in {callers:?}"));
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_is_a_module_of_its_parent() {
    let mut faults = Vec::new();
    for file in files("src", "rs").into_iter().chain(files("tests/it", "rs")) {
        let folder = file.parent().expect("a file is in a folder");
        let stem = file.file_stem().expect("a file has a name");
        let (name, home) =
            if stem == "mod" { (folder.file_name(), folder.parent()) } else { (Some(stem), Some(folder)) };
        let (name, home) =
            (name.expect("a module has a name").to_string_lossy(), home.expect("a module has a home"));
        if ["main", "lib"].contains(&name.as_ref()) {
            continue;
        }
        let parents =
            [home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), home.with_extension("rs")];
        let declaration = format!("mod {name};");
        let declares =
            |parent: &PathBuf| fs::read_to_string(parent).is_ok_and(|code| code.contains(&declaration));
        if !parents.iter().any(declares) {
            faults.push(format!("{}: nothing says {declaration}, so it is not compiled", shown(&file)));
        }
    }
    assert_none(&faults);
}

#[test]
fn every_source_file_says_what_it_is_responsible_for() {
    let sources = ["src", "tests", "benches"].into_iter().flat_map(|folder| files(folder, "rs"));
    let silent = sources.filter(|file| !read(file).starts_with("//! "));
    assert_none(
        &silent.map(|file| format!("{}: begins without a //! line", shown(&file))).collect::<Vec<_>>(),
    );
}

/// A script's head lists keys and arguments by name, and the script gives them these names before anything else: a number
/// in `KEYS[3]` says nothing to whoever reads it. What several scripts share takes neither.
#[test]
fn every_script_says_what_it_takes_and_returns() {
    let mut faults = Vec::new();
    for file in files("src", "lua") {
        let script = read(&file);
        if !script.contains("KEYS") && !script.contains("ARGV") {
            continue;
        }
        for fault in script_faults(&script) {
            faults.push(format!("{}: {fault}", shown(&file)));
        }
    }
    assert_none(&faults);
}

#[test]
fn a_script_that_hides_what_it_takes_is_found() {
    let script = "\
-- KEYS
--   counter   string  <prefix>:counter
--
-- ARGV
--   max       the most that it counts to,
--             and no more
--   entries…  what is entered
--
-- Returns the count.
local counter = unpack(KEYS)
local max = unpack(ARGV)
local entries = { unpack(ARGV, 2) }
return max
";
    assert_none(&script_faults(script));
    for (change, with) in [
        ("return max", "return ARGV[1]"),
        ("return max", "return KEYS[1]"),
        ("--   max       the", "--             the"),
        ("--   max       the", "--   least     the"),
        ("--   counter   string", "--             string"),
        ("local max = ", "local max, keep = "),
        ("local max = unpack(ARGV)", "local least = 1"),
        ("--   entries…  what", "--             what"),
        ("unpack(ARGV, 2)", "unpack(ARGV, 3)"),
        ("-- Returns", "-- Gives"),
    ] {
        let changed = script.replace(change, with);
        assert_ne!(script_faults(&changed), Vec::<String>::new(), "{changed}");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let mut faults = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(|folder| files(folder, "rs")) {
        let code = without_comments(&read(&file));
        for name in UNFINISHED {
            if code.contains(&format!("{name}!(")) {
                faults.push(format!("{}: {name}!", shown(&file)));
            }
        }
    }
    assert_none(&faults);
}

/// The folders that a path in the documentation can be in; `./data` and `target/` are made later.
const OUR_FOLDERS: [&str; 8] = ["benches", "docs", "fixtures", "packaging", "scripts", "src", "tests", ".ci"];

/// A code span such as `src/app/send.rs` is a path; what stands behind a colon are functions or types in that file.
#[test]
fn the_documentation_names_files_and_items_that_exist() {
    let mut faults = Vec::new();
    for document in documents() {
        let text = read(&document);
        for span in code_spans(&text) {
            let (path, items) = span.split_once(": ").unwrap_or((span, ""));
            let in_a_folder = path
                .split_once('/')
                .is_some_and(|(folder, _)| OUR_FOLDERS.contains(&folder) && !path.contains([' ', '<', '*']));
            if !in_a_folder {
                continue;
            }
            if !root().join(path).exists() {
                faults.push(format!("{}: there is no {path}", shown(&document)));
                continue;
            }
            for item in items.split(", ").filter(|item| !item.is_empty()) {
                let code = read(&root().join(path));
                if !ITEMS.iter().any(|kind| defines(&code, kind, item)) {
                    faults.push(format!("{}: {path} has no {item}", shown(&document)));
                }
            }
        }
        for target in links(&text) {
            let folder = document.parent().expect("a document is in a folder");
            if !folder.join(target).exists() {
                faults.push(format!("{}: the link to {target} leads nowhere", shown(&document)));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_documentation_names_no_setting_that_does_not_exist() {
    let names: BTreeSet<&str> = setting::names().collect();
    let mut faults = Vec::new();
    for file in documents() {
        for word in words(&read(&file)) {
            let is_ours = word.starts_with("TEXTLEDGER_") || word.starts_with("TWILIO_");
            // A name that ends in an underscore stands for a family.
            if is_ours && !names.contains(word) && !word.ends_with('_') {
                faults.push(format!("{}: there is no setting {word}", shown(&file)));
            }
        }
    }
    assert_none(&faults);
}

/// Writes what `textledger config` prints into the documentation instead of comparing it, if set.
const WRITE: &str = "WRITE_CONFIGURATION";

#[test]
fn the_documentation_has_the_settings_that_textledger_config_prints() {
    let path = root().join("docs/configuration.md");
    let document = read(&path);
    let (before, rest) = document.split_once("```toml\n").expect("the document has a block of settings");
    let (block, after) = rest.split_once("```\n").expect("the block ends");
    let printed = setting::commented_file();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, format!("{before}```toml\n{printed}```\n{after}")).unwrap();
    } else {
        assert!(block == printed, "docs/configuration.md: renew it by {WRITE}=1 cargo test --test it tidy");
    }
}

#[test]
fn the_documentation_lists_every_route() {
    let document = read(&root().join("docs/http.md"));
    let table = read(&root().join("src/http/mod.rs"));
    let routes = table.split('"').filter(|text| text.starts_with('/') && !text.contains(' '));
    let missing: Vec<String> =
        routes.filter(|route| !document.contains(&format!("`{route}`"))).map(str::to_owned).collect();
    assert_none(&missing);
}

/// A tag is moved by whoever owns it; a digest is the same bytes for ever.
#[test]
fn images_are_pinned_by_their_digest() {
    let mut faults = Vec::new();
    for (file, word) in [("Dockerfile", "FROM "), ("docker-compose.yml", "image: ")] {
        let text = read(&root().join(file));
        let images: Vec<&str> =
            text.lines().filter_map(|line| line.trim_start().strip_prefix(word)).collect();
        assert!(!images.is_empty(), "{file} names no image");
        for image in images {
            let image = image.split(' ').next().unwrap_or_default();
            let digest = image.split_once("@sha256:").map_or("", |(_, digest)| digest);
            if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                faults.push(format!("{file}: {image} has no digest"));
            }
        }
    }
    assert_none(&faults);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The file's path from the root on.
fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// All files below `folder` with this extension, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<PathBuf> {
    let mut documents = files("docs", "md");
    documents.extend(["README.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name)));
    documents
}

/// The module that a file below `src` is: `store::redis::keys`, or nothing for the roots.
fn module_of(file: &Path) -> String {
    let path = file.strip_prefix(root().join("src")).expect("the file is below src").with_extension("");
    let mut parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "main", "lib"].contains(&last.as_str())) {
        parts.pop();
    }
    parts.join("::")
}

/// Whether the path is `part` or something below it.
fn is_within(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The code without the lines that are comments.
fn without_comments(code: &str) -> String {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path of the crate that the code of `module` names, from the crate's root on.
fn named_paths(module: &str, code: &str) -> Vec<String> {
    let code = without_comments(code);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        paths_of_tree(&code[at + "crate::".len()..], "", &mut found);
    }
    // In the tests' own module `super` is the file itself.
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let mut rest = code;
    while let Some(at) = rest.find("super::") {
        rest = &rest[at..];
        let mut parent = module;
        while let Some(further) = rest.strip_prefix("super::") {
            parent = parent.rsplit_once("::").map_or("", |(parent, _)| parent);
            rest = further;
        }
        paths_of_tree(rest, parent, &mut found);
    }
    found
}

/// Reads the path, or the paths in braces, that `text` begins with, and returns what follows.
fn paths_of_tree<'a>(text: &'a str, before: &str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.is_empty() {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            rest = paths_of_tree(rest, before, found);
            // A path may go on as another name.
            rest = rest.trim_start_matches(|character| character != ',' && character != '}');
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        return rest;
    }
    let end = text.find(|character: char| !is_in_word(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
    match rest.strip_prefix("::") {
        Some(rest) => paths_of_tree(rest, &path, found),
        None => {
            found.push(path);
            rest
        }
    }
}

fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !is_in_word(character)).filter(|word| !word.is_empty())
}

/// Whether the code defines `item`, which may be written with its type before it.
fn defines(code: &str, kind: &str, item: &str) -> bool {
    let name = item.rsplit("::").next().unwrap_or(item);
    let definition = format!("{kind} {name}");
    code.match_indices(&definition).any(|(at, _)| {
        let follows = code[at + definition.len()..].chars().next();
        let precedes = code[..at].chars().next_back();
        !follows.is_some_and(is_in_word) && !precedes.is_some_and(is_in_word)
    })
}

/// What a script does not say of its keys, its arguments and its result.
fn script_faults(script: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let (head, code): (Vec<&str>, Vec<&str>) = {
        let length = script.lines().take_while(|line| line.starts_with("--")).count();
        (script.lines().take(length).collect(), script.lines().skip(length).collect())
    };
    let code = code.join("\n");
    if !head.iter().any(|line| line.starts_with("-- Returns ")) {
        faults.push("the head does not say what it returns".to_owned());
    }
    for list in ["KEYS", "ARGV"] {
        // A name that ends with … is that of any number of arguments, ? of one that may be left out.
        let (runs, listed): (Vec<&str>, Vec<&str>) =
            listed_names(&head, list).into_iter().partition(|name| name.ends_with('…'));
        let listed: Vec<&str> = listed.into_iter().map(|name| name.trim_end_matches('?')).collect();
        let named = unpacked_names(&code, list);
        if listed != named || (listed.is_empty() && runs.is_empty() && code.contains(list)) {
            faults.push(format!("its head lists as {list} {listed:?}, and it takes {named:?}"));
        }
        for run in runs.iter().map(|run| run.trim_end_matches('…')) {
            if !code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == run)
            {
                faults.push(format!("its head lists as {list} {run}, which it does not name"));
            }
        }
        let places = |before: &str, after: char| -> Vec<usize> {
            let texts = code.split(before).skip(1).filter_map(|rest| rest.split(after).next());
            texts.filter_map(|text| text.parse().ok()).collect()
        };
        if let Some(place) = places(&format!("{list}["), ']').first() {
            faults.push(format!("{list}[{place}] has no name"));
        }
        let runs_begin = places(&format!("{{ unpack({list}, "), ')');
        if runs_begin.iter().any(|place| runs.is_empty() || *place != listed.len() + 1) {
            faults.push(format!(
                "a run of {list} is not listed, or does not begin behind the {}",
                listed.len()
            ));
        }
    }
    faults
}

/// The names that the head of a script lists below `list`; what is indented further goes on with what is above it.
fn listed_names<'a>(head: &[&'a str], list: &str) -> Vec<&'a str> {
    let title = format!("-- {list}");
    let below = head.iter().skip_while(|line| !line.starts_with(&title)).skip(1);
    let items = below.map_while(|line| line.strip_prefix("--   "));
    items.filter(|item| !item.starts_with(' ')).filter_map(|item| item.split(' ').next()).collect()
}

/// The names that a script gives to all of `list` by `local … = unpack(list)`.
fn unpacked_names<'a>(code: &'a str, list: &str) -> Vec<&'a str> {
    let Some((before, _)) = code.split_once(&format!(" = unpack({list})")) else { return Vec::new() };
    let names = before.rsplit("local ").next().unwrap_or_default();
    names.split(',').map(str::trim).collect()
}

/// The code within a line of text, without its backticks; blocks of code are left out.
fn code_spans(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Where a document's links to other files lead.
fn links(text: &str) -> Vec<&str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    })
}
