//! The shape of the tree: layers, purity, sizes, names. A rule that is not tested is a wish.
//!
//! Each rule is a function from sources to violations. It is held against the whole tree, and against a bad text that it must
//! find.

mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Source, is_word};

/// The layers of `src/`, from the bottom. A module sees those below it, and itself.
const LAYERS: [&[&str]; 10] = [
    &["model"],
    &["crypto", "media"],
    &["outward"],
    &["disk", "bucket", "sso", "spans", "timing"],
    &["catalog", "keyring", "store", "spool"],
    &["reading", "audit"],
    &["ingest", "playback", "expire"],
    &["http"],
    &["app", "config", "telemetry"],
    &["cli"],
];

/// Modules of one layer that see each other all the same: who, whom, why.
const NEIGHBOURS: [(&str, &str, &str); 1] = [("app", "config", "wiring begins with settings that were checked")];

/// The crate's two roots; they name modules and do nothing else.
const ROOTS: [&str; 2] = ["lib", "main"];

/// What layers 0 and 1 may not name. A pure function can be tested for every input, and read without its surroundings.
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::time",
    "std::env",
    "std::process",
    "std::thread",
    "tokio",
    "futures",
    "tracing",
    "object_store",
    "rusqlite",
    "async",
    "await",
];
/// The one file of layers 0 and 1 that asks for the time.
const CLOCK: &str = "src/model/clock.rs";
/// The one file that asks for randomness.
const RANDOM: &str = "src/crypto/random.rs";

/// Libraries that stay behind one seam: who may name them.
const SEAMS: [(&str, &[&str]); 7] = [
    ("rusqlite", &["src/catalog/sqlite"]),
    ("tokio_postgres", &["src/catalog/postgres"]),
    ("deadpool_postgres", &["src/catalog/postgres"]),
    ("object_store", &["src/store/", "src/bucket/"]),
    ("axum", &["src/http/"]),
    ("clap", &["src/cli/", "src/config/"]),
    ("jsonwebtoken", &["src/sso/"]),
];

/// The only public traits, each a place where one implementation is exchanged for another.
const TRAITS: [(&str, &str); 8] = [
    ("Access", "src/catalog/access.rs"),
    ("Backend", "src/catalog/conformance.rs"),
    ("BlobKey", "src/crypto/blob.rs"),
    ("Body", "src/ingest/mod.rs"),
    ("Catalog", "src/catalog/mod.rs"),
    ("Clock", "src/model/clock.rs"),
    ("KeyStore", "src/keyring/mod.rs"),
    ("Trails", "src/catalog/trail.rs"),
];

const FILE_LINES_MAX: usize = 600;
/// Longer files, each with its limit and its reason.
const LONGER: [(&str, usize, &str); 1] =
    [("src/crypto/vectors.rs", 900, "forms of nine vector files, read in one way")];
/// Lines of code; comments and blank lines are free.
const FUNCTION_LINES_MAX: usize = 80;
const TEST_LINES_MAX: usize = 120;
const TEST_NAME_WORDS_MIN: usize = 4;

/// Words that say nothing about what a file holds (DESIGN section 2).
const EMPTY_WORDS: [&str; 10] =
    ["manager", "managers", "helper", "helpers", "util", "utils", "data", "info", "common", "misc"];

/// A place and what is wrong there.
type Violations = Vec<String>;

// Layers.

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Each import of another module of the crate: line and module.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let own = source.module_path();
    let mut imports = Vec::new();
    for named in source.paths() {
        let supers = named.segments.iter().take_while(|segment| *segment == "super").count();
        let target = match named.segments[0].as_str() {
            "crate" | "callvault" => named.segments.get(1),
            "super" if supers >= own.len() => named.segments.get(supers),
            _ => None,
        };
        if let Some(target) = target.filter(|target| layer_of(target).is_some()) {
            imports.push((named.line, target.clone()));
        }
    }
    imports
}

