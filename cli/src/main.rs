//! The `steward` binary: reads arguments, runs one command, turns its error into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use steward::args::Arguments;
use steward::commands;
use steward_scripting::MeteredAllocator;

/// Counts what each script allocates, so that its memory has a bound.
#[global_allocator]
static ALLOCATOR: MeteredAllocator<MiMalloc> = MeteredAllocator(MiMalloc);

fn main() -> ExitCode {
    // Several TLS back-ends may be linked in; the choice is made once, here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::report(&anyhow::Error::new(error), arguments.output()),
    };
    let output = arguments.output();
    match runtime.block_on(commands::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => commands::report(&error, output),
    }
}
