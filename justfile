# The list of recipes is the manual: `just --list`.

# The main job on real parts: model, node, chain, agent, kill, receipts.
demo *ARGS:
    cargo run -p steward -- demo {{ARGS}}

# Everything that must hold before a change lands.
test:
    bash tests/run.sh

# The quick inner loop: type-check the crates without heavy drivers.
check:
    cargo check

# Format, and write what tests generate (proto code, supervision tree, vectors, snapshots).
fix:
    cargo fmt --all
    STEWARD_UPDATE=1 INSTA_UPDATE=always cargo test --workspace --quiet

# Build and test the Solidity contracts; arguments go to forge, `--update` writes artifacts and the gas snapshot.
contracts *ARGS:
    contracts/evm/run-tests.sh {{ARGS}}

# Solana's driver, and nodes that pay and anchor through kills, on an Agave validator, which is built the first time.
agave *FILTERS:
    adapters/solana/agave/run-tests.sh {{FILTERS}}

# Benchmarks, each beside its peer: see docs/benchmarks.md.
bench NAME:
    cargo bench --workspace --bench {{NAME}}

# Fuzz what comes from outside: scripts, receipts, stored records, model files; each target for so many seconds.
fuzz SECONDS="300":
    tests/fuzz/run.sh {{SECONDS}}

# Three nodes and their store on this machine, until Ctrl-C: `just cluster fdb:FILE` shares FoundationDB.
cluster STORE="served":
    cargo build --quiet -p steward
    packaging/local-cluster.sh target/debug/steward .steward/cluster {{STORE}}

# Kill, pause and cut off the nodes and the store of a cluster at random points.
chaos-cluster FAULTS="300":
    cargo build --quiet --release -p steward
    cargo run --quiet --release -p steward-chaos -- run chaos/runs/cluster.toml --kills {{FAULTS}}

# The same on a FoundationDB cluster started from the fdbserver that FDB_SERVER names.
chaos-foundationdb FAULTS="300":
    cargo build --quiet --release -p steward
    cargo run --quiet --release -p steward-chaos -- run chaos/runs/foundationdb.toml --kills {{FAULTS}}

# Measure a cluster of real processes: failover, starved, rolling, overload or recovery; see docs/cluster.md.
measure-cluster *ARGS:
    cargo build --quiet --release -p steward
    cargo run --quiet --release -p steward-chaos -- {{ARGS}}

# Durable steps beside Restate's, in one run on this machine; needs Node and npm.
bench-restate:
    cd benches/restate && npm ci --silent && node compare.mjs

# Kill a real node at random points, for as long as asked (the short run is part of `just test`).
chaos KILLS="200":
    cargo build --quiet --release -p steward
    cargo run --quiet --release -p steward-chaos -- run chaos/runs/kill.toml --kills {{KILLS}}

# Compile the GPU kernels to the PTX that is committed; needs NVRTC of CUDA 12.1, and no GPU.
gpu-kernels:
    cargo run --quiet -p steward-inference-cuda --example compile_kernels
