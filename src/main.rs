//! The `rivetwatch` command: everything it does lives in the library.

/// Gives memory back to the system sooner than the system's own allocator under bursts of requests.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The only TLS provider that is compiled in; must be chosen before the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    rivetwatch::cli::main()
}
