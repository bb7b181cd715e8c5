// Compiles ReceiptLog.sol with npm's solc into artifacts/ReceiptLog.json (ABI and bytecode).
//   node compile.mjs           writes the artifact
//   node compile.mjs --check   fails when the committed artifact is not what the source compiles to
// solc is found as any module is (npm install here), or in the folder that SOLC_MODULES names.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = import.meta.dirname;
const modules = process.env.SOLC_MODULES;
const require = createRequire(modules ? join(modules, "solc", "package.json") : import.meta.url);
const solc = require(modules ? join(modules, "solc") : "solc");
const source = readFileSync(join(folder, "ReceiptLog.sol"), "utf8");
const input = {
  language: "Solidity",
  sources: { "ReceiptLog.sol": { content: source } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "paris",
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  },
};

const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const { severity, formattedMessage } of output.errors ?? []) {
  console.error(`${severity}: ${formattedMessage}`);
}
if (output.errors?.length) process.exit(1);

const { abi, evm } = output.contracts["ReceiptLog.sol"].ReceiptLog;
const artifact = {
  contractName: "ReceiptLog",
  compiler: solc.version(),
  abi,
  bytecode: { object: "0x" + evm.bytecode.object },
  deployedBytecode: { object: "0x" + evm.deployedBytecode.object },
};
const text = JSON.stringify(artifact, null, 2) + "\n";
const path = join(folder, "artifacts", "ReceiptLog.json");
if (process.argv.includes("--check")) {
  if (readFileSync(path, "utf8") !== text) {
    console.error("artifacts/ReceiptLog.json is stale: run node compile.mjs");
    process.exit(1);
  }
} else {
  mkdirSync(join(folder, "artifacts"), { recursive: true });
  writeFileSync(path, text);
}
