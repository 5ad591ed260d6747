//! `callvault init`

use super::Outcome;
use super::output::Output;
use crate::app;
use crate::config::Config;

pub async fn run(config: Config, output: Output) -> Outcome {
    let made = app::init(&config).await?;
    output.print(&made, |made| {
        let mut text = format!("{} is ready, at generation {} of the ring.\n", made.data_dir, made.generation);
        if made.master_key_made {
            text += "A master key was made. Keep a copy of it somewhere else: without it nothing can be played.\n";
        }
        for warning in &made.warnings {
            text += &format!("warning: {warning}\n");
        }
        text
    });
    Ok(())
}
