#!/usr/bin/env node
// The compiler as forge calls it, over npm's solc: `--version`, or `--standard-json` with the input on stdin.
// forge has no compiler of its own and finds none offline; npm has solc as JavaScript, not as a program.
import { readFileSync } from "node:fs";
import solc from "solc";

if (process.argv.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  console.error("solc.mjs: only --version and --standard-json");
  process.exit(2);
}
