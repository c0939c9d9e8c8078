//! Runs the tools that will apply a patch, so that they build it first.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time a tool has to build.
const DEADLINE: Duration = Duration::from_secs(60);
/// Largest output that is read.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Why a tool did not build a patch.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("`{tool}` is not on the PATH, so that the patch cannot be validated; it is not shown")]
    Missing { tool: &'static str },
    #[error("`{command}` could not be run")]
    Run { command: String, source: std::io::Error },
    #[error("`{command}` did not end within {} s", DEADLINE.as_secs())]
    Timeout { command: String },
    #[error("`{command}` refused the patch:\n{stderr}")]
    Refused { command: String, stderr: String },
}

/// Runs `tool` and gives its standard output.
pub fn run(tool: &'static str, args: &[&str]) -> Result<String, ToolError> {
    let command = [&[tool], args].concat().join(" ");
    let spawned =
        Command::new(tool).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(ToolError::Missing { tool }),
        Err(source) => return Err(ToolError::Run { command, source }),
    };
    // Both pipes are emptied while it runs, so that it never waits for us.
    let out = child.stdout.take().map(read);
    let err = child.stderr.take().map(read);
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ToolError::Timeout { command });
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(source) => return Err(ToolError::Run { command, source }),
        }
    };
    let text = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr) = (text(out), text(err));
    match status.success() {
        true => Ok(stdout),
        false => Err(ToolError::Refused { command, stderr: stderr.trim().to_owned() }),
    }
}

fn read(pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is shown all the same.
        let _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        bytes
    })
}

/// A folder that only this user can read, removed in the end: objects may hold secrets in plain variables.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it below the system's temporary folder.
    pub fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path =
            std::env::temp_dir().join(format!("rivetwatch-fix-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is in the system's temporary folder, for this user alone.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
