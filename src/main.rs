//! Floor 9: the command line. Trains the memo's linear layer, or fits a linear model to a CSV file; shows what
//! was derived and generated on the way.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has seen enough.
        Err(cli::Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("hitofude: {failure}");
            ExitCode::from(2)
        }
    }
}
