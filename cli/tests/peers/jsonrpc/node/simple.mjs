// A peer on the npm package json-rpc-2.0, which leaves the transport to its user: Node's own http, or lines over TCP.
//
//   node simple.mjs serve http|tcp
//   node simple.mjs call http URL
//   node simple.mjs call tcp HOST:PORT

import http from "node:http";
import net from "node:net";
import readline from "node:readline";
import {
  DIVIDE_BY_ZERO, OWN_ERROR, becomes, divide, fails, hostAndPort, load, multiply, pause, runChecks, same,
  serveUntilStdinEnds, usage,
} from "./common.mjs";

const {
  JSONRPCClient, JSONRPCErrorException, JSONRPCServer, JSONRPCServerAndClient, createJSONRPCErrorResponse,
  createJSONRPCNotification, createJSONRPCRequest,
} = await load("json-rpc-2.0");

const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;
const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;
const SERVICE_NOT_FOUND = -32002;

// ---- server ----

/** The package logs each error that a method throws; those here are wanted */
const quiet = { errorListener: () => {} };
let notes = 0;

/** The methods; greet has somebody to call back only where the transport goes both ways */
function addMethods(server, request) {
  server.addMethod("echo", (params) => params ?? null);
  server.addMethod("upper", (params) => {
    if (typeof params?.[0] !== "string") throw new JSONRPCErrorException("Invalid params", INVALID_PARAMS);
    return params[0].toUpperCase();
  });
  server.addMethod("sleep", async ([ms]) => {
    await pause(ms);
    return `slept ${ms} ms`;
  });
  server.addMethod("fail", (params) => {
    throw new JSONRPCErrorException(OWN_ERROR.message, OWN_ERROR.code, params);
  });
  server.addMethod("note", () => { notes += 1; });
  server.addMethod("count", () => notes);
  server.addMethod("big", ([length]) => "x".repeat(length));
  const argument = (params) => (Array.isArray(params) ? params[0] : params);
  server.addMethod("Arith.Multiply", (params) => multiply(argument(params)));
  server.addMethod("Arith.Divide", (params) => {
    if (argument(params).B === 0) throw new JSONRPCErrorException(DIVIDE_BY_ZERO.message, DIVIDE_BY_ZERO.code);
    return divide(argument(params));
  });
  if (request) server.addMethod("greet", async () => `hello, ${await request("name")}`);
}

function serveHttp() {
  const server = new JSONRPCServer(quiet);
  addMethods(server);
  serveUntilStdinEnds(http.createServer(async (incoming, outgoing) => {
    const answer = await server.receiveJSON((await read(incoming)).toString());
    if (answer === null) outgoing.writeHead(204).end();
    else outgoing.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }));
}

function serveTcp() {
  serveUntilStdinEnds(net.createServer((socket) => {
    const both = bothWays(socket);
    addMethods(both, (method) => both.request(method, []));
  }));
}

/** A server and a client on one connection, a line for each message */
function bothWays(socket) {
  const send = (message) => socket.write(`${JSON.stringify(message)}\n`);
  const both = new JSONRPCServerAndClient(new JSONRPCServer(quiet), new JSONRPCClient(async (message) => send(message)), quiet);
  socket.on("error", () => socket.destroy());
  socket.on("close", () => both.rejectAllPendingRequests("the connection is closed"));
  readline.createInterface({ input: socket }).on("line", (line) => {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      send(createJSONRPCErrorResponse(null, PARSE_ERROR, "Parse error"));
      return;
    }
    both.receiveAndSend(message).catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
      socket.destroy();
    });
  });
  return both;
}

async function read(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

// ---- client ----

/** One POST: the status, the media type and the body's JSON, if there is a body */
function post(url, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, {
      method: "POST", headers: { "content-type": "application/json", accept: "application/json", ...headers },
    }, (response) => {
      read(response).then((bytes) => {
        const json = bytes.length > 0 ? JSON.parse(bytes) : undefined;
        resolve({ status: response.statusCode, type: response.headers["content-type"], json });
      }).catch(reject);
    });
    request.on("error", reject).end(body);
  });
}

function callHttp(url) {
  const client = new JSONRPCClient(async (payload) => {
    const { status, json } = await post(url, JSON.stringify(payload));
    if (status === 200) client.receive(json);
    else if (status !== 204) throw new Error(`HTTP status ${status}`);
  });
  const raw = async (body, status, json) => {
    const got = await post(url, body);
    same([got.status, got.json], [status, json]);
    if (status === 200) same(got.type?.split(";")[0], "application/json");
  };
  runChecks({
    ...checks(client),
    "status-of-a-notification": () => raw('{"jsonrpc":"2.0","method":"note","params":["x"]}', 204),
    "status-of-a-batch-of-notifications": () => raw('[{"jsonrpc":"2.0","method":"note"},{"jsonrpc":"2.0","method":"nowhere"}]', 204),
    "parse-error": async () => {
      const { status, json } = await post(url, '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]');
      same([status, json.id, json.error.code], [200, null, PARSE_ERROR]);
    },
    "empty-batch": async () => {
      const { status, json } = await post(url, "[]");
      same([status, json.id, json.error.code], [200, null, INVALID_REQUEST]);
    },
    "id-null": () => raw('{"jsonrpc":"2.0","method":"echo","params":[1],"id":null}', 200, { jsonrpc: "2.0", id: null, result: [1] }),
    "messages-of-errors": async () => {
      const { json } = await post(url, "{");
      same(json, { jsonrpc: "2.0", id: null, error: { code: PARSE_ERROR, message: "Parse error" } });
    },
    "get-is-refused": async () => {
      const got = await fetch(url);
      same(got.status, 405);
    },
  });
}

