//! A real cgroup with a limit and a process in it, where this machine lets us make one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::*;

const MIB: u64 = 1024 * 1024;

/// What the process holds once it is told to.
const HELD: u64 = 48 * MIB;

/// The largest page: memory with swap gets one more, because it is its limit alone that counts hits if it isn't larger.
const PAGE_MAX: u64 = 64 * 1024;

/// A cgroup of our own, removed at the end.
struct Group {
    folder: PathBuf,
    version_1: bool,
}

impl Group {
    /// Makes one below the outermost cgroup of this process in which that is possible.
    fn new(name: &str, limit: u64) -> Result<Self, String> {
        let sensors = MemorySensors::discover(Roots::default());
        let mut reasons = Vec::new();
        for above in sensors.folders().into_iter().rev() {
            let folder = above.join(format!("promptd-test-{}-{name}", std::process::id()));
            if let Err(error) = fs::create_dir(&folder) {
                reasons.push(format!("{}: {error}", folder.display()));
                continue;
            }
            let group = Self { version_1: folder.join("memory.limit_in_bytes").exists(), folder };
            match group.limit(limit) {
                Ok(()) => return Ok(group),
                Err(error) => reasons.push(format!("{}: {error}", above.display())),
            }
        }
        Err(format!("tried {}: {}", reasons.len(), reasons.join("; ")))
    }

    fn limit(&self, bytes: u64) -> std::io::Result<()> {
        let (limit, swap) = if self.version_1 {
            ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", bytes + PAGE_MAX))
        } else {
            ("memory.max", ("memory.swap.max", 0))
        };
        // Never creates a file: without the controller there is none.
        let write = |file: &str, value: u64| {
            fs::OpenOptions::new().write(true).open(self.folder.join(file))?.write_all(value.to_string().as_bytes())
        };
        write(limit, bytes)?;
        // So that the limit can't be evaded by swapping; not every kernel has it.
        let _ = write(swap.0, swap.1);
        Ok(())
    }

    fn take(&self, child: &Child) {
        fs::write(self.folder.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The shell was waited for; what it had started itself may still be ending.
        let end = Instant::now() + Duration::from_secs(5);
        while let Err(error) = fs::remove_dir(&self.folder) {
            if Instant::now() > end {
                eprintln!("{} stays behind: {error}", self.folder.display());
                break;
            }
            std::thread::yield_now();
        }
    }
}

/// A shell that waits for a line, then holds memory, says so, and waits for the next line.
struct Holder {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Holder {
    fn new(bytes: u64) -> Self {
        let script = format!("read go; held=$(head -c {bytes} /dev/zero | tr '\\0' x); echo held; read end");
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What it says, which is nothing if it is killed.
    fn go(&mut self) -> String {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut said = String::new();
        self.lines.read_line(&mut said).unwrap();
        said
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn group(name: &str, limit: u64) -> Option<Group> {
    match Group::new(name, limit) {
        Ok(group) => Some(group),
        Err(reason) => {
            eprintln!("skipped: no cgroup with a limit can be made here: {reason}");
            None
        }
    }
}

fn sensors(child: &Child) -> MemorySensors {
    MemorySensors::of_process(Roots::default(), &child.id().to_string())
}

#[test]
fn a_limit_and_what_is_used_of_it_are_read_back() {
    let limit = 256 * MIB;
    let Some(group) = group("limit", limit) else { return };
    let mut holder = Holder::new(HELD);
    group.take(&holder.child);
    let sensors = sensors(&holder.child);
    let of_group = |reading: &MemoryReading| {
        let name = Path::new(&reading.cgroups[0].path).file_name();
        assert_eq!(name, group.folder.file_name(), "its own is the nearest");
        reading.cgroups[0].clone()
    };
    let before = of_group(&sensors.read());
    assert_eq!(before.limit, limit);
    assert_eq!(holder.go(), "held\n");
    let reading = sensors.read();
    let after = of_group(&reading);
    assert!(after.usage >= before.usage + HELD, "{before:?} {after:?}");
    assert!(after.available(0) <= limit - HELD, "{after:?}");
    assert!(after.available(0) >= limit / 4, "{after:?}");
    assert!(after.file.is_some() && reading.unreadable.is_empty());
    assert_eq!(reading.events.oom_kill, Some(0));
    let held = process_memory(&Roots::default(), holder.child.id()).unwrap();
    assert!((HELD..limit).contains(&held.anon) && held.peak >= held.anon, "{held:?}");

    // Changed at run time, it counts at once.
    group.limit(200 * MIB).unwrap();
    assert_eq!(of_group(&sensors.read()).limit, 200 * MIB);
}

#[test]
fn a_kill_for_memory_is_counted() {
    let Some(group) = group("kill", 16 * MIB) else { return };
    let mut holder = Holder::new(HELD);
    group.take(&holder.child);
    let sensors = sensors(&holder.child);
    let before = sensors.read().events;
    assert_eq!(holder.go(), "", "it can't hold three times its limit");
    let after = sensors.read().events;
    assert!(after.oom_kill > before.oom_kill && after.max > before.max, "{before:?} {after:?}");
}

#[test]
fn this_machine_tells_its_memory() {
    let reading = MemorySensors::discover(Roots::default()).read();
    let host = reading.host.unwrap();
    assert!(host.available <= host.total && host.total > 0);
    assert_eq!(reading.limits(0).len(), 1 + reading.cgroups.len());
    assert!(reading.limits(0).iter().all(|limit| limit.available <= limit.total));
}
