//! GPUs: those that the machine has, and those that the back ends find.

use std::path::{Path, PathBuf};

use super::account::Want;
use super::{Account, Check, Finding, RESTART};
use crate::config::{Config, Expect, Model};
use crate::engine::GPU_BACKENDS;
use crate::engine::protocol::GpuDevice;
use crate::plan::Placement;

/// How a user gets at GPUs. The drop-in opens them in the unit.
const LET_IN: &str =
    "install /usr/share/doc/promptd/examples/drop-ins/gpu.conf in /etc/systemd/system/promptd.service.d";

/// What is known of GPUs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// The device nodes of the machine's.
    pub nodes: Vec<PathBuf>,
    /// The back ends that are installed.
    pub backends: Vec<GpuBackend>,
}

/// A back end for GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuBackend {
    /// Its folder.
    pub kind: &'static str,
    /// What it finds, or why it can't be loaded. None where nobody has asked.
    pub found: Option<Result<Vec<GpuDevice>, String>>,
}

impl Gpus {
    /// Which back ends are installed; none has been asked yet.
    pub fn installed(nodes: Vec<PathBuf>, backends: &Path) -> Self {
        let there = GPU_BACKENDS.into_iter().filter(|kind| backends.join(kind).is_dir());
        Self { nodes, backends: there.map(|kind| GpuBackend { kind, found: None }).collect() }
    }

    fn found(&self) -> impl Iterator<Item = (&'static str, &GpuDevice)> {
        let asked =
            self.backends.iter().filter_map(|GpuBackend { kind, found }| Some((kind, found.as_ref()?.as_ref().ok()?)));
        asked.flat_map(|(kind, devices)| devices.iter().map(move |device| (*kind, device)))
    }

    fn all_asked(&self) -> bool {
        self.backends.iter().all(|backend| backend.found.is_some())
    }
}

/// Judges them by what the models want and the daemon's user may use.
pub fn devices(gpus: &Gpus, config: &Config, account: &Account) -> Vec<Finding> {
    let wanted = config.models.is_empty() || config.models.iter().any(wants_gpu);
    let mut findings: Vec<Finding> = gpus
        .found()
        .map(|(kind, GpuDevice { name, description, total, .. })| {
            Finding::pass(Check::Devices, format!("{kind} finds {description} ({name}) with {total} of memory"))
        })
        .collect();
    let mut troubles = if wanted { troubles(gpus, account) } else { Vec::new() };
    if gpus.found().next().is_none() {
        troubles
            .extend(config.models.iter().filter(|model| model.expect == Expect::Gpu && gpus.all_asked()).map(unmet));
    }
    if findings.is_empty() && troubles.is_empty() {
        let what = match gpus.nodes.as_slice() {
            [] => "there is no GPU; models are computed on the CPU".to_owned(),
            nodes if wanted => format!("{} may be used", listed(nodes)),
            nodes => format!("no model's ladder wants a GPU; there is {}", listed(nodes)),
        };
        findings.push(Finding::pass(Check::Devices, what));
    }
    findings.extend(troubles);
    findings
}

fn wants_gpu(model: &Model) -> bool {
    model.ladder.as_ref().is_none_or(|steps| steps.iter().any(|step| step.placement != Placement::Cpu))
}

