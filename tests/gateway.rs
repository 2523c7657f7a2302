//! The gateway example, as a process: however a request ends, nothing of it is left.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

mod example;

fn gateway(args: &[&str]) -> Command {
    let mut command = Command::new(example::binary("gateway"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the example with these lines as its requests.
fn run(args: &[&str], lines: &str) -> Output {
    let mut child = gateway(args).args(["--requests", "-", "--json"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The one line on stdout.
fn summary(output: &Output) -> Value {
    let text = str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}\n{}", stderr(output));
    serde_json::from_str(text).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares the numbers that are given.
#[track_caller]
fn assert_numbers(summary: &Value, expected: &[(&str, u64)]) {
    for (key, number) in expected {
        assert_eq!(summary[key], *number, "{key} in {summary}");
    }
}

#[test]
fn the_sample_ends_as_its_lines_say() {
    let output = gateway(&["--json", "--self-check", "--deadline", "1000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_numbers(
        &summary(&output),
        &[
            ("requests", 32),
            ("ok", 25),
            ("failed", 3),
            ("timed_out", 2),
            ("hung_up", 2),
            ("gone", 2),
            ("interrupted", 0),
            ("unexpected", 0),
            ("refused_lines", 0),
            ("children", 96),
            ("alive", 0),
        ],
    );
}

#[test]
fn a_thousand_plain_requests() {
    let output =
        gateway(&["--plain", "--count", "1000", "--deadline", "60000", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = summary(&output);
    let expected = [("requests", 1000), ("ok", 1000), ("children", 3000), ("cancelled", 0)];
    assert_numbers(&summary, &expected);
    assert_numbers(&summary, &[("alive", 0), ("closed_early", 0)]);
    assert!(summary["p50_us"].as_u64() <= summary["p99_us"].as_u64());
}

#[test]
fn a_backend_that_dies_fails_what_needs_it_and_cancels_the_other_calls() {
    // One at a time: the fourth request kills, the others find nobody.
    let lines = "user 1\nuser 2\nuser 3\nuser 4 slow=users:60s\nuser 5 slow=users:60s\nuser 6\n";
    let args = ["--kill", "stats@3", "--concurrency", "1", "--deadline", "60000"];
    let output = run(&args, lines);
    let (summary, errors) = (summary(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let expected = [("ok", 3), ("failed", 3), ("timed_out", 0), ("interrupted", 0), ("alive", 0)];
    assert_numbers(&summary, &expected);
    assert!(summary["closed_early"].as_u64() > Some(0), "{summary}");
    assert!(summary["cancelled"].as_u64() > Some(0), "{summary}");
    for line in 4..=6 {
        let text = format!("line {line} (user {line}): 502 {{\"backend\":\"stats\"");
        assert!(errors.contains(&text), "{text} in\n{errors}");
    }
    assert!(errors.contains("connection refused"), "{errors}");
}

#[test]
fn a_failure_cancels_the_slow_calls_at_once() {
    let lines = "user 1 fail=stats slow=users:60s slow=orders:60s\n";
    let output = run(&["--deadline", "60000", "-v"], lines);
    let expected = [("failed", 1), ("children", 3), ("cancelled", 2), ("alive", 0)];
    assert_numbers(&summary(&output), &expected);
    assert!(stderr(&output).contains("status 500"), "{}", stderr(&output));
}

#[test]
fn a_client_that_goes_away_cancels_its_tree() {
    // The second request is accepted after the first, which the gateway has seen then.
    let lines = "user 1 hangup slow=users:60s slow=orders:60s slow=stats:60s\nuser 2\n";
    let args = ["--concurrency", "1", "--deadline", "60000", "--grace", "60000"];
    let summary = summary(&run(&args, lines));
    let expected = [("hung_up", 1), ("gone", 1), ("ok", 1), ("children", 6), ("cancelled", 3)];
    assert_numbers(&summary, &expected);
    assert_numbers(&summary, &[("alive", 0)]);
}

#[test]
fn the_deadline_ends_what_is_too_slow() {
    let lines = "user 1 slow=orders:60s\nuser 2 slow=users:60s slow=orders:60s slow=stats:60s\n";
    let output = run(&["--deadline", "200"], lines);
    let summary = summary(&output);
    assert_numbers(&summary, &[("timed_out", 2), ("unexpected", 0), ("alive", 0)]);
    assert_numbers(&summary, &[("children", 6)]);
    assert!(summary["cancelled"].as_u64() >= Some(4), "{summary}");
}

#[test]
fn malformed_lines_are_told_and_passed_over() {
    let lines = "user 1\nusr 2\n\n# a comment\nuser x\nuser 3 slow=stats\nuser 4 burn=stats\n\
                 user 5 fail=nobody\nuser 6";
    let output = run(&[], lines);
    let (summary, errors) = (summary(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let expected = [("requests", 2), ("ok", 2), ("refused_lines", 5), ("lines", 7), ("alive", 0)];
    assert_numbers(&summary, &expected);
    for line in [2, 5, 6, 7, 8] {
        let text = format!("line {line} is malformed");
        assert!(errors.contains(&text), "{text} in\n{errors}");
    }
}

#[test]
fn no_requests_are_a_run_too() {
    let output = run(&[], "");
    assert_eq!(output.status.code(), Some(0));
    assert_numbers(&summary(&output), &[("requests", 0), ("lines", 0), ("alive", 0)]);
    assert_eq!(run(&["--self-check"], "").status.code(), Some(1));
}

#[test]
fn bad_arguments_are_named() {
    let cases: [(&[&str], &str); 7] = [
        (&["--bogus"], "--bogus: there is no such option"),
        (&["--count", "many"], "--count: `many` is not usable"),
        (&["--count"], "--count: its value is missing"),
        (&["--kill", "stats"], "--kill: `stats` is not usable"),
        (&["--backend", "x=ftp://y"], "--backend: `x=ftp://y` is not usable"),
        (&["--requests", "/no/such/file"], "--requests: cannot read /no/such/file"),
        (&["--no-load"], "--listen 127.0.0.1:8080"),
    ];
    for (args, message) in cases {
        let output = gateway(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_names_every_option() {
    let output = gateway(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway/args.rs");
    let source = fs::read_to_string(source).unwrap();
    let options = source.split('"').filter(|text| text.starts_with("--") && !text.contains(' '));
    for option in options {
        assert!(help.contains(option), "{option} is not in the help");
    }
}

/// A gateway that only serves, and the address that it says it has.
fn serve(args: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let mut child =
        gateway(&["--listen", "127.0.0.1:0", "--no-load", "--json"]).args(args).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening at http://").unwrap().to_owned();
    (child, errors, address)
}

/// Sends a request as it stands, and reads the answer.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn it_serves_others_until_it_is_interrupted() {
    let (child, _errors, address) = serve(&["--deadline", "60000"]);
    let answer = ask(&address, "GET /user/7 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["user"], 7);
    assert_eq!(body["users"]["id"], 7);
    let answer = ask(&address, "GET /user/7?fail=orders HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.contains("\"backend\":\"orders\""), "{answer}");
    assert!(ask(&address, "GET /nothing HTTP/1.1\r\n\r\n").contains(" 404 "));
    assert!(ask(&address, "POST /user/7 HTTP/1.1\r\n\r\n").contains(" 405 "));
    assert!(ask(&address, "\u{1}\u{2}\r\n\r\n").contains(" 400 "));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_numbers(&summary(&output), &[("requests", 4), ("ok", 1), ("failed", 3), ("alive", 0)]);
}

#[test]
fn it_asks_backends_of_others() {
    // One gateway, with its built-in backends, stands in for a service; it answers for /user/ID.
    let (mut service, _errors, address) = serve(&[]);
    let backend = |name: &str| format!("--backend={name}=http://{address}/");
    let (users, orders) = (backend("users"), backend("orders"));
    let output = run(&[&users, &orders, "-v", "--deadline", "60000"], "user 7\n");
    service.kill().unwrap();
    service.wait().unwrap();
    assert_numbers(&summary(&output), &[("ok", 1), ("children", 3), ("alive", 0)]);
    assert!(stderr(&output).contains("\"orders\":{\"orders\":["), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_run_in_order() {
    let args = ["--concurrency", "2", "--deadline", "60000", "--grace", "50", "--repeat", "1000"];
    let mut child = gateway(&args).args(["--requests", "-", "--json", "-v"]).spawn().unwrap();
    // One client takes the second line and keeps it; the other goes on to the third.
    let lines = "user 1\nuser 2 slow=users:60s\nuser 3\nuser 4 slow=stats:60s\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("line 3") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).unwrap(), 0);
    }
    interrupt(&child);
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    let summary = summary(&output);
    assert_numbers(&summary, &[("ok", 2), ("failed", 0), ("unexpected", 0), ("alive", 0)]);
    let interrupted = summary["interrupted"].as_u64();
    assert!((Some(1)..=Some(2)).contains(&interrupted), "{summary}");
    assert!(rest.contains("line 2 (user 2): interrupted"), "{rest}");
}
