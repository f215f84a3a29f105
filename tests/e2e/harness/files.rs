//! The test model in other precisions, made from it once and kept beside it. Their quality stays that of the original.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{model, promptd};

/// With 16 bits.
pub fn f16() -> PathBuf {
    derived("f16", "F16")
}

/// With 8 bits.
pub fn int8() -> PathBuf {
    derived("int8", "Q8_0")
}

/// With 4 bits as promptd makes them: their layout is another one than the file's while they are computed with.
pub fn int4() -> PathBuf {
    made(&f16(), "int4", "Q4_0")
}

/// The small embedding model with 16 bits.
pub fn embedder() -> PathBuf {
    let path = std::env::var_os("PROMPTD_TEST_EMBEDDER").map(PathBuf::from);
    let path = path.unwrap_or_else(|| model().with_file_name("all-MiniLM-L6-v2.F16.gguf"));
    assert!(path.is_file(), "no embedding model at {}; run `make model-embed`", path.display());
    path
}

/// The small embedding model with 8 bits; it stands beside the other.
pub fn embedder_int8() -> PathBuf {
    embedder().with_file_name("all-MiniLM-L6-v2.Q8_0.gguf")
}

/// The small embedding model with 16 bits and a head that tells negative texts from positive ones; it stands beside the others.
pub fn classifier() -> PathBuf {
    let path = embedder().with_file_name("all-MiniLM-L6-v2.sentiment.F16.gguf");
    assert!(path.is_file(), "no classifier at {}; run `make model-embed`", path.display());
    path
}

/// A model with a head for tokens, which finds personal data, with 16 bits; it stands beside the others.
pub fn token_classifier() -> PathBuf {
    let path = embedder().with_file_name("rampart.F16.gguf");
    assert!(path.is_file(), "no classifier of tokens at {}; run `make model-embed`", path.display());
    path
}

/// The same with fewer bits.
pub fn token_classifier_as(precision: &str, name: &str) -> PathBuf {
    made(&token_classifier(), precision, name)
}

/// The small embedding model with 4 bits.
pub fn embedder_int4() -> PathBuf {
    made(&embedder(), "int4", "Q4_0")
}

fn derived(to: &str, name: &str) -> PathBuf {
    made(&model(), to, name)
}

/// Made from another file, under its name and that of the precision.
fn made(from: &Path, to: &str, name: &str) -> PathBuf {
    // Tests of one binary run at once; the command makes the file whole or not at all.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = from.with_extension(format!("{name}.gguf"));
    if !path.exists() {
        let mut command = promptd();
        command.arg("quantize").arg(from).arg(&path).args(["--to", to, "--threads", "1", "--requantize"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    path
}
