//! Puts llama.cpp's shared objects where the binary looks for them, so that `target/<profile>/promptd` starts without
//! environment variables.
//!
//! Layout beside the binary (and under `../lib/promptd` once installed): the three libraries by their soname, and one
//! folder per kind of back end, of which the engine child loads only the one that it needs.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Calls llama.cpp where it speaks only C++.
const BREAKDOWN: &str = "daemon/src/engine/child/llama/breakdown.cpp";

fn main() {
    println!("cargo::rerun-if-changed=daemon/build.rs");
    // Without the child there is no llama.cpp.
    if env::var_os("CARGO_FEATURE_ENGINE_CHILD").is_none() {
        println!("cargo::rustc-env=PROMPTD_CPU_BACKENDS=");
        return;
    }
    let backends = PathBuf::from(env::var("DEP_LLAMA_BACKENDS_DIR").expect("llama-cpp-sys-2 with dynamic-backends"));
    let libraries = backends.parent().expect("the back ends lie in the build folder").join("lib");
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo"));
    let profile = out.ancestors().nth(3).expect("OUT_DIR is target/<profile>/build/<package>/out");

    // The sys crate's script hard-links `lib*.so`, which are symbolic links to the sonames, into these folders and panics
    // on its next run if they dangle. With the sonames beside them they don't.
    for folder in [profile.to_path_buf(), profile.join("deps"), profile.join("examples")] {
        place(&libraries, &folder, |path| path.to_string_lossy().ends_with(".so.0"));
    }
    place(&backends, &profile.join("backends/cpu"), is_module);

    println!("cargo::rustc-env=PROMPTD_CPU_BACKENDS={}", modules(&backends).join(","));

    println!("cargo::rerun-if-changed={BREAKDOWN}");
    cc::Build::new().cpp(true).std("c++17").file(BREAKDOWN).compile("promptd_breakdown");

    for path in ["$ORIGIN", "$ORIGIN/..", "$ORIGIN/../lib/promptd"] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
}

fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so")
}

/// The names of the back ends, from which an installation is told to be whole.
fn modules(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.expect("readable folder").path()).filter(|path| is_module(path));
    let mut names: Vec<String> =
        paths.map(|path| path.file_name().expect("a file").to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Copies the files of one folder that are wanted and not yet there as they are.
fn place(from: &Path, to: &Path, wanted: impl Fn(&Path) -> bool) {
    fs::create_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    for entry in entries {
        let source = entry.expect("readable folder").path();
        println!("cargo::rerun-if-changed={}", source.display());
        if wanted(&source) {
            let target = to.join(source.file_name().expect("a file"));
            replace(&source, &target).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
        }
    }
}

/// Copies to a new name, then renames: a process that has the old file mapped keeps it.
fn replace(source: &Path, target: &Path) -> io::Result<()> {
    let fresh = fs::metadata(source)?;
    if let Ok(old) = fs::metadata(target)
        && old.len() == fresh.len()
        && old.modified()? >= fresh.modified()?
    {
        return Ok(());
    }
    let temporary = target.with_extension("new");
    fs::copy(source, &temporary)?;
    fs::rename(&temporary, target)
}
