//! The pages name files of this repository: each of them is there.

use std::fs;
use std::path::{Path, PathBuf};

/// The pages: those at the top, and those under `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().join("docs")];
    pages.extend(markdown_in(&root()));
    while let Some(folder) = folders.pop() {
        pages.extend(markdown_in(&folder));
        folders.extend(entries(&folder).into_iter().filter(|it| it.is_dir()));
    }
    pages
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn markdown_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|it| it.extension().is_some_and(|it| it == "md")).collect()
}

/// What stands between backticks and begins like a path from the root.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let is_file = |it: &&str| {
        ["crates/", "src/", "tests/", "docs/", "ci/", ".ci/", "examples/", "benches/"]
            .iter()
            .any(|start| it.starts_with(start))
            && it.chars().all(is_of_path)
    };
    text.split('`').skip(1).step_by(2).filter(is_file)
}

fn is_of_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-".contains(c)
}

/// The targets of links that lead to files.
fn linked_files(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target))
}

#[test]
fn the_files_that_the_pages_name_exist() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let here = page.parent().unwrap();
        let files = named_files(&text).map(|it| root().join(it));
        let linked = linked_files(&text).map(|it| here.join(it));
        for file in files.chain(linked) {
            seen += 1;
            if !file.exists() {
                missing.push(format!("{}: {}", page.display(), file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "named, and not there:\n{}", missing.join("\n"));
    assert!(seen > 50, "the pages name files, and {seen} were found");
}

/// The page of invariants names tests, each behind its file.
#[test]
fn the_tests_that_the_page_of_invariants_names_exist() {
    let text = fs::read_to_string(root().join("docs/invariants.md")).unwrap();
    let named: Vec<_> = text.split('`').skip(1).step_by(2).collect();
    let tests = named.windows(2).filter(|pair| pair[0].ends_with(".rs") && !pair[1].contains('/'));
    let mut seen = 0;
    for pair in tests {
        let [file, test] = pair else { unreachable!("windows of two") };
        let code = fs::read_to_string(root().join(file)).unwrap();
        assert!(code.contains(&format!("fn {test}(")), "{file} has no test `{test}`");
        seen += 1;
    }
    assert!(seen > 50, "the page names tests, and {seen} were found");
}

/// Other places of the code name pages.
#[test]
fn the_pages_that_the_code_names_exist() {
    let mut missing = Vec::new();
    let mut folders = vec![root().join("crates"), root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                let words = text.split(|c| !is_of_path(c));
                let pages = words.filter(|it| it.starts_with("docs/") && it.ends_with(".md"));
                missing.extend(pages.filter(|it| !root().join(it).exists()).map(String::from));
            }
        }
    }
    assert!(missing.is_empty(), "named, and not there: {missing:?}");
}
