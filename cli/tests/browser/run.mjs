// Opens examples/browser in headless Chromium, and uses it as a person would.
//
//   node run.mjs CHROMIUM
//
// It and the test tell each other, line by line, what happens: `PAGE origin` here, `BRIDGE url` there, `CUT` and `RESTORE`
// here for the board's power, `done` there. What it finds is a line `ok NAME` or `FAIL NAME: why` for each check, and at
// last `done N ok M failed`.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const CHECK_TIME = 20_000; // ms
const [browser] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const site = path.join(here, "../../../examples/browser");
const packages = process.env.FLYRPC_PEERS ?? path.join(here, "../../../target/peers");
const { chromium } = createRequire(path.join(packages, "browser/package.json"))("playwright-core");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => process.stdout.write(`${line}\n`);

/** Tells the test, and waits for what it says to that */
async function tell(line) {
  say(line);
  const { value, done } = await lines.next();
  if (done) throw new Error("the test is over");
  return value;
}

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript" };

/** The page, on a port of its own */
async function serve() {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const file = path.join(site, pathname === "/" ? "index.html" : path.basename(pathname));
    try {
      const content = await readFile(file);
      response.writeHead(200, { "content-type": TYPES[path.extname(file)] ?? "text/plain" }).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

let passed = 0;
let failed = 0;

async function check(name, body) {
  try {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("not in time")), CHECK_TIME);
    });
    await Promise.race([body(), late]).finally(() => clearTimeout(timer));
    passed += 1;
    say(`ok ${name}`);
  } catch (error) {
    failed += 1;
    say(`FAIL ${name}: ${String(error.message).split("\n").slice(0, 3).join(" | ")}`);
  }
}

function same(got, wanted) {
  if (got !== wanted) throw new Error(`${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
}

const profile = await mkdtemp(path.join(os.tmpdir(), "flyrpc-browser-"));
const [home, stranger] = [await serve(), await serve()];
const bridge = (await tell(`PAGE ${home.origin}`)).replace("BRIDGE ", "");
const context = await chromium.launchPersistentContext(profile, {
  executablePath: browser,
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
context.setDefaultTimeout(CHECK_TIME);

const complaints = [];
let sockets = 0; // of all pages so far
async function open(origin) {
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("websocket", () => { sockets += 1; });
  await page.goto(`${origin}/?bridge=${encodeURIComponent(bridge)}`);
  return page;
}

const page = await open(home.origin);
/** Waits until the element shows what is wanted: a text, or a pattern */
async function shows(id, wanted) {
  const is = typeof wanted === "string" ? (text) => text === wanted : (text) => wanted.test(text);
  const end = Date.now() + CHECK_TIME / 2;
  let text;
  do {
    text = await page.locator(`#${id}`).innerText();
    if (is(text)) return text;
    await page.waitForTimeout(20);
  } while (Date.now() < end);
  throw new Error(`#${id} shows ${JSON.stringify(text)} instead of ${wanted}`);
}

/** Empties what is shown, clicks, and waits for what is shown then */
async function click(button, id, wanted) {
  await page.locator(`#${id}`).evaluate((shown) => { shown.textContent = ""; });
  await page.click(`#${button}`);
  return shows(id, wanted);
}

async function anything(method, params, wanted) {
  await page.fill("#method", method);
  await page.fill("#params", params);
  return click("call", "result", wanted);
}

const lampIs = async (state) => {
  const isOn = await page.locator("#lamp").evaluate((lamp) => lamp.classList.contains("on"));
  same(isOn, state);
};

await check("connected", () => shows("state", "connected"));
await check("led", async () => {
  await click("on", "led", /^(1|true|"on")$/);
  await lampIs(true);
  await click("off", "led", /^(0|false|"off")$/);
  await lampIs(false);
});
await check("adc", async () => {
  await page.selectOption("#channel", "1");
  const value = Number(await click("read", "adc", /^\d+$/));
  if (!(value >= 0 && value < 4096)) throw new Error(`${value} is no reading`);
});
await check("echo", async () => {
  for (const text of ["hello", 'größe "quoted" \\ 漢字', "{not json}"]) {
    await page.fill("#text", text);
    await click("say", "echo", JSON.stringify(text));
  }
});
await check("time", async () => {
  const before = Date.now();
  const time = Number(await click("ask", "time", /^\d{13}$/));
  if (time < before - 1000 || time > Date.now() + 1000) throw new Error(`${time} instead of ${before}`);
});
await check("button", async () => {
  await page.click("#press");
  await page.click("#press");
  await shows("events", /button \d+\s+(\d+\. )?button \d+/);
  const [last, before] = await page.locator("#events li").allInnerTexts();
  same(Number(last.split(" ")[1]), Number(before.split(" ")[1]) + 1);
});
await check("unknown", () => anything("nowhere", "[]", /^-32601 Method not found/));
await check("many", async () => {
  const answers = await page.evaluate(() =>
    Promise.all(Array.from({ length: 64 }, (_, number) => board.call("echo", number))));
  answers.forEach((answer, number) => same(answer, number));
});
await check("error", () => anything("led", "[7]", /^-32602 Invalid params: "/));
await check("page-is-called", () =>
  anything("ask", '["5000 page.title"]', '"A microcontroller, called from a page"'));
await check("restart", async () => {
  same(await tell("CUT"), "done");
  const start = Date.now();
  await click("on", "led", /NOT_CONNECTED/);
  if (Date.now() - start > 5000) throw new Error("the page waited for a board that is not there");
  await shows("state", "connected");
  same(await tell("RESTORE"), "done");
  await click("on", "led", /^(1|true|"on")$/);
  same(sockets, 1); // the page's own, all the time
});
await check("stranger", async () => {
  const other = await open(stranger.origin);
  await other.waitForFunction(() => document.getElementById("echo") !== null);
  await other.click("#say");
  await other.waitForFunction(() => document.getElementById("echo").value === "the bridge is not connected");
  same(await other.locator("#state").innerText(), "not connected");
  await other.close();
});
await check("no-complaints", () => same(complaints.join("; "), ""));

await context.close();
home.server.close();
stranger.server.close();
await rm(profile, { recursive: true, force: true });
say(`done ${passed} ok ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
