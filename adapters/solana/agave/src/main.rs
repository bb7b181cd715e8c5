//! Runs an Agave validator with JSON-RPC and websockets: what mainnet's nodes run, with its banks, votes and forks.
//!
//! `steward-agave-devnet SLOT_MS ADDRESS...` makes a block every SLOT_MS milliseconds, 100 at least, and gives each address
//! plenty. It prints a line `Listening on HTTP_URL WEBSOCKET_URL`, and ends when its standard input ends, so that it never
//! outlives whoever started it, however that one died.
//!
//! Its RPC listens on every interface, whatever it is told: start it where there is none but the loopback, in a network
//! namespace of its own (`unshare --net`).

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use solana_account::AccountSharedData;
use solana_net_utils::SocketAddrSpace;
use solana_pubkey::Pubkey;
use solana_rpc::rpc::JsonRpcConfig;
use solana_test_validator::TestValidatorGenesis;

const USAGE: &str = "usage: steward-agave-devnet SLOT_MS ADDRESS...";
/// What each address has at the start: a thousand SOL.
const LAMPORTS: u64 = 1_000_000_000_000;
/// The shortest slot, in milliseconds. A validator asked for shorter ones spends all its time on beginning them.
const SLOT_MS_MIN: u64 = 100;
/// How long a tick of proof of history takes, in microseconds: 400 ms for 64 of them.
const TICK_US: u64 = 6_250;
/// Where its ports lie, below those that the system gives out, and how many each validator has for itself.
const PORTS_FROM: u16 = 10_000;
const PORTS: u16 = 100;
/// Validators that run side by side without meeting.
const PLACES: u16 = 200;
/// The first argument of the process that is the validator.
const INNER: &str = "--inner";

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [inner, ledger, slot_ms, addresses @ ..] if inner == INNER => validate(Path::new(ledger), slot_ms, addresses),
        [] => Err(USAGE.into()),
        _ => watch(&arguments),
    }
}

/// Runs the validator as a child that ends when its standard input does, which is when this process ends in whatever
/// way: only a process of its own is left to take its ledger away.
fn watch(arguments: &[String]) -> Outcome {
    let ledger = tempfile::Builder::new().prefix("steward-agave-").tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(INNER).arg(ledger.path()).args(arguments).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    // Whoever started this closes the pipe, or dies; a validator that does not start closes nothing, so both are waited for.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(stdin);
    });
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the validator ended: {status}").into()) }
}

fn validate(ledger: &Path, slot_ms: &str, addresses: &[String]) -> Outcome {
    let slot_ms: u64 = slot_ms.parse().map_err(|_| USAGE)?;
    let addresses = addresses.iter().map(|text| text.parse()).collect::<Result<Vec<Pubkey>, _>>()?;
    let place = u16::try_from(std::process::id() % u32::from(PLACES))?;
    let from = PORTS_FROM + place * PORTS;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut genesis = TestValidatorGenesis::default();
    genesis
        .ledger_path(ledger.join("ledger"))
        .ticks_per_slot(slot_ms.max(SLOT_MS_MIN).saturating_mul(1_000) / TICK_US)
        .bind_ip_addr(loopback)
        .gossip_host(loopback)
        .gossip_port(from)
        .port_range((from, from + PORTS))
        .rpc_config(JsonRpcConfig {
            enable_rpc_transaction_history: true,
            enable_extended_tx_metadata_storage: true,
            ..JsonRpcConfig::default_for_test()
        });
    for address in addresses {
        genesis.add_account(address, AccountSharedData::new(LAMPORTS, 0, &solana_sdk_ids::system_program::id()));
    }
    let validator = genesis.start_with_mint_address(Pubkey::new_unique(), SocketAddrSpace::Unspecified)?;
    println!("Listening on {} {}", validator.rpc_url(), validator.rpc_pubsub_url());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // Its threads have nothing to put in order; its ledger is nobody's any more.
    let _ = std::fs::remove_dir_all(ledger);
    std::process::exit(0)
}