fn upward_imports(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    for source in sources {
        let Some(module) = source.module().filter(|module| !ROOTS.contains(module)) else { continue };
        let Some(own) = layer_of(module) else {
            violations.push(format!("{}: '{module}' has no layer; give it one in LAYERS", source.path));
            continue;
        };
        for (line, target) in imports(source) {
            let is_neighbour = NEIGHBOURS.iter().any(|(who, whom, _)| *who == module && *whom == target);
            if target != module && !is_neighbour && layer_of(&target).is_some_and(|layer| layer >= own) {
                violations.push(format!("{}:{line}: '{module}' may not see '{target}'", source.path));
            }
        }
    }
    violations
}

#[test]
fn imports_point_down_the_layers_only() {
    assert_none(upward_imports(&tree()));

    for bad in ["use crate::http::Face;", "use crate::{model::Class, store::Store};", "fn f() { crate::cli::main() }"] {
        assert_eq!(upward_imports(&[Source::new("src/keyring/mirrors.rs", bad)]).len(), 1, "{bad}");
    }
    let climbing = Source::new("src/keyring/mirrors.rs", "use super::super::catalog::Catalog;");
    assert_eq!(upward_imports(&[climbing]).len(), 1);
    assert_eq!(upward_imports(&[Source::new("src/helpers/mod.rs", "")]).len(), 1);
}

#[test]
fn a_module_sees_itself_and_what_is_below_it() {
    let text = "//! See crate::http.\nuse super::super::catalog::Row; // crate::cli\nuse crate::crypto::{keys::{Kek, Leaf}, wrap};";
    assert_none(upward_imports(&[Source::new("src/catalog/sqlite/rows.rs", text)]));
}

#[test]
fn every_exception_to_the_layers_is_used() {
    let sources = tree();
    let seen: BTreeSet<(String, String)> = sources
        .iter()
        .filter_map(|source| Some((source.module()?, imports(source))))
        .flat_map(|(module, imports)| imports.into_iter().map(move |(_, target)| (module.to_owned(), target)))
        .collect();
    for (who, whom, _) in NEIGHBOURS {
        assert!(seen.contains(&(who.to_owned(), whom.to_owned())), "'{who}' does not see '{whom}' any more");
    }
    for (path, limit, _) in LONGER {
        let lines = sources.iter().find(|source| source.path == path).map_or(0, |source| source.text.lines().count());
        assert!(lines > FILE_LINES_MAX && lines <= limit, "{path} has {lines} lines");
    }
}

// Purity and seams.

fn is_below(path: &[String], prefix: &str) -> bool {
    let prefix: Vec<_> = prefix.split("::").collect();
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(segment, wanted)| segment == wanted)
}

fn impurities(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    let pure = |source: &&Source| matches!(source.module(), Some("model" | "crypto" | "media")) && source.path != CLOCK;
    for source in sources.iter().filter(pure) {
        for named in source.paths() {
            if let Some(impure) = IMPURE.iter().find(|impure| is_below(&named.segments, impure)) {
                violations.push(format!("{}:{}: '{impure}' in a pure layer", source.path, named.line));
            }
        }
    }
    violations
}

#[test]
fn the_lowest_layers_know_no_clock_disk_network_async_or_log() {
    assert_none(impurities(&tree()));

    for bad in ["use std::{fmt, fs};", "async fn f() {}", "fn f() { tracing::info!(\"\") }", "use tokio::{self};"] {
        assert_eq!(impurities(&[Source::new("src/crypto/ring.rs", bad)]).len(), 1, "{bad}");
    }
    assert_none(impurities(&[Source::new("src/model/clock.rs", "use std::time::SystemTime;")]));
}

fn crossed_seams(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        for named in source.paths() {
            let seam = SEAMS.iter().find(|(library, _)| named.segments.len() > 1 && named.segments[0] == *library);
            let crossed = seam.filter(|(_, homes)| !homes.iter().any(|home| source.path.starts_with(home)));
            if let Some((library, homes)) = crossed {
                violations.push(format!("{}:{}: '{library}' stays in {}", source.path, named.line, homes.join(", ")));
            }
        }
    }
    violations
}

#[test]
fn databases_stores_and_frameworks_stay_behind_their_seams() {
    assert_none(crossed_seams(&tree()));

    assert_eq!(crossed_seams(&[Source::new("src/http/ops.rs", "use rusqlite::Connection;")]).len(), 1);
    assert_eq!(crossed_seams(&[Source::new("src/ingest/mod.rs", "use axum::body::Body;")]).len(), 1);
}

