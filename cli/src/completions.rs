//! `commonplace completions`: prints the script with which a shell completes this command.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  commonplace completions bash > ~/.local/share/bash-completion/completions/commonplace
  commonplace completions zsh > \"${fpath[1]}/_commonplace\"
  commonplace completions fish > ~/.config/fish/completions/commonplace.fish

Exit codes: 0 done, 2 wrong usage.";

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Name of the shell
    shell: Shell,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut crate::Arguments::command(), "commonplace", &mut script);
    terminal::line(String::from_utf8(script)?.trim_end());
    Ok(())
}
