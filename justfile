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

# Benchmarks, each beside its peer: see docs/benchmarks.md.
bench NAME:
    cargo bench --workspace --bench {{NAME}}

# Fuzz what comes from outside: scripts, receipts, stored records, model files; each target for so many seconds.
fuzz SECONDS="300":
    tests/fuzz/run.sh {{SECONDS}}

# Three nodes and their store on this machine, until Ctrl-C.
cluster:
    cargo build --quiet -p steward
    packaging/local-cluster.sh

# Kill and pause the nodes and the store of a cluster at random points.
chaos-cluster FAULTS="300":
    cargo run --quiet --release -p steward-chaos -- run chaos/runs/cluster.toml --kills {{FAULTS}}
# Durable steps beside Restate's, in one run on this machine; needs Node and npm.
bench-restate:
    cd benches/restate && npm ci --silent && node compare.mjs

# Kill a real node at random points, for as long as asked (the short run is part of `just test`).
chaos KILLS="200":
    cargo run --quiet --release -p steward-chaos -- run chaos/runs/kill.toml --kills {{KILLS}}
