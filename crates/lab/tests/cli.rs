//! The lab as its user sees it.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn lab(args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_corymb-lab")).args(args).output();
    let output = output.expect("the lab starts");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output, said)
}

#[test]
fn doctor_says_for_each_peer_what_is_missing_and_what_mends_it() {
    let (output, said) = lab(&["doctor", "--scratch", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for peer in ["corymb", "tokio", "tokio-ct", "smol", "threads"] {
        let line = said.lines().find(|line| line.split(' ').next() == Some(peer));
        assert!(line.is_some_and(|line| line.contains("ready")), "{peer}: {said}");
    }
    for peer in ["may", "go", "kotlin", "java"] {
        let line = said.lines().find(|line| line.starts_with(peer)).expect("there is a line");
        assert!(line.contains("missing: ") && line.contains("mend it by: "), "{line}");
    }
}

#[test]
fn a_wrong_name_is_answered_by_the_right_ones() {
    let (output, said) = lab(&["compare", "--peers", "corymb,rayon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("unknown peer rayon; there are corymb, tokio"), "{said}");
}

#[test]
fn nobody_to_measure_is_an_error_before_anything_is_built() {
    let (output, said) = lab(&["compare", "--peers", "go", "--scratch", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("go is left out: missing: "), "{said}");
    assert!(said.contains("there is nobody to measure"), "{said}");
}
