//! A cgroup with a limit of memory, version 1 or 2, and what is needed to make it tight.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use super::{Node, PATIENCE};

/// Bytes of a mebibyte.
pub const MIB: u64 = 1 << 20;

/// Memory with swap gets one page more: where both limits are the same, version 1 counts what hits them nowhere.
const PAGE_MAX: u64 = 64 * 1024;

/// A cgroup of our own, removed when it is dropped. Whoever is in it must be gone by then.
pub struct Cgroup {
    folder: PathBuf,
    version_1: bool,
}

impl Cgroup {
    /// None, with a printed reason, where this user can't make one.
    pub fn new(name: &str, limit: u64) -> Option<Self> {
        let mut reasons = Vec::new();
        for above in parents() {
            let folder = above.join(format!("promptd-e2e-{}-{name}", std::process::id()));
            if let Err(e) = fs::create_dir(&folder) {
                reasons.push(format!("{}: {e}", folder.display()));
                continue;
            }
            let group = Self { version_1: folder.join("memory.limit_in_bytes").exists(), folder };
            match group.set_limit(limit) {
                Ok(()) => return Some(group),
                Err(e) => reasons.push(format!("{}: {e}", above.display())),
            }
        }
        eprintln!("skipped: no cgroup with a limit can be made here: {}", reasons.join("; "));
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Sets the limit, which can't be evaded by swapping either.
    pub fn set_limit(&self, bytes: u64) -> io::Result<()> {
        let (limit, swap, with_swap) = if self.version_1 {
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes + PAGE_MAX)
        } else {
            ("memory.max", "memory.swap.max", 0)
        };
        // Version 1 wants the limit with swap to be the larger one at any time; not every kernel has it.
        let _ = self.write(limit, bytes);
        let _ = self.write(swap, with_swap);
        self.write(limit, bytes)
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.number(if self.version_1 { "memory.limit_in_bytes" } else { "memory.max" })
    }

    /// The most that was ever used of it, page cache included.
    pub fn peak(&self) -> u64 {
        self.number(if self.version_1 { "memory.max_usage_in_bytes" } else { "memory.peak" })
    }

    /// How many of its processes the kernel has killed for memory.
    pub fn kills(&self) -> u64 {
        self.keyed(if self.version_1 { "memory.oom_control" } else { "memory.events" }, "oom_kill")
    }

    /// What can be had if `kept` bytes of files stay in memory.
    pub fn available(&self, kept: u64) -> u64 {
        let usage = self.number(if self.version_1 { "memory.usage_in_bytes" } else { "memory.current" });
        let of_stat = |key| self.keyed("memory.stat", key);
        let cache = of_stat("inactive_file") + of_stat("active_file");
        (self.limit() + cache.saturating_sub(kept)).saturating_sub(usage)
    }

    fn number(&self, file: &str) -> u64 {
        let text = self.read(file);
        text.trim().parse().unwrap_or_else(|e| panic!("{file} is {text:?}: {e}"))
    }

    fn keyed(&self, file: &str, key: &str) -> u64 {
        let text = self.read(file);
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {key} in {file}: {text}")).parse().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    /// Never makes a file: without the controller there is none.
    fn write(&self, file: &str, value: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.folder.join(file))?.write_all(value.to_string().as_bytes())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The processes were killed; some may still be giving their memory back.
        let end = Instant::now() + Duration::from_secs(10);
        while let Err(e) = fs::remove_dir(&self.folder) {
            if Instant::now() > end {
                eprintln!("{} stays behind: {e}", self.folder.display());
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Cgroups in which one of ours may be made: this process' own and those above it, where the controller usually is mounted.
/// In version 2 only one without processes passes its controllers on, which is some way up.
fn parents() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path_of = |controller: &str| {
        let line = own.lines().filter_map(|line| line.split_once(':')).map(|(_, line)| line);
        line.filter_map(|line| line.split_once(':'))
            .find(|(names, _)| names.split(',').any(|name| name == controller))
            .map(|(_, path)| path.trim_start_matches('/').to_owned())
    };
    let below = |mount: &str, path: String| {
        let path = Path::new(mount).join(path);
        path.ancestors().take_while(|above| above.starts_with(mount)).map(Path::to_owned).collect::<Vec<_>>()
    };
    let first = path_of("memory").map(|path| below("/sys/fs/cgroup/memory", path));
    let second = path_of("").map(|path| below("/sys/fs/cgroup", path));
    first.into_iter().chain(second).flatten().collect()
}

/// A process that holds as much memory as it is told to.
pub struct Hog {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    held: u64,
}

impl Hog {
    /// One in the cgroup. Where the kernel has to choose, it takes an engine, whose score is higher, as long as the hog
    /// holds less than the engine and half of the limit.
    pub fn start(group: &Cgroup) -> Self {
        const JOIN: &str = "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"";
        const HOLD: &str =
            "import sys\nheld = []\nfor line in sys.stdin:\n held.append(b'x' * int(line))\n print(flush=True)";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", JOIN, "sh"]).arg(group.path()).args(["python3", "-I", "-S", "-c", HOLD]);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut hog = Self { child, orders, answers, held: 0 };
        hog.take(0);
        hog
    }

    /// Takes so much more; every page is written to.
    pub fn take(&mut self, bytes: u64) {
        assert!(self.try_take(bytes), "the hog lives");
    }

    /// The same; false if the kernel killed it for that.
    pub fn try_take(&mut self, bytes: u64) -> bool {
        self.begin(bytes);
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        self.held += bytes;
        line == "\n"
    }

    /// Has it take so much, without waiting for it.
    fn begin(&mut self, bytes: u64) {
        writeln!(self.orders, "{bytes}").unwrap_or_else(|e| panic!("the hog is gone: {e}"));
    }

    /// Takes more and more until something is the case: fast up to the reserve of a tenth, then slowly, as the governor
    /// looks at memory twice a second. It leaves the kernel something to work with.
    pub async fn tighten(&mut self, group: &Cgroup, node: &Node, is_so: impl Fn() -> bool) {
        const STEP: u64 = 4 * MIB;
        let reserve = group.limit() / 10;
        let left = || group.available(node.mapped_files());
        self.take(left().saturating_sub(reserve + 4 * STEP));
        let mut turn = tokio::time::interval(Duration::from_millis(250));
        let start = Instant::now();
        while !is_so() {
            let (held, left) = (self.held / MIB, left());
            assert!(start.elapsed() < PATIENCE, "{held} MiB are taken, {} MiB are left: nothing happens", left / MIB);
            if left > reserve / 4 {
                self.take(STEP);
            }
            turn.tick().await;
        }
    }

    /// What it has taken.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Ends it; its memory is free again.
    pub fn end(mut self) {
        self.take(0);
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies of files, of which nothing is in the page cache. Pages of a file are charged to the cgroup that reads them first:
/// those of the originals are likely to be the test's.
pub fn uncached(originals: &[PathBuf]) -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = |(number, original): (usize, &PathBuf)| {
        let name = original.file_name().unwrap().to_string_lossy();
        let path = folder.path().join(format!("{number}-{name}"));
        fs::copy(original, &path).unwrap();
        path
    };
    let copies: Vec<PathBuf> = originals.iter().enumerate().map(copy).collect();
    evict(&copies);
    (folder, copies)
}

/// Drops files that nobody has mapped from the page cache.
pub fn evict(files: &[PathBuf]) {
    for path in files {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}
