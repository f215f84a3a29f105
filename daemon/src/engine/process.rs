//! Starts engine processes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::EngineError;
use super::protocol::{MODEL_FD, OUTPUT_FD, SOCKET_FD};
use crate::job::ModelName;

/// Always this very binary, also after its path has been given to another one.
const OWN_BINARY: &str = "/proc/self/exe";

/// Variables that a child keeps: everything else, secrets among it, stays with the daemon. The last ones choose among
/// the GPUs and drivers of a machine.
const KEPT_VARIABLES: [&str; 10] = [
    "RUST_BACKTRACE",
    "GOMP_SPINCOUNT",
    "OMP_WAIT_POLICY",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "VK_ICD_FILENAMES",
    "VK_DRIVER_FILES",
    "MESA_SHADER_CACHE_DIR",
];

/// Kinds of GPU back ends, by preference: the folders under the one for back ends.
pub const GPU_BACKENDS: [&str; 2] = ["cuda", "vulkan"];

/// The folder under it with the back ends for the CPU, of which ggml chooses one.
pub const CPU_BACKENDS: &str = "cpu";

/// The folder of compute back ends that belongs to this binary: beside it in a build, under `lib/promptd` once installed.
pub fn backends_folder() -> Result<PathBuf, EngineError> {
    let binary = std::fs::read_link(OWN_BINARY).map_err(EngineError::Spawn)?;
    let here = binary.parent().map(PathBuf::from).unwrap_or_default();
    // Test binaries lie one folder below the build's.
    let candidates = [here.join("backends"), here.join("../lib/promptd/backends"), here.join("../backends")];
    let found = candidates.iter().find(|folder| folder.is_dir()).cloned();
    found.ok_or_else(|| {
        let looked: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
        EngineError::NoBackends(looked.join(", "))
    })
}

/// Starts a child with one end of a socket pair, the model file, and the file to write if there is one; gives its process
/// and the other end.
///
/// Must be called on the daemon's main thread: the child dies with the thread that started it.
pub fn spawn(
    model: &ModelName,
    model_file: OwnedFd,
    output: Option<OwnedFd>,
) -> Result<(Child, UnixStream), EngineError> {
    let binary = std::fs::read_link(OWN_BINARY).map_err(EngineError::Spawn)?;
    if binary.to_string_lossy().ends_with(" (deleted)") {
        return Err(EngineError::Replaced);
    }
    let (own, theirs) = socket_pair().map_err(EngineError::Spawn)?;
    let mut mappings = vec![
        FdMapping { parent_fd: theirs, child_fd: SOCKET_FD },
        FdMapping { parent_fd: model_file, child_fd: MODEL_FD },
    ];
    mappings.extend(output.map(|parent_fd| FdMapping { parent_fd, child_fd: OUTPUT_FD }));
    let kept = KEPT_VARIABLES.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
    let mut command = Command::new(OWN_BINARY);
    command
        .arg0("promptd")
        .args(["engine", "--model", model.as_str(), "--parent", &std::process::id().to_string()])
        .env_clear()
        .envs(kept)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is the daemon's to handle.
        .process_group(0)
        .kill_on_drop(true)
        .fd_mappings(mappings)
        .map_err(|e| EngineError::Spawn(io::Error::other(e)))?;
    let child = command.spawn().map_err(EngineError::Spawn)?;
    Ok((child, own))
}

fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
    own.set_nonblocking(true)?;
    Ok((UnixStream::from_std(own)?, theirs.into()))
}