/// Paths that ask the machine for the time or for randomness, outside of the two files that may.
fn hidden_inputs(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        for named in source.paths() {
            let last = named.segments.last().map_or("", String::as_str);
            let before = named.segments.iter().rev().nth(1).map_or("", String::as_str);
            let asks_time = named.segments.iter().any(|segment| segment == "SystemTime")
                || (last == "now" && matches!(before, "Timestamp" | "Zoned" | "Utc" | "Local"));
            let asks_randomness = matches!(named.segments[0].as_str(), "getrandom" | "rand" | "fastrand");
            let is_excused = last == "disallowed_methods";
            let is_home = match (asks_time, asks_randomness) {
                (true, _) => source.path == CLOCK,
                (_, true) => source.path == RANDOM,
                _ if is_excused => [CLOCK, RANDOM].contains(&source.path.as_str()),
                _ => true,
            };
            if !is_home {
                violations.push(format!("{}:{}: {}", source.path, named.line, named.segments.join("::")));
            }
        }
    }
    violations
}

#[test]
fn the_wall_clock_and_randomness_have_one_home_each() {
    assert_none(hidden_inputs(&tree()));

    for bad in [
        "fn f() { jiff::Timestamp::now(); }",
        "use std::time::{Duration, SystemTime};",
        "fn f() { getrandom::fill(&mut b) }",
        "#[allow(clippy::disallowed_methods)]",
    ] {
        assert_eq!(hidden_inputs(&[Source::new("src/expire/mod.rs", bad)]).len(), 1, "{bad}");
    }
}

/// The journal of sealings, and the variable that asks for it.
const JOURNALS: [&str; 2] = ["src/crypto/journal.rs", "src/telemetry/journal.rs"];

/// Whatever names the journal without being left out of release builds.
fn released_journals(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    let others = |source: &&Source| source.path.starts_with("src/") && !JOURNALS.contains(&source.path.as_str());
    for source in sources.iter().filter(others) {
        if source.text.contains(crate::support::journal::VARIABLE) {
            violations.push(format!("{}: names the journal's variable", source.path));
        }
        let code: Vec<_> = source.code.lines().collect();
        for (line, _) in source.words().filter(|(_, word)| *word == "journal") {
            let before = code[..line - 1].last().map_or("", |line| line.trim());
            if before != "#[cfg(debug_assertions)]" {
                violations.push(format!("{}:{line}: the journal in a release build", source.path));
            }
        }
    }
    violations
}

#[test]
fn the_journal_of_sealings_is_left_out_of_release_builds() {
    let sources = tree();
    assert_none(released_journals(&sources));
    for path in JOURNALS {
        assert!(sources.iter().any(|source| source.path == path), "{path} is there");
    }

    for bad in [
        "pub mod journal;",
        "fn f() {\n    #[cfg(debug_assertions)]\n    g();\n    super::journal::note();\n}",
        "#[cfg(not(debug_assertions))]\nmod journal;",
        "fn f() { env(\"CALLVAULT_SEAL_JOURNAL\") }",
    ] {
        assert_eq!(released_journals(&[Source::new("src/app/mod.rs", bad)]).len(), 1, "{bad}");
    }
}

fn stray_traits(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let words: Vec<_> = source.words().collect();
        for three in words.windows(3) {
            let [(line, "pub"), (_, "trait"), (_, name)] = three else { continue };
            if !TRAITS.contains(&(*name, source.path.as_str())) {
                violations.push(format!("{}:{line}: the trait '{name}' is at no seam", source.path));
            }
        }
    }
    violations
}

#[test]
fn public_traits_stand_at_the_named_seams_only() {
    let sources = tree();
    assert_none(stray_traits(&sources));
    for (name, path) in TRAITS {
        let declares = |source: &Source| source.path == path && source.code.contains(&format!("pub trait {name}"));
        assert!(sources.iter().any(declares), "{path} declares no '{name}'");
    }

    assert_eq!(stray_traits(&[Source::new("src/http/mod.rs", "pub trait Handler {}")]).len(), 1);
}

// Words and forms.

