// What the Node programs have in common: where their packages are, how checks are run, and a server's life.

import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";

const CHECK_TIME = 20_000; // ms

const here = path.dirname(fileURLToPath(import.meta.url));
/** Where install.sh has put the packages: never beside the sources */
const packages = process.env.FLYRPC_PEERS ?? path.join(here, "../../../../../target/peers");
const require = createRequire(path.join(packages, "node/package.json"));

/** A package's exports, whichever way it is packed */
export async function load(name) {
  const module = await import(pathToFileURL(require.resolve(name)).href);
  return module.default ?? module;
}

/** The server's own error: its code is outside what the specification reserves */
export const OWN_ERROR = { code: 7, message: "NO_SUCH_LAMP" };
export const DIVIDE_BY_ZERO = { code: -32001, message: "divide by zero" };

export function multiply({ A, B }) {
  return A * B;
}

export function divide({ A, B }) {
  return { Quo: Math.trunc(A / B), Rem: A % B };
}

export function same(got, wanted) {
  if (isDeepStrictEqual(got, wanted)) return;
  const shown = (value) => String(JSON.stringify(value)).slice(0, 200);
  throw new Error(`${shown(got)} instead of ${shown(wanted)}`);
}

export function holds(condition, what) {
  if (!condition) throw new Error(what);
}

/** The error that the promise must end with */
export async function fails(promise, code, message) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    if (code !== undefined) same(error.code, code);
    if (message !== undefined) same(error.message, message);
    return error;
  }
  throw new Error(`the result ${JSON.stringify(result)} instead of an error`);
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Asks until the answer is the wanted one: for what follows a notification, which nobody answers */
export async function becomes(ask, wanted) {
  let got;
  for (let tries = 0; tries < 100; tries += 1) {
    got = await ask();
    if (got === wanted) return;
    await pause(10);
  }
  same(got, wanted);
}

/** Runs the checks in their order, prints a line for each, and ends the process */
export async function runChecks(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("not done in time")), CHECK_TIME);
    });
    try {
      await Promise.race([check(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${error.message}`);
    } finally {
      clearTimeout(timer);
    }
  }
  console.log(`done ${Object.keys(checks).length - failed} ok ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

/** Listens on a free port, tells it, and ends with standard input */
export function serveUntilStdinEnds(server) {
  server.listen(0, "127.0.0.1", () => console.log(`LISTEN ${server.address().port}`));
  process.stdin.on("end", () => process.exit(0)).resume();
}

export function hostAndPort(address) {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}

export function usage(text) {
  console.error(text);
  process.exit(2);
}
