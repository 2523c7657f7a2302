//! The binary of an example, for tests that run it as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// `cargo test` builds it, beside the directory of the tests; `cargo test --test NAME` does not, so
/// it is built here if it is not there.
pub(crate) fn binary(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let name = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(name);
    static BUILD: Once = Once::new();
    BUILD.call_once(|| {
        if !path.exists() {
            build(example, profile);
        }
    });
    assert!(path.exists(), "{} is not there: cargo build --example {example}", path.display());
    path
}

fn build(example: &str, directory: &Path) {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", example, "--profile", profile]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.arg("--target-dir").arg(directory.parent().unwrap());
    assert!(cargo.status().unwrap().success());
}
