//! What the daemon looks at when it starts: what is on this machine and takes no time.

use std::time::SystemTime;

use super::{
    Account, Finding, Gpus, Installed, certificates, clock as judge_clock, devices, disk, files, journal, memory,
    models, unit::unit,
};
use crate::config::Config;
use crate::engine::{CPU_BACKENDS, backends_folder};
use crate::health::{MemorySensors, Roots, clock, gpu_nodes};

/// Runs the checks as the daemon's own user: no broker, no child, no hashing. Blocks while it reads small files; one on a
/// file system that hangs hangs with it.
pub fn self_test(config: &Config) -> Vec<Finding> {
    let (roots, account) = (Roots::this(), Account::this());
    let now = SystemTime::now();
    let mut findings = judge_clock(clock(&roots, now));
    findings.extend(certificates(&config.mqtt, now));
    findings.extend(files(config, &[], &account, &roots));
    findings.extend(models(config, &account, None));
    if let Ok(backends) = backends_folder() {
        findings.push(Installed::look(&backends.join(CPU_BACKENDS)).finding());
        findings.extend(devices(&Gpus::installed(gpu_nodes(&roots), &backends), config, &account));
    }
    findings.extend(memory(&MemorySensors::discover(roots).read(), &config.memory));
    findings.extend(disk(config));
    findings.extend(journal(config, None, &account));
    findings.extend(unit());
    findings
}
