//! What the child gives up before it reads a model: surviving its parent, being spared by the kernel, and the network.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Who the kernel should kill first when memory runs out: the child, whose jobs can be run again, never the daemon.
const OOM_SCORE_ADJ: &str = "500";

/// Dies with the thread that spawned this process; false if that has happened already.
pub fn die_with_parent(parent: u32) -> io::Result<bool> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the call: then nobody would send the signal.
    let alive = getppid().map(Pid::as_raw_nonzero).is_some_and(|pid| pid.get().unsigned_abs() == parent);
    Ok(alive)
}

/// Makes this process the kernel's first choice. Raising the score needs no privilege.
pub fn volunteer_for_oom() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ)
}

/// Refuses new sockets other than Unix ones, which GPU drivers need, for this thread and those it will start.
pub fn leave_the_network() -> Result<(), seccompiler::Error> {
    let other_than = |family: i32| {
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    let rules = BTreeMap::from([
        (libc::SYS_socket, vec![SeccompRule::new(vec![other_than(libc::AF_UNIX)?])?]),
        // A ring can open sockets without the call above.
        (libc::SYS_io_uring_setup, vec![]),
    ]);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, target_arch()?)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}

fn target_arch() -> Result<TargetArch, seccompiler::BackendError> {
    TargetArch::try_from(std::env::consts::ARCH)
}

/// Takes a descriptor that the daemon handed over under this number.
pub fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: the daemon maps exactly these numbers for `promptd engine`, and each is taken once, first thing.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Ends the process at once, without running destructors of a library that is computing on another thread.
pub fn end_now() -> ! {
    // SAFETY: _exit has no preconditions. Nothing of this process must be saved: its state lives in the daemon.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn no_socket_but_a_unix_one_can_be_made() {
        assert!(UdpSocket::bind("127.0.0.1:0").is_ok(), "before");
        // The filter holds for the thread that sets it and for those that it starts.
        let (inet, tcp, unix) = std::thread::spawn(|| {
            leave_the_network().unwrap();
            let tcp = std::thread::spawn(|| TcpListener::bind("[::1]:0").map(drop)).join().unwrap();
            (UdpSocket::bind("127.0.0.1:0").map(drop), tcp, UnixStream::pair().map(drop))
        })
        .join()
        .unwrap();
        assert_eq!(inet.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(tcp.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(unix.is_ok());
    }
}
