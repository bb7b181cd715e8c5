// Compiles the contracts with npm's solc into artifacts/NAME.json (ABI and bytecode).
//   node compile.mjs           writes the artifacts
//   node compile.mjs --check   fails when a committed artifact is not what its source compiles to
// Packages are found as any module is (npm install here), or in the folder that SOLC_MODULES names.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = import.meta.dirname;
const modules = process.env.SOLC_MODULES ?? join(folder, "node_modules");
const solc = createRequire(import.meta.url)(join(modules, "solc"));

/** The contracts that are deployed, each in the file of its name. */
const CONTRACTS = ["ReceiptLog", "IdentityRegistry", "ReputationRegistry", "Stake", "Escrow", "MultiOwner"];

const sources = Object.fromEntries(
  readdirSync(join(folder, "src")).map((name) => [`src/${name}`, { content: readFileSync(join(folder, "src", name), "utf8") }]),
);
const input = {
  language: "Solidity",
  sources,
  // The settings of foundry.toml, so that what is tested is what is deployed.
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "cancun",
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  },
};
const imported = (path) => ({ contents: readFileSync(join(modules, path), "utf8") });

const output = JSON.parse(solc.compile(JSON.stringify(input), { import: imported }));
// Whatever solc says of our own sources fails; of a library only errors do.
const said = (output.errors ?? []).filter(
  ({ severity, sourceLocation }) => severity === "error" || sourceLocation?.file.startsWith("src/"),
);
for (const { severity, formattedMessage } of said) console.error(`${severity}: ${formattedMessage}`);
if (said.length) process.exit(1);

for (const name of CONTRACTS) {
  const { abi, evm } = output.contracts[`src/${name}.sol`][name];
  const artifact = {
    contractName: name,
    compiler: solc.version(),
    abi,
    bytecode: { object: "0x" + evm.bytecode.object },
    deployedBytecode: { object: "0x" + evm.deployedBytecode.object },
  };
  const text = JSON.stringify(artifact, null, 2) + "\n";
  const path = join(folder, "artifacts", `${name}.json`);
  if (!process.argv.includes("--check")) {
    mkdirSync(join(folder, "artifacts"), { recursive: true });
    writeFileSync(path, text);
  } else if (readFileSync(path, "utf8") !== text) {
    console.error(`artifacts/${name}.json is stale: run node compile.mjs`);
    process.exitCode = 1;
  }
}
