//! The `steward` binary: reads arguments, runs one command, turns its error into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use steward::args::Arguments;
use steward::{commands, runtime};
use steward_scripting::MeteredAllocator;

/// Counts what each script allocates, so that its memory has a bound.
#[global_allocator]
static ALLOCATOR: MeteredAllocator<MiMalloc> = MeteredAllocator(MiMalloc);

fn main() -> ExitCode {
    // Several TLS back-ends may be linked in; the choice is made once, here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let output = arguments.output();
    match runtime::run(commands::run(arguments)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => commands::report(&error, output),
        Err(error) => commands::report(&anyhow::Error::new(error), output),
    }
}
