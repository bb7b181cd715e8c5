#!/usr/bin/env python3
"""usage: seeds.py TARGET FOLDER   writes the target's seeds, in the shape that it reads, from what the repository has."""
import hashlib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def vectors(name):
    return json.loads((ROOT / "contracts/receipts/vectors" / name).read_text())


def receipt_leaf():
    """Leaves as bytes, proofs as JSON, notes behind the key that verifies them."""
    leaves, proofs, notes = (vectors(name) for name in ("leaves.json", "proofs.json", "notes.json"))
    yield from (bytes.fromhex(leaf["bytes"]) for leaf in leaves["valid"])
    yield from (bytes.fromhex(leaf) for leaf in leaves["invalid"].values())
    cases = [proofs["valid"], *(case["proof"] for case in proofs["invalid"].values())]
    yield from (json.dumps(proof).encode() for proof in cases)
    yield from (f"{notes['key']}\n{note}".encode() for note in (notes["checkpoint"], notes["forged"]))


def script_upload():
    """The examples, and each block of the manual: as a handler's body where it is none itself."""
    yield from (script.read_bytes() for script in sorted(ROOT.glob("examples/*/*.rhai")))
    for block in re.findall(r"^```rhai[^\n]*\n(.*?)^```", (ROOT / "docs/scripting.md").read_text(), re.M | re.S):
        yield (block if "fn " in block else f"fn on_message(msg) {{\n{block}}}\n").encode()


def kept(target):
    """Files that a test of the crate writes: `storage/tests/fuzz_seeds.rs`, `inference/candle/tests/engine/seeds.rs`."""
    yield from (seed.read_bytes() for seed in sorted((ROOT / "tests/fuzz/seeds" / target).iterdir()))


target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
made = {"receipt_leaf": receipt_leaf, "script_upload": script_upload}.get(target, lambda: kept(target))()
folder.mkdir(parents=True, exist_ok=True)
seeds = {hashlib.sha256(seed).hexdigest()[:40]: seed for seed in made}
if not seeds:
    sys.exit(f"{target} has no seed")
for name, seed in seeds.items():
    (folder / name).write_bytes(seed)
