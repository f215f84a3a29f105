//! The device nodes of GPUs.

use std::fs;
use std::path::PathBuf;

use super::Roots;

/// Folders below `/dev`, and how the names of nodes in them begin: NVIDIA's cards, all that the kernel's own drivers and
/// most others serve, and the GPUs of Jetsons.
const KINDS: [(&str, &str); 3] = [("", "nvidia"), ("dri", "renderD"), ("", "nvhost-gpu")];

/// The nodes through which GPUs of this machine are used, by name.
pub fn gpu_nodes(roots: &Roots) -> Vec<PathBuf> {
    let mut nodes: Vec<PathBuf> = KINDS.iter().flat_map(|(folder, prefix)| numbered(roots, folder, prefix)).collect();
    nodes.sort();
    nodes
}

/// `nvidia0` is a card, `nvidiactl` is none; `nvhost-gpu` has no number.
fn numbered(roots: &Roots, folder: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(roots.root.join("dev").join(folder)).into_iter().flatten().flatten();
    let is_one = |name: &str| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|number| {
            number.bytes().all(|byte| byte.is_ascii_digit()) && (number.is_empty() == prefix.ends_with("gpu"))
        })
    };
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_told_from_what_serves_them() {
        let folder = tempfile::tempdir().unwrap();
        let dev = folder.path().join("dev");
        fs::create_dir_all(dev.join("dri/by-path")).unwrap();
        assert!(gpu_nodes(&Roots::under(folder.path())).is_empty());
        for name in [
            "nvidia0",
            "nvidia",
            "nvidiactl",
            "nvidia-uvm",
            "nvhost-gpu",
            "nvhost-ctrl-gpu",
            "dri/card0",
            "dri/renderD128",
        ] {
            fs::write(dev.join(name), "").unwrap();
        }
        let found: Vec<PathBuf> = ["dri/renderD128", "nvhost-gpu", "nvidia0"].map(|name| dev.join(name)).into();
        assert_eq!(gpu_nodes(&Roots::under(folder.path())), found);
    }
}
