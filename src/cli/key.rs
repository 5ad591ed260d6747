//! `callvault key generate`

use clap::Subcommand;
use serde::Serialize;

use super::Outcome;
use super::output::Output;
use crate::config::key_text;
use crate::crypto::keys::MasterKey;
use crate::crypto::random::random;

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Print a new master key: 64 hexadecimal digits for a file of mode 0600
    Generate,
}

#[derive(Serialize)]
struct Generated<'a> {
    master_key: &'a str,
}

pub fn run(command: &KeyCommand, output: Output) -> Outcome {
    match command {
        KeyCommand::Generate => {
            let text = key_text(&MasterKey::take(&mut random()));
            output.print(&Generated { master_key: &text }, |generated| format!("{}\n", generated.master_key));
            Ok(())
        }
    }
}
