//! The engine's process in `/proc`: which it is, its CPU time, memory and start.

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
    #[error("several processes have that name")]
    Several,
    #[error("the pid file holds no process id")]
    BadPidFile,
    #[error("the process cannot be read")]
    Unreadable,
}

/// Finds the process by name; children of one that has the name too do not count.
///
/// # Errors
/// None, or several that are not one family.
pub fn find(proc_root: &Path, name: &str) -> Result<u32, NoProcess> {
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
    let mut roots = named.iter().filter(|(_, parent)| !is_child(*parent)).map(|(pid, _)| *pid);
    match (roots.next(), roots.next()) {
        (Some(pid), None) => Ok(pid),
        (None, _) => Err(NoProcess::NotFound),
        (Some(_), Some(_)) => Err(NoProcess::Several),
    }
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