fn headless(sources: &[Source]) -> Violations {
    let has_head = |source: &&Source| !source.text.starts_with("//! ");
    sources.iter().filter(has_head).map(|source| format!("{}: begins without a '//!' line", source.path)).collect()
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    assert_none(headless(&tree()));

    assert_eq!(headless(&[Source::new("src/x.rs", "use std::fmt;\n//! Late.")]).len(), 1);
}

fn oversized(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    for source in sources {
        let lines = source.text.lines().count();
        let lines_max =
            LONGER.iter().find(|(path, ..)| *path == source.path).map_or(FILE_LINES_MAX, |(_, max, _)| *max);
        if lines > lines_max {
            violations.push(format!("{}: {lines} lines, {lines_max} may be", source.path));
        }
        let is_test_file = !source.path.starts_with("src/") || source.path.ends_with("/tests.rs");
        for function in source.functions() {
            let is_test = is_test_file || function.is_test;
            let len_max = if is_test { TEST_LINES_MAX } else { FUNCTION_LINES_MAX };
            if function.len > len_max {
                let (line, name, len) = (function.line, &function.name, function.len);
                violations.push(format!("{}:{line}: '{name}' has {len} lines, {len_max} may be", source.path));
            }
        }
    }
    violations
}

#[test]
fn files_and_functions_stay_of_a_size_one_can_hold_in_the_head() {
    assert_none(oversized(&tree()));

    let body =
        |lines: usize| format!("//! X.\n\nfn long(a: [u8; 3]) {{\n{}}}\n", "    step();\n\n    // why\n".repeat(lines));
    assert_none(oversized(&[Source::new("src/x.rs", &body(78))]));
    assert_eq!(oversized(&[Source::new("src/x.rs", &body(79))]).len(), 1);
    let test = format!("//! X.\n{}", body(79).replace("fn long", "#[tokio::test]\nasync fn long"));
    assert_none(oversized(&[Source::new("src/x.rs", &test)]));
    assert_eq!(oversized(&[Source::new("src/x.rs", &"\n".repeat(601))]).len(), 1);
}

/// What is not finished, and what is not allowed at all.
fn forbidden(sources: &[Source]) -> Violations {
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
    let mut violations = Violations::new();
    for source in sources {
        for (line, word) in
            source.words().filter(|(_, word)| matches!(*word, "unsafe" | "todo" | "unimplemented" | "dbg"))
        {
            violations.push(format!("{}:{line}: {word}", source.path));
        }
        for (index, line) in source.comments.lines().enumerate() {
            for word in line.split(|c| !is_word(c)).filter(|word| unfinished.contains(word)) {
                violations.push(format!("{}:{}: {word}", source.path, index + 1));
            }
        }
    }
    violations
}

#[test]
fn nothing_is_unsafe_and_nothing_says_that_it_is_unfinished() {
    let sources = tree();
    assert_none(forbidden(&sources));
    let lib = sources.iter().find(|source| source.path == "src/lib.rs").expect("the crate has a root");
    assert!(lib.code.contains("#![forbid(unsafe_code)]"), "src/lib.rs forbids unsafe code");

    for bad in
        ["fn f() { unsafe { g() } }", "fn f() { todo!() }", "fn f() { dbg!(1); }", concat!("// FIX", "ME: later")]
    {
        assert_eq!(forbidden(&[Source::new("src/x.rs", bad)]).len(), 1, "{bad}");
    }
    assert_none(forbidden(&[Source::new("src/x.rs", "// An unsafe place.\nconst A: &str = \"unsafe { todo!() }\";")]));
}

/// Names of files, folders and modules that say nothing, and words of other fields where ours has its own.
fn empty_names(sources: &[Source]) -> Violations {
    let mut violations = Violations::new();
    for source in sources {
        let words: Vec<_> = source.words().collect();
        let modules = words.windows(2).filter_map(|two| (two[0].1 == "mod").then_some(two[1].1));
        let parts = source.path.trim_end_matches(".rs").split('/');
        for name in parts.chain(modules) {
            if name.split('_').any(|word| EMPTY_WORDS.contains(&word)) {
                violations.push(format!("{}: the name '{name}' says nothing", source.path));
            }
        }
        if !source.path.starts_with("src/") || source.path.starts_with("src/crypto/") {
            continue;
        }
        for (line, word) in words {
            let lower = word.to_ascii_lowercase();
            let is_foreign =
                lower.contains("encrypt") || lower.contains("decrypt") || lower.split('_').any(|w| w == "ttl");
            if is_foreign {
                violations.push(format!("{}:{line}: '{word}'; we say seal, open, term", source.path));
            }
        }
    }
    violations
}

