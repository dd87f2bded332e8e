// A peer on vscode-jsonrpc, as language servers and VS Code itself use it: Content-Length framing.
//
//   node vscode.mjs serve tcp|stdio
//   node vscode.mjs call tcp HOST:PORT
//   node vscode.mjs call stdio COMMAND [ARGUMENT...]

import { spawn } from "node:child_process";
import net from "node:net";
import {
  DIVIDE_BY_ZERO, OWN_ERROR, becomes, divide, fails, holds, hostAndPort, load, multiply, pause, runChecks, same,
  serveUntilStdinEnds, usage,
} from "./common.mjs";

const rpc = await load("vscode-jsonrpc/node");
const { ErrorCodes, LSPErrorCodes, ResponseError } = rpc;
const REQUEST_CANCELLED = LSPErrorCodes?.RequestCancelled ?? -32800;
const SERVICE_NOT_FOUND = -32002;

const [role, kind, ...rest] = process.argv.slice(2);
if (role === "serve" && kind === "tcp" && rest.length === 0) {
  serveUntilStdinEnds(net.createServer((socket) => serve(connect(socket, socket))));
} else if (role === "serve" && kind === "stdio" && rest.length === 0) {
  const connection = connect(process.stdin, process.stdout);
  connection.onClose(() => process.exit(0));
  serve(connection);
} else if (role === "call" && kind === "tcp" && rest.length === 1) {
  const { host, port } = hostAndPort(rest[0]);
  const socket = net.connect(port, host);
  call(connect(socket, socket));
} else if (role === "call" && kind === "stdio" && rest.length >= 1) {
  const child = spawn(rest[0], rest.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
  call(connect(child.stdout, child.stdin));
} else {
  usage("usage: vscode.mjs serve tcp|stdio\n       vscode.mjs call tcp HOST:PORT\n       vscode.mjs call stdio COMMAND [ARGUMENT...]");
}

function connect(input, output) {
  const connection = rpc.createMessageConnection(
    new rpc.StreamMessageReader(input), new rpc.StreamMessageWriter(output));
  connection.onError(([error]) => console.error(`connection: ${error.message}`));
  return connection;
}

// The last argument of each handler is its cancellation token.
function serve(connection) {
  let [notes, cancelled] = [0, 0];
  connection.onRequest("echo", (...params) => {
    const given = params.slice(0, -1);
    // The package hands an object over as it is, an array as arguments, and nothing as nothing.
    return given.length === 1 && isNamed(given[0]) ? given[0] : given;
  });
  connection.onRequest("upper", (text) =>
    typeof text === "string" ? text.toUpperCase() : new ResponseError(ErrorCodes.InvalidParams, "Invalid params"));
  connection.onRequest("sleep", async (ms, token) => {
    const noLonger = new Promise((done) => token.onCancellationRequested(done));
    await Promise.race([pause(ms), noLonger]);
    if (token.isCancellationRequested) {
      cancelled += 1;
      return new ResponseError(REQUEST_CANCELLED, "cancelled");
    }
    return `slept ${ms} ms`;
  });
  connection.onRequest("fail", (...params) =>
    new ResponseError(OWN_ERROR.code, OWN_ERROR.message, params.slice(0, -1)));
  connection.onNotification("note", () => { notes += 1; });
  connection.onRequest("count", () => notes);
  connection.onRequest("cancelled", () => cancelled);
  connection.onRequest("greet", async () => {
    const name = await connection.sendRequest("name");
    await connection.sendNotification("greeted", name);
    return `hello, ${name}`;
  });
  connection.onRequest("big", (length) => "x".repeat(length));
  connection.onRequest("Arith.Multiply", (args) => multiply(args));
  connection.onRequest("Arith.Divide", (args) =>
    args.B === 0 ? new ResponseError(DIVIDE_BY_ZERO.code, DIVIDE_BY_ZERO.message) : divide(args));
  connection.listen();
}

function isNamed(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function call(connection) {
  const request = (method, ...params) => connection.sendRequest(method, ...params);
  connection.onRequest("name", () => "vscode-jsonrpc");
  connection.listen();

  runChecks({
    "echo-positional": async () => same(await request("echo", "a", 1, null, [true]), ["a", 1, null, [true]]),
    "echo-named": async () => same(await request("echo", { text: "ä\u2028\"\\", deep: { a: [] } }), { text: "ä\u2028\"\\", deep: { a: [] } }),
    "upper": async () => same(await request("upper", "dämmerung"), "DÄMMERUNG"),
    "arith": async () => {
      same(await request("Arith.Multiply", { A: 7, B: -8 }), -56);
      same(await request("Arith.Divide", { A: 17, B: 5 }), { Quo: 3, Rem: 2 });
    },
    "divide-by-zero": () => fails(request("Arith.Divide", { A: 1, B: 0 }), DIVIDE_BY_ZERO.code, DIVIDE_BY_ZERO.message),
    "own-error": () => fails(request("fail", "9 of 8"), OWN_ERROR.code, OWN_ERROR.message),
    "method-not-found": () => fails(request("nowhere"), ErrorCodes.MethodNotFound),
    "service-not-found": () => fails(request("Nobody.Home"), SERVICE_NOT_FOUND),
    "invalid-params": () => fails(request("upper", 5), ErrorCodes.InvalidParams),
    "notifications": async () => {
      const before = await request("count");
      for (let i = 0; i < 10; i += 1) await connection.sendNotification("note", `dusk ${i}`);
      await becomes(() => request("count"), before + 10);
    },
    "concurrent": async () => {
      const numbers = Array.from({ length: 200 }, (_, i) => i);
      const answers = await Promise.all(numbers.map((i) => request("echo", i)));
      same(answers, numbers.map((i) => [i]));
    },
    "out-of-order": async () => {
      const ended = [];
      const slow = request("sleep", 300).then(() => ended.push("slow"));
      await request("echo", 1).then(() => ended.push("quick"));
      await slow;
      same(ended, ["quick", "slow"]);
    },
    "greet": async () => same(await request("greet"), "hello, vscode-jsonrpc"),
    "big": async () => same((await request("big", 1 << 20)).length, 1 << 20),
    "big-params": async () => same(await request("echo", "ü".repeat(1 << 19)), ["ü".repeat(1 << 19)]),
    "cancel": async () => {
      const source = new rpc.CancellationTokenSource();
      const began = Date.now();
      const sleeping = request("sleep", 15_000, source.token);
      await pause(50);
      source.cancel();
      await fails(sleeping, REQUEST_CANCELLED);
      holds(Date.now() - began < 5_000, "the sleep was not cut short");
      same(await request("echo", "after"), ["after"]);
    },
  });
}
