//! Room for recursion: what nests deeply runs on a thread with a larger stack.
//!
//! The threads of an async runtime have 2 MiB, which the deepest query that is let through may exceed.

/// What may be taken of the caller's stack.
const CALLERS_STACK_BYTES: usize = 768 << 10;

/// Stack for the deepest queries; only what is used of it takes memory.
const DEEP_STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs `work`, which recurses about `depth` levels of at most `bytes_per_level`, where the stack is large enough for it.
///
/// # Errors
/// The thread could not be started.
pub(super) fn run<T: Send>(depth: u32, bytes_per_level: usize, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    if (depth as usize).saturating_mul(bytes_per_level) <= CALLERS_STACK_BYTES {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("promql-deep".into()).stack_size(DEEP_STACK_BYTES);
        let handle = thread.spawn_scoped(scope, work)?;
        Ok(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
