//! The test model in other precisions, made from it once and kept beside it. Their quality stays that of the original.

use std::path::PathBuf;
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

fn derived(to: &str, name: &str) -> PathBuf {
    // Tests of one binary run at once; the command makes the file whole or not at all.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = model().with_extension(format!("{name}.gguf"));
    if !path.exists() {
        let mut command = promptd();
        command.arg("quantize").arg(model()).arg(&path).args(["--to", to, "--threads", "1", "--requantize"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    path
}
