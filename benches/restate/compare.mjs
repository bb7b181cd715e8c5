// Durable steps: Restate and Steward on the same machine, one after the other, in one run.
// Usage: npm ci && node compare.mjs [COMMAND OF STEWARD'S BENCHMARK...]
//
// Restate's load comes from this process, whose CPU time is not counted; Steward's from within the process that is
// measured, so it is counted. Both sync to disk before a step counts as done, Restate by its default settings.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";

import { startRestate } from "./server.mjs";

const STEPS = [0, 1, 3, 9];
const CONCURRENCIES = [1, 32];
const RUNS = 3;
const RUN_MS = 2_500;
const WARM_UP_MS = 3_000;
const STEWARD = ["cargo", "bench", "--quiet", "-p", "steward-actors", "--bench", "session"];

function load() {
  return readFileSync("/proc/loadavg", "utf8").split(" ")[0];
}

function median(numbers) {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

function invoke(agent, port, steps) {
  const body = JSON.stringify({ steps });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const call = request({ agent, port, host: "127.0.0.1", method: "POST", path: "/steps/run", headers }, (answer) => {
      let text = "";
      answer.on("data", (piece) => (text += piece));
      answer.on("end", () => (answer.statusCode === 200 && text === "1" ? resolve() : reject(new Error(text))));
      answer.on("error", reject);
    });
    call.on("error", reject);
    call.end(body);
  });
}

/** Invokes for `ms` milliseconds with `concurrency` callers, each waiting for its answer. Returns how often. */
async function callFor(port, steps, concurrency, ms) {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const end = performance.now() + ms;
  let made = 0;
  const caller = async () => {
    while (performance.now() < end) {
      await invoke(agent, port, steps);
      made += 1;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  agent.destroy();
  return made;
}

async function measureRestate() {
  const restate = await startRestate();
  const figures = new Map();
  try {
    await callFor(restate.ingress, 3, 32, WARM_UP_MS);
    for (const concurrency of CONCURRENCIES) {
      for (const steps of STEPS) {
        const runs = [];
        for (let run = 0; run < RUNS; run += 1) {
          const [before, started] = [restate.cpu(), performance.now()];
          const made = await callFor(restate.ingress, steps, concurrency, RUN_MS);
          const [after, seconds] = [restate.cpu(), (performance.now() - started) / 1000];
          const server = (after.server - before.server) / made;
          const node = (after.node - before.node) / made;
          runs.push({ rate: made / seconds, server, node });
        }
        figures.set(`${steps} ${concurrency}`, {
          rate: median(runs.map((run) => run.rate)),
          server: median(runs.map((run) => run.server)),
          node: median(runs.map((run) => run.node)),
        });
      }
    }
  } finally {
    await restate.stop();
  }
  return figures;
}

/** Runs Steward's own benchmark and reads its table: effect, steps, concurrency, CPU ms a turn and a step, turns/s. */
async function measureSteward(command) {
  const child = spawn(command[0], command.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (piece) => (text += piece));
  const code = await new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}`);
  const figures = new Map();
  for (const line of text.split("\n")) {
    const [effect, steps, concurrency, cpu, , rate] = line.trim().split(/\s+/);
    if (!/^\d+$/.test(steps) || !rate) continue;
    figures.set(`${effect} ${steps} ${concurrency}`, { cpu: Number(cpu), rate: Number(rate) });
  }
  console.log(text);
  return figures;
}

/** Steward's steps that may be done again after a crash stand beside Restate's, which may too. */
function print(restate, steward) {
  console.log("| callers | steps | Restate /s | server ms | Node ms | CPU ms | Steward /s | CPU ms | Restate's CPU / ours |");
  console.log("|---|---|---|---|---|---|---|---|---|");
  for (const concurrency of CONCURRENCIES) {
    for (const steps of STEPS) {
      const [theirs, ours] = [restate.get(`${steps} ${concurrency}`), steward.get(`again ${steps} ${concurrency}`)];
      const cpu = theirs.server + theirs.node;
      const cells = [
        concurrency,
        steps,
        theirs.rate.toFixed(0),
        theirs.server.toFixed(2),
        theirs.node.toFixed(2),
        cpu.toFixed(2),
        ours.rate.toFixed(0),
        ours.cpu.toFixed(2),
        (cpu / ours.cpu).toFixed(1),
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
  for (const concurrency of CONCURRENCIES) {
    const further = (of) => ((of(9) - of(1)) / 8).toFixed(3);
    const theirs = further((steps) => {
      const { server, node } = restate.get(`${steps} ${concurrency}`);
      return server + node;
    });
    const ours = (effect) => further((steps) => steward.get(`${effect} ${steps} ${concurrency}`).cpu);
    console.log(
      `CPU a further step at ${concurrency}, from 1 to 9 steps: Restate ${theirs} ms; ` +
        `Steward ${ours("again")} ms, ${ours("once")} ms for an effect done at most once`,
    );
  }
}

const command = process.argv.length > 2 ? process.argv.slice(2) : STEWARD;
console.log(`load before: ${load()}`);
const restate = await measureRestate();
console.log(`load between: ${load()}`);
const steward = await measureSteward(command);
console.log(`load after: ${load()}; medians of ${RUNS} runs`);
print(restate, steward);