/// What keeps a GPU that is there from being used.
fn troubles(gpus: &Gpus, account: &Account) -> Vec<Finding> {
    let warn = |what: String, remedy: String| Finding::warn(Check::Devices, what, remedy);
    let failed = gpus.backends.iter().filter_map(|GpuBackend { kind, found }| {
        let reason = found.as_ref()?.as_ref().err()?;
        Some(warn(
            format!("the back end {kind} is not used: {reason}"),
            format!("install the GPU's driver, then: {RESTART}"),
        ))
    });
    let mut troubles: Vec<Finding> = failed.collect();
    if gpus.nodes.is_empty() {
        return troubles;
    }
    if gpus.backends.is_empty() {
        let what = format!("there is a GPU ({}), and no back end for GPUs is installed", listed(&gpus.nodes));
        troubles.push(warn(what, "sudo apt install promptd-backend-vulkan".to_owned()));
        return troubles;
    }
    for node in &gpus.nodes {
        let shut =
            [Want::Read, Want::Write].into_iter().any(|want| matches!(account.kept_from(node, want), Ok(Some(_))));
        if shut {
            let what = format!("the user {} may not use {}", account.name, node.display());
            troubles
                .push(warn(what, format!("sudo usermod -aG video,render {}; {LET_IN}; then: {RESTART}", account.name)));
        }
    }
    if troubles.is_empty() && gpus.all_asked() && gpus.found().next().is_none() {
        let what = format!("no back end finds the GPU behind {}", listed(&gpus.nodes));
        let remedy = format!(
            "install its Vulkan driver (mesa-vulkan-drivers, or its maker's); `vulkaninfo` tells; then: {RESTART}"
        );
        troubles.push(warn(what, remedy));
    }
    troubles
}

/// As the daemon has it: the node serves, and is degraded.
fn unmet(model: &Model) -> Finding {
    Finding::warn(
        Check::Devices,
        format!("{} expects a GPU, and none can be used: it is computed on the CPU", model.name),
        "install a back end and its driver, or set expect = \"any\"",
    )
}

fn listed(nodes: &[PathBuf]) -> String {
    nodes.iter().map(|node| node.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::job::ModelName;
    use crate::plan::{Bytes, Profile, Strategy};

    fn config(expect: Expect, ladder: Option<&str>) -> Config {
        let mut model = Model::of_file(ModelName::new("main").unwrap(), "/m.gguf".into(), &Profile::default());
        model.expect = expect;
        model.ladder = ladder.map(|step| vec![Strategy::parse(step).unwrap()]);
        Config { models: vec![model], ..Config::defaults(&Profile::default()) }
    }

    fn gpu() -> GpuDevice {
        GpuDevice {
            name: "Vulkan0".to_owned(),
            description: "A GPU".to_owned(),
            integrated: false,
            total: Bytes(8 << 30),
            free: Bytes(8 << 30),
        }
    }

    fn look(nodes: &[&str], found: Option<Result<Vec<GpuDevice>, String>>, config: &Config) -> Vec<(Level, String)> {
        let nodes = nodes.iter().map(PathBuf::from).collect();
        let backends = found.map(|found| GpuBackend { kind: "vulkan", found: Some(found) }).into_iter().collect();
        let found = devices(&Gpus { nodes, backends }, config, &Account::this());
        found.into_iter().map(|finding| (finding.level(), format!("{finding:?}"))).collect()
    }

    #[test]
    fn a_gpu_wants_a_back_end_and_a_back_end_a_gpu() {
        let any = config(Expect::Any, None);
        // A node that everybody may use.
        let node = ["/dev/null"];
        assert_eq!(look(&[], None, &any)[0].0, Level::Pass);
        assert_eq!(look(&node, Some(Ok(vec![gpu()])), &any)[0].0, Level::Pass);
        for (found, text) in [
            (None, "promptd-backend-vulkan"),
            (Some(Ok(Vec::new())), "mesa-vulkan-drivers"),
            (Some(Err("no library".to_owned())), "no library"),
        ] {
            let found = look(&node, found, &any);
            assert!(found.len() == 1 && found[0].0 == Level::Warn && found[0].1.contains(text), "{found:?}");
        }
        assert_eq!(look(&[], Some(Ok(Vec::new())), &any)[0].0, Level::Pass);
    }

    #[test]
    fn who_wants_no_gpu_is_not_told_of_it_and_who_expects_one_is() {
        let found = look(&["/dev/null"], None, &config(Expect::Any, Some("cpu:int4")));
        assert!(found.len() == 1 && found[0].0 == Level::Pass && found[0].1.contains("wants"), "{found:?}");
        let found = look(&[], None, &config(Expect::Gpu, None));
        assert!(found.len() == 1 && found[0].0 == Level::Warn && found[0].1.contains("expects"), "{found:?}");
    }
}
