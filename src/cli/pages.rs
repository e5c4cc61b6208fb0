//! Manual pages and shell completions of both programs, made from their arguments (feature `pages`): what `--help` says
//! is said here in the same words. `make pages` runs it; it is not shipped.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Failure, exit_code, workshop};

/// What resnetd(1) says beyond `resnetd --help`, ready for troff.
const DAEMON_SECTIONS: &str = include_str!("pages/resnetd.roff");
const WORKSHOP_SECTIONS: &str = include_str!("pages/resnetd-model.roff");

/// Writes manual pages and shell completions of resnetd and resnetd-model.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder; `man/` and `completions/` are made in it
    folder: PathBuf,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let folder = Arguments::parse().folder;
    exit_code("resnetd-pages", write_all(&folder).map_err(Failure::Output))
}

fn write_all(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for (program, sections) in programs() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut program = program.clone();
            let name = program.get_name().to_owned();
            clap_complete::generate_to(shell, &mut program, name, &completions)?;
        }
        for (name, text) in pages(program, sections)? {
            File::create(man.join(format!("{name}.1")))?.write_all(&text)?;
        }
    }
    Ok(())
}

/// Both programs' arguments, and what their first page says besides.
fn programs() -> [(Command, &'static str); 2] {
    [
        (super::Arguments::command(), DAEMON_SECTIONS),
        (workshop::Arguments::command(), WORKSHOP_SECTIONS),
    ]
}

/// A page for the program and one for each of its commands, with their names.
fn pages(program: Command, sections: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let parent = program.get_name().to_owned();
    let about = format!(".SH SEE ALSO\n.BR {} (1)\n", escaped(&parent));
    let mut pages = Vec::new();
    for command in program.get_subcommands() {
        let name = format!("{parent}-{}", command.get_name());
        pages.push((name, page(command, &about)?));
    }
    pages.push((parent, page(&program, sections)?));
    Ok(pages)
}

fn page(command: &Command, sections: &str) -> io::Result<Vec<u8>> {
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let help = Help::of(&help);
    let man = Man::new(command.clone())
        .source(concat!("resnetd ", env!("CARGO_PKG_VERSION")))
        .manual("resnetd");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    out.write_all(help.prose.as_bytes())?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    out.write_all(help.sections.as_bytes())?;
    out.write_all(sections.as_bytes())?;
    Ok(out)
}

/// What stands below the options in `--help`, as troff. There a block of lines is prose, or its first line is a
/// heading that ends in a colon and the others are to be shown as they are.
#[derive(Debug, Default)]
struct Help {
    prose: String,
    sections: String,
}

impl Help {
    fn of(text: &str) -> Self {
        let mut help = Self::default();
        for block in text.split("\n\n") {
            match block.split_once(":\n") {
                Some((heading, lines)) if !heading.contains('\n') => {
                    let (title, lines) = (title(heading), escaped(lines));
                    help.sections += &format!(".SH {title}\n.nf\n{lines}\n.fi\n");
                }
                _ if block.trim().is_empty() => {}
                _ => help.prose += &format!(".PP\n{}\n", escaped(block)),
            }
        }
        help
    }
}

/// Headings as manual pages have them.
fn title(heading: &str) -> String {
    match heading {
        "Exit codes" => "EXIT STATUS".into(),
        "Example" => "EXAMPLES".into(),
        other => escaped(&other.to_uppercase()),
    }
}

/// Text in which troff finds no command.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with(['.', '\'']) {
                format!("\\&{line}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_examples() {
        for (program, sections) in programs() {
            let commands = program.get_subcommands().count();
            let pages = pages(program, sections).unwrap();
            assert_eq!(pages.len(), commands + 1);
            for (name, text) in &pages[..commands] {
                let text = String::from_utf8(text.clone()).unwrap();
                for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "\"SEE ALSO\""] {
                    let section = section.trim_matches('"');
                    assert!(
                        text.contains(&format!(".SH {section}\n")),
                        "{name}: {section}"
                    );
                }
            }
        }
    }

    #[test]
    fn examples_keep_their_lines_and_prose_flows() {
        let help = Help::of("Examples:\n  a --b\n  .c \\n\n\n'Words' flow.\n.and more");
        assert_eq!(
            help.sections,
            ".SH EXAMPLES\n.nf\n  a \\-\\-b\n  .c \\en\n.fi\n"
        );
        assert_eq!(help.prose, ".PP\n\\&'Words' flow.\n\\&.and more\n");
    }
}