#[test]
fn names_are_words_of_the_field() {
    assert_none(empty_names(&tree()));

    assert_eq!(empty_names(&[Source::new("src/http/url_utils.rs", "")]).len(), 1);
    assert_eq!(empty_names(&[Source::new("src/http/mod.rs", "mod data;")]).len(), 1);
    assert_eq!(empty_names(&[Source::new("src/http/mod.rs", "fn encrypt_body() {}")]).len(), 1);
    assert_eq!(empty_names(&[Source::new("src/http/mod.rs", "const CACHE_TTL: u64 = 1;")]).len(), 1);
}

fn short_test_names(sources: &[Source]) -> Violations {
    let tests = sources.iter().flat_map(|source| {
        source.functions().into_iter().filter(|function| function.is_test).map(move |function| (source, function))
    });
    let short = tests.filter(|(_, function)| function.name.split('_').count() < TEST_NAME_WORDS_MIN);
    short.map(|(source, function)| format!("{}:{}: '{}'", source.path, function.line, function.name)).collect()
}

#[test]
fn a_test_name_is_a_sentence() {
    assert_none(short_test_names(&tree()));

    for bad in ["#[test]\nfn it_works() {}", "#[tokio::test(flavor = \"current_thread\")]\nasync fn basic() {}"] {
        assert_eq!(short_test_names(&[Source::new("tests/it/x.rs", bad)]).len(), 1, "{bad}");
    }
    assert_none(short_test_names(&[Source::new(
        "tests/it/x.rs",
        "fn noise() {}\n#[test]\nfn a_cut_object_is_refused() {}",
    )]));
}

// What is written about the tree.

/// Test functions and files that a text names in backticks: `tests/it/x.rs` and names of five words or more.
fn named_in(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        name.ends_with(".rs")
            || (name.matches('_').count() >= 4 && name.chars().all(|c| is_word(c) && !c.is_uppercase()))
    })
}

#[test]
fn files_and_tests_that_the_map_names_exist() {
    let sources = tree();
    let functions: BTreeSet<String> =
        sources.iter().flat_map(|source| source.functions()).map(|function| function.name).collect();
    let lib = sources.iter().find(|source| source.path == "src/lib.rs").expect("the crate has a root");
    let mut names = 0;
    for name in named_in(&lib.text) {
        let exists = match name.ends_with(".rs") {
            true => root().join(name).exists() || root().join("src").join(name).exists(),
            false => functions.contains(name),
        };
        assert!(exists, "src/lib.rs names `{name}`, which is not in the tree");
        names += 1;
    }

    assert!(names > 10, "the map names what keeps the promises");
    let bad: Vec<_> =
        named_in("`tests/it/gone.rs` proves it, `a_test_that_was_renamed` too; not `plain_len`").collect();
    assert_eq!(bad, ["tests/it/gone.rs", "a_test_that_was_renamed"]);
}

#[test]
fn the_readme_names_every_setting_and_every_route() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let between = |path: &str, mark: &str| -> Vec<String> {
        let text = std::fs::read_to_string(root().join(path)).expect("the file is there");
        let found = text.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
        found.map(str::to_owned).collect()
    };

    let settings = between("src/config/raw.rs", "env = \"");
    let routes = between("src/http/routes.rs", ".route(\"");

    assert!(settings.len() > 15 && routes.len() > 5, "the two tables were read");
    for name in settings.iter().chain(&routes) {
        let name = name.replace("{*rest}", "");
        assert!(readme.contains(&name), "the README does not name {name}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> Vec<Source> {
    let sources = Source::all(root(), &["src", "tests", "benches"]);
    assert!(sources.len() > 50, "the tree was found");
    sources
}

fn assert_none(violations: Violations) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
