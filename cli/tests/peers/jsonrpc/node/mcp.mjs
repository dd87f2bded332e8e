// A peer on MCP's official SDK, @modelcontextprotocol/sdk, over stdio: a line for each message.
//
//   node mcp.mjs serve
//   node mcp.mjs call COMMAND [ARGUMENT...]
//
// The client's checks are made for examples/mcp-server.rs, whose tools the server here has too.

import { spawn } from "node:child_process";
import readline from "node:readline";
import { fails, holds, load, runChecks, same, usage } from "./common.mjs";

const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
const { Server } = await load("@modelcontextprotocol/sdk/server/index.js");
const { StdioServerTransport } = await load("@modelcontextprotocol/sdk/server/stdio.js");
const types = await load("@modelcontextprotocol/sdk/types.js");

const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;
const ROOTS = [{ uri: "file:///lamps", name: "lamps" }, { uri: "file:///bulbs" }];

// ---- server ----

const object = (properties) => ({ type: "object", properties, required: Object.keys(properties) });
const TOOLS = [
  { name: "count_words", description: "Counts the words of a text", inputSchema: object({ text: { type: "string" } }) },
  {
    name: "divide", description: "Divides two whole numbers",
    inputSchema: object({ a: { type: "integer" }, b: { type: "integer" } }),
  },
  { name: "list_roots", description: "Names the client's roots", inputSchema: object({}) },
];
const text = (line) => ({ content: [{ type: "text", text: line }] });

async function serve() {
  const server = new Server({ name: "mcp.mjs", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler(types.ListToolsRequestSchema, () => ({ tools: TOOLS }));
  server.setRequestHandler(types.CallToolRequestSchema, async ({ params: { name, arguments: given } }) => {
    switch (name) {
      case "count_words":
        return text(String(given.text.split(/\s+/).filter(Boolean).length));
      case "divide":
        if (given.b === 0) return { ...text("divide by zero"), isError: true };
        return text(`${Math.trunc(given.a / given.b)} remainder ${given.a % given.b}`);
      case "list_roots":
        return text((await server.listRoots()).roots.map(({ uri }) => uri).join("\n"));
      default:
        throw new types.McpError(INVALID_PARAMS, `Unknown tool: ${name}`);
    }
  });
  await server.connect(new StdioServerTransport());
}

// ---- client ----

function call(command, args) {
  const client = new Client({ name: "mcp.mjs", version: "1" }, { capabilities: { roots: {} } });
  client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: ROOTS }));
  const transport = new StdioClientTransport({ command, args, stderr: "inherit" });
  const tool = (name, given) => client.callTool({ name, arguments: given });

  runChecks({
    "initialize": async () => {
      await client.connect(transport);
      holds(client.getServerVersion()?.name, "the server has no name");
      holds(client.getServerCapabilities()?.tools, "the server has no tools");
    },
    "ping": async () => same(await client.ping(), {}),
    "tools-list": async () => {
      const { tools } = await client.listTools();
      same(tools.map(({ name }) => name).sort(), TOOLS.map(({ name }) => name).sort());
      for (const { name, inputSchema } of TOOLS) {
        const found = tools.find((tool) => tool.name === name).inputSchema;
        same([found.type, Object.keys(found.properties ?? {}).sort()], ["object", Object.keys(inputSchema.properties).sort()]);
      }
    },
    "tools-call": async () => {
      const answer = await tool("count_words", { text: "a lamp  ünd\nanother" });
      same([answer.content[0], answer.isError ?? false], [{ type: "text", text: "4" }, false]);
      same((await tool("divide", { a: 17, b: 5 })).content[0].text, "3 remainder 2");
    },
    // What goes wrong within a tool is a result that the model reads; what goes wrong with the call is an error.
    "error-of-a-tool": async () => {
      const answer = await tool("divide", { a: 1, b: 0 });
      same([answer.isError, answer.content[0].text], [true, "divide by zero"]);
    },
    "unknown-tool": async () => {
      const error = await fails(tool("nothing", {}), INVALID_PARAMS);
      holds(error.message.includes("Unknown tool"), error.message);
    },
    "unknown-method": () => fails(client.request({ method: "nowhere/list" }, types.EmptyResultSchema), METHOD_NOT_FOUND),
    "calls-back": async () => same((await tool("list_roots", {})).content[0].text, ROOTS.map(({ uri }) => uri).join("\n")),
    "concurrent": async () => {
      const numbers = Array.from({ length: 50 }, (_, i) => i);
      const answers = await Promise.all(numbers.map((i) => tool("count_words", { text: "x ".repeat(i) })));
      same(answers.map(({ content }) => Number(content[0].text)), numbers);
    },
    "unknown-notification": async () => {
      await client.notification({ method: "notifications/nobody_knows" });
      await client.ping();
    },
    "close": () => client.close(),
    "latest-version": () => negotiates(command, args, types.LATEST_PROTOCOL_VERSION, types.LATEST_PROTOCOL_VERSION),
    "older-version": () => negotiates(command, args, "2024-11-05", "2024-11-05"),
    "unknown-version": () => negotiates(command, args, "1999-01-01", types.LATEST_PROTOCOL_VERSION),
  });
}

/** Without the SDK, which always asks for its latest version: the answer to this one, and the end with standard input */
async function negotiates(command, args, asked, wanted) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((done) => child.on("exit", (code) => done(code)));
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const params = { protocolVersion: asked, capabilities: {}, clientInfo: { name: "raw", version: "1" } };
  child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: "first", method: "initialize", params })}\n`);
  const { id, result } = JSON.parse((await lines.next()).value);
  child.stdin.end();
  same([id, result?.protocolVersion], ["first", wanted]);
  same(await ended, 0);
}

const [role, ...rest] = process.argv.slice(2);
if (role === "serve" && rest.length === 0) serve();
else if (role === "call" && rest.length >= 1) call(rest[0], rest.slice(1));
else usage("usage: mcp.mjs serve\n       mcp.mjs call COMMAND [ARGUMENT...]");
