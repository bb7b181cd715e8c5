//! Runs a real SVM (surfpool) with JSON-RPC and websockets on free ports of the loopback interface.
//!
//! `steward-solana-devnet SLOT_MS ADDRESS...` makes a block every SLOT_MS milliseconds and gives each address plenty.
//! It prints one line, `Listening on HTTP_URL WEBSOCKET_URL`, and ends when its standard input ends, so that it never
//! outlives whoever started it, however that one died.

use std::error::Error;
use std::io::{Read as _, Write as _};

use surfpool_sdk::{BlockProductionMode, Pubkey, Surfnet};

/// What each address has at the start: a thousand SOL.
const LAMPORTS: u64 = 1_000_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let slot_ms: u64 = arguments.next().ok_or("usage: steward-solana-devnet SLOT_MS ADDRESS...")?.parse()?;
    let addresses = arguments.map(|text| text.parse()).collect::<Result<Vec<Pubkey>, _>>()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let network = runtime.block_on(
        Surfnet::builder()
            .offline(true)
            .block_production_mode(BlockProductionMode::Clock)
            .slot_time_ms(slot_ms)
            .airdrop_addresses(addresses)
            .airdrop_sol(LAMPORTS)
            .start(),
    )?;
    println!("Listening on {} {}", network.rpc_url(), network.ws_url());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // Its threads have nothing to put in order.
    std::process::exit(0)
}
