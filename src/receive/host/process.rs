//! The engine's process in `/proc`: which it is, its CPU time, memory and start.
//!
//! Always: of several processes of one name the one that listens on the engine's metrics port is taken, where this
//! process may see who listens.

use std::path::Path;

/// Processes looked at while searching.
const PROCESSES_MAX: usize = 100_000;

/// `/proc/PID/comm` holds at most so many bytes of the name.
const COMM_BYTES_MAX: usize = 15;

/// Why there is no process to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProcess {
    #[error("no process of that name is visible: not running, or in another PID namespace")]
    NotFound,
    #[error("several processes have that name; `pid_file` tells which it is")]
    Several,
    #[error("the pid file holds no process id")]
    BadPidFile,
    #[error("the process cannot be read")]
    Unreadable,
}

/// Finds the process by name; children of one that has the name too do not count.
///
/// Of several it is the one that listens on `port`, if that is given.
///
/// # Errors
/// None, or several that are not one family and cannot be told apart.
pub fn find(proc_root: &Path, name: &str, port: Option<u16>) -> Result<u32, NoProcess> {
    let wanted = name.as_bytes().get(..COMM_BYTES_MAX).unwrap_or(name.as_bytes());
    let entries = std::fs::read_dir(proc_root).map_err(|_| NoProcess::Unreadable)?;
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()).take(PROCESSES_MAX);
    let has_name = |pid: &u32| {
        let comm = std::fs::read(proc_root.join(pid.to_string()).join("comm")).unwrap_or_default();
        comm.trim_ascii_end() == wanted
    };
    let named: Vec<(u32, u32)> = pids
        .filter(has_name)
        .filter_map(|pid| Some((pid, Stat::read(proc_root, pid).ok().filter(|s| s.state != b'Z')?.parent)))
        .collect();
    let is_child = |parent: u32| named.iter().any(|(pid, _)| *pid == parent);
    let roots: Vec<u32> = named.iter().filter(|(_, parent)| !is_child(*parent)).map(|(pid, _)| *pid).collect();
    match roots.as_slice() {
        [] => Err(NoProcess::NotFound),
        [pid] => Ok(*pid),
        _ => {
            let listens = |pid: &u32| port.is_some_and(|port| listens_on(proc_root, *pid, port));
            let mut listening = roots.into_iter().filter(listens);
            listening.next().filter(|_| listening.next().is_none()).ok_or(NoProcess::Several)
        }
    }
}

/// Whether the process has a listening TCP socket on `port`; false where it may not be looked at.
fn listens_on(proc_root: &Path, pid: u32, port: u16) -> bool {
    let process = proc_root.join(pid.to_string());
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(process.join("net").join(table)));
    let sockets: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| listening_inode(line, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    let is_one = |link: std::path::PathBuf| link.to_str().is_some_and(|link| sockets.iter().any(|s| s == link));
    files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(is_one)
}

/// The socket of a line of `/proc/net/tcp` that listens on `port`: local address in field 2, state in 4, inode in 10.
fn listening_inode(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local_port, 16) == Ok(port) && *fields.get(3)? == LISTEN;
    is_it.then(|| fields.get(9)?.parse().ok()).flatten()
}

/// What `/proc/PID/stat` tells, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub state: u8,
    pub parent: u32,
    pub user_ticks: u64,
    pub system_ticks: u64,
    /// Since the boot of the machine.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads it.
    ///
    /// # Errors
    /// The process is gone or hidden, or the kernel wrote something else.
    pub fn read(proc_root: &Path, pid: u32) -> Result<Self, NoProcess> {
        let path = proc_root.join(pid.to_string()).join("stat");
        // The name may hold any bytes.
        let bytes = std::fs::read(path).map_err(|_| NoProcess::Unreadable)?;
        Self::parse(&bytes).ok_or(NoProcess::Unreadable)
    }

    /// The name stands in brackets and may hold spaces and brackets, so fields are counted from the last one.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let after_name = bytes.iter().rposition(|b| *b == b')')? + 1;
        let text = std::str::from_utf8(&bytes[after_name..]).ok()?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        // Field 3 of proc_pid_stat(5) is the first here.
        let field = |number: usize| fields.get(number - 3);
        let number = |n: usize| field(n)?.parse::<u64>().ok();
        Some(Self {
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            user_ticks: number(14)?,
            system_ticks: number(15)?,
            start_ticks: number(22)?,
        })
    }
}

/// Resident memory in bytes, from `/proc/PID/status`.
pub fn resident_bytes(proc_root: &Path, pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(proc_root.join(pid.to_string()).join("status")).ok()?;
    kibibytes(&status, "VmRSS:")
}

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    pub cpus: u64,
    pub memory_bytes: u64,
    pub available_bytes: u64,
    /// Seconds since the epoch.
    pub boot_time: u64,
}

impl Machine {
    /// Reads `/proc/stat` and `/proc/meminfo`; `None` when either is not there.
    pub fn read(proc_root: &Path) -> Option<Self> {
        let stat = std::fs::read_to_string(proc_root.join("stat")).ok()?;
        let memory = std::fs::read_to_string(proc_root.join("meminfo")).ok()?;
        let is_cpu =
            |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Some(Self {
            cpus: stat.lines().filter(is_cpu).count() as u64,
            memory_bytes: kibibytes(&memory, "MemTotal:")?,
            available_bytes: kibibytes(&memory, "MemAvailable:")?,
            boot_time: stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?,
        })
    }
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_it_is_the_one_that_listens() {
        let root = tempfile::tempdir().unwrap();
        for (pid, socket) in [(7, 111), (8, 222)] {
            let dir = root.path().join(pid.to_string());
            std::fs::create_dir_all(dir.join("net")).unwrap();
            std::fs::create_dir_all(dir.join("fd")).unwrap();
            std::fs::write(dir.join("comm"), "rivet-engine\n").unwrap();
            let stat = format!("{pid} (rivet-engine) S 1 1 1 0 -1 0 0 0 0 0 68 15 0 0 20 0 6 0 26 0 0");
            std::fs::write(dir.join("stat"), stat).unwrap();
            // 191E is 6430; the second line is a connection to it.
            let table = "  sl  local_address rem_address   st\n   \
                0: 0100007F:191E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1\n   \
                1: 0100007F:191E 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n";
            std::fs::write(dir.join("net/tcp"), table).unwrap();
            std::os::unix::fs::symlink(format!("socket:[{socket}]"), dir.join("fd/5")).unwrap();
        }
        assert_eq!(find(root.path(), "rivet-engine", Some(6430)), Ok(8));
        assert_eq!(find(root.path(), "rivet-engine", Some(6431)), Err(NoProcess::Several));
        assert_eq!(find(root.path(), "rivet-engine", None), Err(NoProcess::Several));
    }

    #[test]
    fn names_with_brackets_and_spaces_do_not_shift_the_fields() {
        let line =
            b"2649 (a) b (c) S 2640 2640 9888 0 -1 4194304 18246 0 42 0 68 15 0 0 20 0 6 0 263668 162344960 23842";
        let expected = Stat { state: b'S', parent: 2640, user_ticks: 68, system_ticks: 15, start_ticks: 263_668 };
        assert_eq!(Stat::parse(line), Some(expected));
        for end in 0..line.len() - 30 {
            assert_eq!(Stat::parse(&line[..end]), None, "cut at {end}");
        }
    }
}
