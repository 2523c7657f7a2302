//! Tells the harness which compiler's `std` it measures.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").expect("cargo says it");
    let output = std::process::Command::new(rustc).arg("--version").output().expect("it runs");
    let version = String::from_utf8_lossy(&output.stdout);
    println!("cargo::rustc-env=RUSTC_VERSION={}", version.split(' ').nth(1).unwrap_or("unknown"));
}
