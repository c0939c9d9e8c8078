//! `rivetwatch completions SHELL` and `rivetwatch man`: what shells and people read about the commands.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, CliError};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell whose completion script is printed.
    shell: clap_complete::Shell,
}

pub fn completions(args: CompletionsArgs) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rivetwatch", &mut script);
    print(&script)
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Folder for a page of every command; without it the page of `rivetwatch` goes to standard output.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub fn man(args: ManArgs) -> Result<ExitCode, CliError> {
    match args.dir {
        Some(dir) => {
            let failed = |e| CliError::Failed(format!("failed to write manual pages to `{}`: {e}", dir.display()));
            std::fs::create_dir_all(&dir)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
                .map_err(failed)?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|e| CliError::failed(&e))?;
            print(&page)
        }
    }
}

/// A reader that goes away early, such as `head`, is no failure.
fn print(text: &[u8]) -> Result<ExitCode, CliError> {
    let _ = std::io::stdout().lock().write_all(text);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_a_page() {
        Cli::command().debug_assert();
        let dir = tempfile::tempdir().unwrap();
        man(ManArgs { dir: Some(dir.path().join("man")) }).unwrap();
        let commands = Cli::command().get_subcommands().count();
        assert!(std::fs::read_dir(dir.path().join("man")).unwrap().count() > commands);
    }
}
