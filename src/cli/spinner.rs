//! A sign of life on standard error while probes run, on a terminal alone.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Turns until it is dropped, and leaves an empty line behind.
pub struct Spinner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    /// Begins to turn beside `what`; does nothing where standard error is no terminal.
    pub fn start(what: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        if !std::io::stderr().is_terminal() {
            return Self { stop, thread: None };
        }
        let (stopped, what) = (stop.clone(), what.to_owned());
        let thread = std::thread::spawn(move || {
            for mark in ['|', '/', '-', '\\'].into_iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // A terminal that goes away takes no more marks.
                let _ = write!(std::io::stderr(), "\r{mark} {what} ");
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = write!(std::io::stderr(), "\r\u{1b}[2K");
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