function callTcp(at) {
  const { host, port } = hostAndPort(at);
  const both = bothWays(net.connect(port, host));
  both.addMethod("name", () => "json-rpc-2.0");
  runChecks({
    ...checks(both),
    "greet": async () => same(await both.request("greet", []), "hello, json-rpc-2.0"),
    "garbage-between": async () => {
      const socket = net.connect(port, host);
      const lines = readline.createInterface({ input: socket })[Symbol.asyncIterator]();
      // Two requests on one line: a reader of values, not of lines, takes both.
      socket.write('not json\n{"jsonrpc":"2.0","method":"echo","params":[2],"id":"s"}{"jsonrpc":"2.0","method":"echo","id":1.5}\n');
      const answers = [];
      for (let i = 0; i < 3; i += 1) answers.push(JSON.parse((await lines.next()).value));
      socket.destroy();
      same(answers.map((answer) => answer.error?.code ?? answer.id).sort(), [PARSE_ERROR, 1.5, "s"].sort());
    },
  });
}

/** What both transports can do; the package's batches go through requestAdvanced */
function checks(client) {
  const request = (method, params) => client.request(method, params);
  let id = 1000;
  const asked = (method, params) => createJSONRPCRequest((id += 1), method, params);
  return {
    "echo-positional": async () => same(await request("echo", ["a", 1, null, [true]]), ["a", 1, null, [true]]),
    "echo-named": async () => same(await request("echo", { text: "ä\u2028\"\\", deep: { a: [] } }), { text: "ä\u2028\"\\", deep: { a: [] } }),
    "echo-nothing": async () => same(await request("echo"), null),
    "upper": async () => same(await request("upper", ["dämmerung"]), "DÄMMERUNG"),
    "arith": async () => {
      same(await request("Arith.Multiply", { A: 7, B: -8 }), -56);
      same(await request("Arith.Multiply", [{ A: 7, B: 8 }]), 56);
      same(await request("Arith.Divide", { A: 17, B: 5 }), { Quo: 3, Rem: 2 });
    },
    "divide-by-zero": () => fails(request("Arith.Divide", { A: 1, B: 0 }), DIVIDE_BY_ZERO.code, DIVIDE_BY_ZERO.message),
    "own-error": () => fails(request("fail", ["9 of 8"]), OWN_ERROR.code, OWN_ERROR.message),
    "method-not-found": () => fails(request("nowhere", []), METHOD_NOT_FOUND),
    "service-not-found": () => fails(request("Nobody.Home", []), SERVICE_NOT_FOUND),
    "invalid-params": () => fails(request("upper", [5]), INVALID_PARAMS),
    "notifications": async () => {
      const before = await request("count", []);
      for (let i = 0; i < 10; i += 1) client.notify("note", [`dusk ${i}`]);
      await becomes(() => request("count", []), before + 10);
    },
    "concurrent": async () => {
      const numbers = Array.from({ length: 200 }, (_, i) => i);
      const answers = await Promise.all(numbers.map((i) => request("echo", [i])));
      same(answers, numbers.map((i) => [i]));
    },
    "big": async () => same((await request("big", [1 << 20])).length, 1 << 20),
    "batch": async () => {
      const batch = [asked("echo", [1]), asked("nowhere", []), asked("upper", ["x"]), createJSONRPCNotification("note", ["in a batch"])];
      const before = await request("count", []);
      const answers = await client.requestAdvanced(batch);
      const found = new Map(answers.map((answer) => [answer.id, answer.error?.code ?? answer.result]));
      same([...batch.slice(0, 3)].map(({ id: at }) => found.get(at)), [[1], METHOD_NOT_FOUND, "X"]);
      same(answers.length, 3);
      await becomes(() => request("count", []), before + 1);
    },
  };
}

const [role, kind, address] = process.argv.slice(2);
if (role === "serve" && kind === "http") serveHttp();
else if (role === "serve" && kind === "tcp") serveTcp();
else if (role === "call" && kind === "http" && address) callHttp(address);
else if (role === "call" && kind === "tcp" && address) callTcp(address);
else usage("usage: simple.mjs serve http|tcp\n       simple.mjs call http URL\n       simple.mjs call tcp HOST:PORT");
