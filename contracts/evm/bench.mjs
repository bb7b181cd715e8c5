// Gas for each receipt on a real EVM (anvil): the receipt log's anchor beside a contract that emits an event for each
// receipt. Prints the table of docs/benchmarks.md. run-tests.sh has built what it deploys.
//   node bench.mjs           prints the table
//   node bench.mjs --check   fails when a receipt costs more than the aims below
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

const BATCHES = [1, 64, 1024, 4096];
/** The most gas that a further anchor may take, whatever the batch. */
const ANCHOR_GAS_MAX = 31_500;
/** 16 million: the most that EIP-7825 lets a transaction have is a little more. */
const GAS_LIMIT = "0xf42400";

const folder = import.meta.dirname;
const read = (path) => JSON.parse(readFileSync(join(folder, path), "utf8"));
const word = (value) => BigInt(value).toString(16).padStart(64, "0");
const hash = () => randomBytes(32).toString("hex");

/** Starts anvil on a free port and gives its address and a way to end it. */
function startAnvil() {
  const anvil = spawn(join(folder, "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"), ["--port", "0"]);
  const stop = () => anvil.kill();
  return new Promise((resolve, reject) => {
    let said = "";
    anvil.on("error", reject);
    anvil.on("exit", (code) => reject(new Error(`anvil ended with ${code}: ${said}`)));
    anvil.stdout.on("data", (text) => {
      said += text;
      const port = /Listening on [\d.]+:(\d+)/.exec(said)?.[1];
      if (port) resolve({ url: `http://127.0.0.1:${port}`, stop });
    });
  });
}

async function call(url, method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const reply = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { result, error } = await reply.json();
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

/** Sends a transaction from anvil's first account and gives its receipt. */
async function send(url, transaction) {
  const [from] = await call(url, "eth_accounts", []);
  const sent = await call(url, "eth_sendTransaction", [{ from, gas: GAS_LIMIT, ...transaction }]);
  let receipt;
  // Anvil mines it at once, but may answer before.
  while (!(receipt = await call(url, "eth_getTransactionReceipt", [sent]))) await setTimeout(10);
  if (receipt.status !== "0x1") throw new Error("the transaction failed");
  return receipt;
}

async function deploy(url, bytecode) {
  return (await send(url, { data: bytecode })).contractAddress;
}

/** The selector of a function of a forge or compile.mjs artifact. */
function selectors(path) {
  const methods = read(path).methodIdentifiers;
  return (name) => "0x" + Object.entries(methods).find(([signature]) => signature.startsWith(name + "("))[1];
}

async function measure(url) {
  const log = await deploy(url, read("artifacts/ReceiptLog.json").bytecode.object);
  const naive = await deploy(url, read("node_modules/.forge/out/OneEvent.sol/OneEvent.json").bytecode.object);
  const anchorSelector = selectors("node_modules/.forge/out/ReceiptLog.sol/ReceiptLog.json")("anchor");
  const naiveSelector = selectors("node_modules/.forge/out/OneEvent.sol/OneEvent.json");
  const logId = hash();
  const gas = async (to, data) => Number((await send(url, { to, data })).gasUsed);
  const anchor = (size) => gas(log, anchorSelector + logId + word(size) + hash());
  // A log that has some history: sizes with several bytes, as they are paid for.
  let size = 1_000_000;
  const first = await anchor(size);
  const single = await gas(naive, naiveSelector("record") + logId + hash());
  const rows = [];
  for (const batch of BATCHES) {
    size += batch;
    const anchored = await anchor(size);
    const hashes = Array.from({ length: batch }, hash).join("");
    const all = await gas(naive, naiveSelector("recordAll") + logId + word(64) + word(batch) + hashes);
    rows.push({ batch, anchored, single, all });
  }
  return { first, rows };
}

const { url, stop } = await startAnvil();
try {
  const { first, rows } = await measure(url);
  console.log("| receipts a batch | anchor, gas | a receipt | one event each, a receipt | the same in one transaction, a receipt |");
  console.log("|---|---|---|---|---|");
  const each = (gas, batch) => (gas / batch < 100 ? (gas / batch).toFixed(1) : Math.round(gas / batch).toLocaleString("en"));
  for (const { batch, anchored, single, all } of rows) {
    console.log(`| ${batch.toLocaleString("en")} | ${anchored.toLocaleString("en")} | ${each(anchored, batch)} | ${each(single, 1)} | ${each(all, batch)} |`);
  }
  console.log(`\nThe first anchor of a log: ${first.toLocaleString("en")} gas.`);
  const most = Math.max(...rows.map((row) => row.anchored));
  if (process.argv.includes("--check") && most > ANCHOR_GAS_MAX) {
    console.error(`an anchor takes ${most} gas, more than ${ANCHOR_GAS_MAX}`);
    process.exitCode = 1;
  }
} finally {
  stop();
}
