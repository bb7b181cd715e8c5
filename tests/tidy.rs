//! What a machine can keep of docs and style: layers, module docs, banned names, error pages, one version a crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use steward_types::ErrorCode;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn metadata() -> Metadata {
    let options = ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned);
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).other_options(options).exec().unwrap()
}

/// Every source file of ours with its path from the root, generated code left out.
fn sources(extension: &str) -> Vec<(String, String)> {
    let root = root();
    let skipped = |name: &str| matches!(name, "target" | ".git" | ".cache" | "node_modules" | "generated" | ".steward");
    let files = walkdir::WalkDir::new(&root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().to_str().is_some_and(skipped))
        .map(|entry| entry.unwrap());
    let ours = files.filter(|file| file.path().extension().is_some_and(|e| e == extension));
    ours.map(|file| {
        let name = file.path().strip_prefix(&root).unwrap().display().to_string();
        (name, fs::read_to_string(file.path()).unwrap())
    })
    .filter(|(_, text): &(String, String)| !text.starts_with("// This file is @generated"))
    .collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn dependencies_point_down_only() {
    let layers: &[&[&str]] = &[
        &["steward-types", "steward-chaos-proxy"],
        &["foundationdb-sys", "steward-inference-cuda"],
        &["steward-storage", "steward-scripting", "steward-inference", "steward-adapters", "steward-receipts"],
        &[
            "steward-storage-embedded",
            "steward-storage-link",
            "steward-storage-fdb",
            "steward-inference-candle",
            "steward-adapters-cosmos",
            "steward-adapters-evm",
            "steward-adapters-solana",
            "steward-adapters-tools",
            "steward-chaos-chains",
            "steward-adapters-signers",
        ],
        &["steward-actors"],
        &["steward-cluster"],
        &["steward-api"],
        &["steward"],
        &["steward-chaos"],
        &["steward-tests"],
    ];
    let layer = |name: &str| layers.iter().position(|names| names.contains(&name));
    let driver_of = |name: &str| match name {
        "steward-storage-embedded" | "steward-storage-link" | "steward-storage-fdb" => Some("steward-storage"),
        "steward-inference-candle" => Some("steward-inference"),
        "steward-adapters-cosmos"
        | "steward-adapters-evm"
        | "steward-adapters-solana"
        | "steward-adapters-tools"
        | "steward-adapters-signers" => Some("steward-adapters"),
        _ => None,
    };
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let from = package.name.as_str();
        let Some(own) = layer(from) else {
            wrong.push(format!("{from} stands in no layer: add it to this test"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let to = dependency.name.as_str();
            let Some(below) = layer(to) else { continue };
            let drivers_only_in_cli = driver_of(to).is_none() || own >= layer("steward").unwrap();
            let own_port = driver_of(from)
                .is_none_or(|port| [port, "steward-types", "foundationdb-sys", "steward-inference-cuda"].contains(&to));
            if below >= own || !drivers_only_in_cli || !own_port {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert_none("dependencies against the layers of ARCHITECTURE.md", &wrong);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let bare = sources("rs").into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name);
    assert_none("files that do not open with `//!`", &bare.collect::<Vec<_>>());
}

#[test]
fn nothing_is_called_after_nothing() {
    let banned = ["utils", "util", "common", "helpers", "helper", "misc", "manager", "mod"];
    let named = sources("rs").into_iter().map(|(name, _)| name).filter(|name| {
        Path::new(name).iter().any(|part| banned.contains(&part.to_str().unwrap().trim_end_matches(".rs")))
    });
    assert_none("files whose name says nothing (or mod.rs)", &named.collect::<Vec<_>>());
}

#[test]
fn every_lint_exception_has_a_reason_and_nothing_is_left_undone() {
    let allow = concat!("#[", "allow(");
    let undone = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("unimplemented", "!(")];
    let mut found = Vec::new();
    for (name, text) in sources("rs").into_iter().chain(sources("sol")).chain(sources("rhai")) {
        for (number, line) in text.lines().enumerate() {
            if line.contains(allow) || undone.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("`allow` in place of `expect`, or unfinished work", &found);
}

#[test]
fn every_error_code_has_its_page_and_every_page_its_code() {
    let folder = root().join("docs/errors");
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let codes: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| code.page()).collect();
    assert_eq!(pages, codes);
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    for code in ErrorCode::ALL {
        let page = fs::read_to_string(folder.join(code.page())).unwrap();
        assert!(page.starts_with(&format!("# {}\n", code.reason())), "{} opens with its code", code.page());
        assert!(page.contains(&format!("| {} |", code.status().http())), "{} names its HTTP status", code.page());
        assert!(page.contains("## What to do"), "{} says what to do", code.page());
        assert!(index.contains(&format!("[{}]({})", code.reason(), code.page())), "{code} stands in the index");
    }
}

/// What a file counts and measures, by the names that its lines give the macros of `metrics`, or constants for them.
fn metrics_of(text: &str) -> BTreeSet<&str> {
    let literals = text.split("\"steward_").skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name);
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if text.contains("metrics::") { literals.filter(is_name).collect() } else { BTreeSet::new() }
}

#[test]
fn every_metric_stands_in_the_operators_manual() {
    let manual = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let ours = sources("rs").into_iter().filter(|(name, _)| name.contains("/src/"));
    let mut unknown = BTreeSet::new();
    for (name, text) in ours {
        let lacks = |metric: &&str| !manual.contains(&format!("`steward_{metric}`"));
        unknown.extend(metrics_of(&text).into_iter().filter(lacks).map(|metric| format!("{name}: steward_{metric}")));
    }
    assert_none("metrics that docs/operations.md does not name", &unknown.into_iter().collect::<Vec<_>>());
}

#[test]
fn links_between_our_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (name, text) in sources("md") {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            let is_file = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_file && !folder.join(target).exists() {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert_none("links to files that are not there", &broken);
}

#[test]
fn one_version_a_crate_but_for_exceptions_with_a_reason() {
    let deny: toml::Table = fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let skip = deny["bans"]["skip"].as_array().unwrap();
    let mut excepted = BTreeMap::new();
    for exception in skip {
        let name = exception["crate"].as_str().expect("an exception names its crate");
        let reason = exception.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default();
        assert!(!reason.is_empty(), "deny.toml: the exception for {name} gives no reason");
        excepted.insert(name.to_owned(), false);
    }
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let metadata = metadata();
    let built = &metadata.resolve.as_ref().expect("metadata resolves").nodes;
    for package in built.iter().map(|node| &metadata[&node.id]) {
        versions.entry(package.name.to_string()).or_default().insert(package.version.to_string());
    }
    let mut several = Vec::new();
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        match excepted.get_mut(&name) {
            Some(used) => *used = true,
            None => several.push(format!("{name} {versions:?}")),
        }
    }
    assert_none("crates in several versions without an exception in deny.toml", &several);
    let stale: Vec<String> = excepted.into_iter().filter(|(_, used)| !used).map(|(name, _)| name).collect();
    assert_none("exceptions in deny.toml that are not needed any more", &stale);
}

#[test]
fn every_crate_that_is_built_has_a_licence_that_deny_toml_allows() {
    let deny: toml::Table = fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(|l| l.as_str()).collect();
    let metadata = metadata();
    let built = &metadata.resolve.as_ref().expect("metadata resolves").nodes;
    let mut wrong = Vec::new();
    for package in built.iter().map(|node| &metadata[&node.id]) {
        let licence = licence_of(package);
        if !is_allowed(&licence, &allowed) {
            wrong.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert_none("crates under a licence that deny.toml does not allow", &wrong);
}

/// What the crate names, or else what the file that it names begins with.
fn licence_of(package: &Package) -> String {
    let text = package.license_file().map(|file| fs::read_to_string(file).unwrap()).unwrap_or_default();
    match &package.license {
        Some(named) => named.clone(),
        None if text.contains("Apache License") && text.contains("Version 2.0") => "Apache-2.0".to_owned(),
        None => "none is named".to_owned(),
    }
}

/// Whether an SPDX expression can be met with these licences alone. `AND` binds closer than `OR`; some crates still write
/// `/` for `OR`, and `+` for "or later", which allows the version itself.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    // Brackets come only around alternatives that are joined by AND with others.
    if let Some((before, rest)) = expression.split_once('(')
        && let Some((inside, after)) = rest.split_once(')')
    {
        return inside.split(" OR ").any(|one| is_allowed(&format!("{before}{one}{after}"), allowed));
    }
    expression.split(" OR ").any(|all| all.split(" AND ").all(|one| allowed.contains(one.trim().trim_end_matches('+'))))
}

#[test]
fn licences_are_read_as_spdx_means_them() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    let check =
        |expression: &str, expected: bool| assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    check("MIT OR GPL-3.0", true);
    check("MIT/GPL-3.0", true);
    check("ISC+", true);
    check("GPL-3.0", false);
    check("MIT AND GPL-3.0", false);
    check("ISC AND (GPL-3.0 OR MIT)", true);
    check("(MIT OR GPL-3.0) AND GPL-2.0", false);
    check("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true);
    check("none is named", false);
}

#[test]
fn what_is_committed_names_no_place_of_a_developer() {
    let banned =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("index.", "crates.io"), concat!("registry.", "npmjs")];
    let mut found = Vec::new();
    for extension in ["rs", "md", "toml", "sh", "json", "proto", "mjs", "py", "rhai", "sol", "yaml"] {
        for (name, text) in sources(extension) {
            found.extend(banned.iter().filter(|place| text.contains(**place)).map(|place| format!("{name}: {place}")));
        }
    }
    assert_none("paths of a machine, or hosts of a registry", &found);
}
