// A second implementation of FlyRPC, written from docs/protocol.md with Node's own modules alone, to test
// flyrpc against.
//
//   node peer.mjs serve [PORT]
//   node peer.mjs client HOST:PORT [--skip CHECK,CHECK...]

import net from "node:net";
import zlib from "node:zlib";
import { setImmediate as turn } from "node:timers/promises";

const RESPONSE = 0x80;
const REQUEST = 0x40;
const ZIP_CODE = 0x08;
const ZIP_PAYLOAD = 0x04;
const WIDTH = 0x03;

const MAX_CODE = 1024; // bytes, as sent and inflated; more as sent is fatal
const MAX_PAYLOAD = 16 << 20; // bytes, as sent and inflated; more is refused
const MAX_BODY = 0xffff_ffff;
const ZIP_FROM = 256; // bytes: shorter payloads are not worth compressing
const CALL_TIME = 10_000; // ms: deadline of a call, and the time for answers owed at the end
const QUARANTINE = 60_000; // ms
const MAX_UNANSWERED = 1024;
const MAX_IN_FLIGHT = 60_000;
const MAX_UNSENT = 4 << 20; // bytes of answers that the peer does not take, before reading pauses
const MAX_QUEUED = 256; // messages that wait for those before them, before reading pauses

const EMPTY = Buffer.alloc(0);

// ---- packets: sections 1, 5 and 6 ----

/** The narrowest width for a length, as the flag's two low bits say it (F2) */
function widthOf(length) {
  if (length <= 0xff) return 0;
  if (length <= 0xffff) return 1;
  return length <= 0xffff_ffff ? 2 : 3;
}

/** A packet's bytes; the code is text or, for bytes that are none, a Buffer */
function encode(flag, seq, code, payload = EMPTY, width = widthOf(payload.length)) {
  const name = Buffer.from(code);
  const head = Buffer.alloc(3 + name.length + 1 + (1 << width));
  head[0] = flag | width;
  head.writeUInt16BE(seq, 1);
  name.copy(head, 3);
  const at = 3 + name.length + 1;
  if (width === 3) head.writeBigUInt64BE(BigInt(payload.length), at);
  else head.writeUIntBE(payload.length, at, 1 << width);
  return Buffer.concat([head, payload]);
}

/** Cuts a stream into packets, however it arrives */
class Splitter {
  kept = EMPTY; // the beginning of a head
  packet = null; // whose payload is being read
  missing = 0;
  pieces = [];

  /** Whether the stream may end here */
  get between() {
    return this.kept.length === 0 && this.packet === null;
  }

  /** The packets that this chunk completes. What it throws is fatal to the connection. */
  *feed(chunk) {
    let rest = this.kept.length > 0 ? Buffer.concat([this.kept, chunk]) : chunk;
    this.kept = EMPTY;
    for (;;) {
      if (this.packet === null) {
        if (rest.length === 0) return;
        const taken = this.head(rest);
        if (taken === 0) {
          this.kept = rest;
          return;
        }
        rest = rest.subarray(taken);
      }
      const piece = rest.subarray(0, this.missing);
      rest = rest.subarray(piece.length);
      this.missing -= piece.length;
      // A payload that is too long is passed over; others are kept as they come, nothing is reserved (F10).
      if (this.packet.trouble === "" && piece.length > 0) this.pieces.push(piece);
      if (this.missing > 0) return;
      const { packet } = this;
      if (packet.trouble === "") unpack(packet, Buffer.concat(this.pieces));
      this.packet = null;
      this.pieces = [];
      yield packet;
    }
  }

  /** Reads a head and gives its length, or 0 while a part of it is missing */
  head(bytes) {
    if (bytes.length < 4) return 0;
    const end = bytes.subarray(3, 3 + MAX_CODE + 1).indexOf(0);
    if (end < 0) {
      if (bytes.length > 3 + MAX_CODE) throw new Error("the code is too long");
      return 0;
    }
    const flag = bytes[0];
    const at = 3 + end + 1;
    const width = 1 << (flag & WIDTH);
    if (bytes.length < at + width) return 0;
    const length = width === 8 ? Number(bytes.readBigUInt64BE(at)) : bytes.readUIntBE(at, width);
    if (length > MAX_BODY) throw new Error(`a payload of ${length} bytes is announced`);
    const trouble = length > MAX_PAYLOAD ? "TOO_LARGE" : "";
    const code = Buffer.from(bytes.subarray(3, 3 + end));
    this.packet = { flag, seq: bytes.readUInt16BE(1), code, payload: EMPTY, trouble };
    this.missing = length;
    return at + width;
  }
}

const isResponse = (packet) => (packet.flag & RESPONSE) !== 0;

/** Puts the application's code and payload into the packet, or into `trouble` the error that a request gets */
function unpack(packet, payload) {
  try {
    if (packet.flag & ZIP_CODE) {
      packet.code = inflate(uncobs(packet.code), MAX_CODE);
      if (packet.code.includes(0)) throw new Trouble("BAD_CODE");
    }
    packet.code = isResponse(packet) ? packet.code.toString() : text(packet.code, "BAD_CODE");
    packet.payload = packet.flag & ZIP_PAYLOAD ? inflate(payload, MAX_PAYLOAD) : payload;
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    packet.trouble = error.code;
  }
}

/** An error with a code, that the peer sent or that it is to get */
class Trouble extends Error {
  constructor(code, details = EMPTY) {
    super(code);
    this.code = code;
    this.details = details;
  }
}

function text(bytes, otherwise) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Trouble(otherwise);
  }
}

/** The whole of one raw DEFLATE stream with nothing behind it (F33) */
function inflate(bytes, limit) {
  let result;
  try {
    result = zlib.inflateRawSync(bytes, { maxOutputLength: limit, info: true });
  } catch (error) {
    throw new Trouble(error.code === "ERR_BUFFER_TOO_LARGE" ? "TOO_LARGE" : "BAD_ZIP");
  }
  if (result.engine.bytesWritten !== bytes.length) throw new Trouble("BAD_ZIP");
  return result.buffer;
}

/** Consistent overhead byte stuffing without the closing zero (F32) */
function cobs(bytes) {
  const out = [0];
  let mark = 0;
  bytes.forEach((byte, index) => {
    if (byte !== 0) out.push(byte);
    const full = out.length - mark === 255;
    if (byte === 0 || (full && index + 1 < bytes.length)) {
      out[mark] = out.length - mark;
      mark = out.push(0) - 1;
    }
  });
  out[mark] = out.length - mark;
  return Buffer.from(out);
}

function uncobs(bytes) {
  const out = [];
  for (let at = 0; at < bytes.length; ) {
    const run = bytes[at];
    const next = at + run;
    if (run === 0 || next > bytes.length) throw new Trouble("BAD_ZIP");
    out.push(...bytes.subarray(at + 1, next));
    if (run < 255 && next < bytes.length) out.push(0);
    at = next;
  }
  return Buffer.from(out);
}

// ---- one connection, both ends alike: calls out, requests in ----

const CAPABILITIES = Buffer.from(`version=1\nzip=1\ncancel=1\nmax-payload=${MAX_PAYLOAD}\n`);

function parseCapabilities(list) {
  const said = {};
  for (const line of list.toString().split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) said[line.slice(0, at)] = line.slice(at + 1);
  }
  return {
    version: said.version ?? "0",
    zip: said.zip === "1",
    cancel: said.cancel === "1",
    maxPayload: /^\d+$/.test(said["max-payload"] ?? "") ? Number(said["max-payload"]) : Infinity,
  };
}

class Connection {
  last = 0;
  pending = new Map(); // sequence -> call in flight
  resting = new Map(); // sequence -> call given up, until its late response or the time in its `rest`
  running = new Map(); // the peer's sequence -> AbortController
  unanswered = 0;
  ended = null; // why there are no more calls
  peer = parseCapabilities(EMPTY);
  zip = false; // compress what is sent: switched on by hand, or because the peer did
  splitter = new Splitter();
  messages = Promise.resolve(); // done when the messages so far are handled
  queued = 0;
  lastNote = 0;
  misplacedNotes = 0;
  idle = () => {};

  constructor(socket, handlers) {
    this.socket = socket;
    this.handlers = handlers;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.read(chunk));
    socket.on("drain", () => this.pace());
    socket.on("end", () => this.end());
    socket.on("error", (error) => this.lose(error.message));
    socket.on("close", () => this.lose("closed"));
  }

  close() {
    this.socket.destroy();
  }

  /** Calls, and waits for the answer's payload */
  async call(code, payload = EMPTY) {
    return (await this.start(code, payload).wait()).payload;
  }

  /** Writes a request and does not wait */
  start(code, payload = EMPTY) {
    if (code.includes("\0")) throw new Error("a code can't hold a zero byte");
    if (this.ended !== null) throw new Error(this.ended);
    if (payload.length > this.peer.maxPayload) throw new Error("the peer does not take a payload of this length");
    const call = new Call(this, this.sequence());
    this.pending.set(call.seq, call);
    this.send(REQUEST, call.seq, code, payload);
    return call;
  }

  message(code, payload = EMPTY) {
    this.send(0, 0, code, payload);
  }

  /** Tells the peer what this program can do, and learns what the peer can */
  async hello() {
    this.peer = parseCapabilities(await this.call("$hello", CAPABILITIES));
    return this.peer;
  }

  /** The next sequence neither in flight nor at rest: 1 to 65535, round and round */
  sequence() {
    if (this.pending.size < MAX_IN_FLIGHT) {
      for (let tries = 0; tries < 65535; tries++) {
        this.last = this.last === 65535 ? 1 : this.last + 1;
        const rest = this.resting.get(this.last)?.rest ?? 0;
        if (this.pending.has(this.last) || rest > performance.now()) continue;
        this.resting.delete(this.last);
        return this.last;
      }
    }
    throw new Error("no sequence is free");
  }

  send(flag, seq, code, payload) {
    if (this.zip && payload.length >= ZIP_FROM && !code.startsWith("$")) {
      const zipped = zlib.deflateRawSync(payload);
      if (zipped.length < payload.length) {
        flag |= ZIP_PAYLOAD;
        payload = zipped;
      }
    }
    if (!this.socket.destroyed) this.socket.write(encode(flag, seq, code, payload));
  }

  /** Reads on or not: a peer that takes no answers, or sends messages faster than they are handled, has to wait */
  pace() {
    if (this.queued > MAX_QUEUED || this.socket.writableLength > MAX_UNSENT) this.socket.pause();
    else if (this.socket.isPaused()) this.socket.resume();
  }

  read(chunk) {
    try {
      for (const packet of this.splitter.feed(chunk)) this.take(packet);
    } catch (error) {
      this.lose(error.message);
    }
  }

  take(packet) {
    if (packet.flag & (ZIP_CODE | ZIP_PAYLOAD) && packet.trouble === "") this.zip = true;
    if (isResponse(packet)) {
      // One that belongs to no call is dropped (F21).
      const call = this.pending.get(packet.seq) ?? this.resting.get(packet.seq);
      this.pending.delete(packet.seq);
      this.resting.delete(packet.seq);
      call?.settle(packet);
    } else if (packet.flag & REQUEST) {
      this.serve(packet);
    } else if (packet.trouble === "" && packet.code === "$cancel") {
      if (packet.payload.length === 2) this.running.get(packet.payload.readUInt16BE(0))?.abort();
    } else if (packet.trouble === "") {
      // Messages are handled one after the other, and never answered.
      this.queued++;
      const { signal } = new AbortController();
      this.messages = this.messages
        .then(() => this.handle(packet, signal))
        .catch(() => {})
        .then(() => {
          this.queued--;
          this.pace();
        });
      this.pace();
    }
  }

  async serve(packet) {
    if (this.running.size >= MAX_UNANSWERED) packet.trouble ||= "BUSY";
    // In the table before the next packet is read: it may be the $cancel.
    const work = new AbortController();
    if (packet.trouble === "") this.running.set(packet.seq, work);
    this.unanswered++;
    let code = "";
    let payload;
    try {
      payload = (await this.handle(packet, work.signal)) ?? EMPTY;
      if (payload.length > this.peer.maxPayload) throw new Trouble("TOO_LARGE");
    } catch (error) {
      const told = error instanceof Trouble ? error : new Trouble("HANDLER_PANIC");
      code = told.code === "" || told.code.includes("\0") ? "ERROR" : told.code;
      payload = told.details;
    }
    if (this.running.get(packet.seq) === work) this.running.delete(packet.seq);
    this.send(RESPONSE, packet.seq, code, payload);
    this.pace();
    if (--this.unanswered === 0) this.idle();
  }

  handle({ code, payload, trouble }, signal) {
    if (trouble !== "") throw new Trouble(trouble);
    if (code === "$ping") return payload;
    if (code === "$hello") {
      this.peer = parseCapabilities(payload);
      return CAPABILITIES;
    }
    const handler = this.handlers.get(code);
    if (handler === undefined) throw new Trouble("NOT_FOUND");
    return handler(payload, this, signal);
  }

  /** The peer sends no more: own calls fail at once, answers owed are still sent, then the connection closes */
  async end() {
    if (!this.splitter.between) return this.lose("it was cut off inside a packet");
    this.fail("the connection has ended");
    if (this.unanswered > 0) {
      let timer;
      await new Promise((resolve) => {
        this.idle = resolve;
        timer = setTimeout(resolve, CALL_TIME);
      });
      clearTimeout(timer);
    }
    this.socket.end();
  }

  lose(why) {
    this.fail(`the connection was lost: ${why}`);
    for (const work of this.running.values()) work.abort();
    this.socket.destroy();
  }

  fail(why) {
    this.ended ??= why;
    for (const call of [...this.pending.values(), ...this.resting.values()]) call.settle(null);
    this.pending.clear();
    this.resting.clear();
  }
}

/** A call in flight, given up, or over */
class Call {
  rest = 0; // until when its sequence rests, once given up

  constructor(connection, seq) {
    this.connection = connection;
    this.seq = seq;
    /** Its response, also a late one; null when none can come */
    this.reply = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  async wait() {
    const answer = await within(CALL_TIME, this.reply, () => this.cancel());
    if (answer === null) throw new Error(this.connection.ended);
    if (answer.trouble !== "") throw new Error(`the answer can't be used: ${answer.trouble}`);
    if (answer.code !== "") throw new Trouble(answer.code, answer.payload);
    return answer;
  }

  /** Gives the call up: its sequence rests, and a peer that knows $cancel is told */
  cancel() {
    const { connection, seq } = this;
    if (connection.pending.get(seq) !== this) return;
    connection.pending.delete(seq);
    this.rest = performance.now() + QUARANTINE;
    connection.resting.set(seq, this);
    if (connection.peer.cancel) connection.message("$cancel", Buffer.from([seq >> 8, seq & 0xff]));
  }
}

/** What the promise gives, or an error after so many milliseconds */
async function within(time, promise, late = () => {}) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => {
      late();
      reject(new Error(`nothing came in ${time} ms`));
    }, time);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

// ---- the server role ----

let notes = 0; // received so far, on all connections

const HANDLERS = new Map(
  Object.entries({
    echo: (payload) => payload,
    upper: (payload) => Buffer.from(text(payload, "BAD_PAYLOAD").toUpperCase()),
    sleep: (payload, _, signal) => {
      const time = number(payload, 86_400_000);
      return new Promise((resolve, reject) => {
        const stop = () => {
          clearTimeout(timer);
          reject(new Trouble("CANCELLED"));
        };
        const timer = setTimeout(() => {
          signal.removeEventListener("abort", stop);
          resolve(Buffer.from(`slept ${time} ms`));
        }, time);
        signal.addEventListener("abort", stop, { once: true });
      });
    },
    fail: (payload) => {
      throw new Trouble("NO_SUCH_LAMP", payload);
    },
    // Asks its caller for a name while the caller waits for the answer.
    greet: async (_, connection) => Buffer.concat([Buffer.from("hello, "), await connection.call("name")]),
    note: (payload, connection) => {
      if (/^\d+$/.test(payload.toString())) {
        const n = Number(payload);
        if (n !== connection.lastNote + 1) connection.misplacedNotes++;
        connection.lastNote = n;
      }
      notes++;
    },
    // How many notes came. Asked for "order" it adds how many numbered notes of this connection were out of order.
    count: (payload, connection) =>
      Buffer.from(payload.toString() === "order" ? `${notes} ${connection.misplacedNotes}` : `${notes}`),
    big: (payload) => {
      const length = number(payload, 2 ** 40);
      if (length > MAX_PAYLOAD) throw new Trouble("TOO_LARGE");
      return Buffer.alloc(length, "abcdefghijklmnopqrstuvwxyz");
    },
  }),
);

function number(payload, max) {
  const digits = payload.toString().trim();
  if (!/^\d+$/.test(digits) || Number(digits) > max) {
    throw new Trouble("BAD_PAYLOAD", Buffer.from("the payload is a number, as text"));
  }
  return Number(digits);
}

function serve(port) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => new Connection(socket, HANDLERS));
  server.listen(port, "127.0.0.1", () => console.log(`LISTEN ${server.address().port}`));
  // The end of standard input ends the program, so that it can't outlive who started it.
  for (const event of ["end", "error", "close"]) process.stdin.on(event, () => process.exit(0));
  process.stdin.resume();
}

// ---- the client role: checks against a server, one line of output for each ----

const CHECK_TIME = 20_000; // ms
const SOON = 5_000; // ms

const CHECKS = new Map();
for (const length of [0, 1, 255, 256, 65535, 65536, 1 << 20]) {
  CHECKS.set(`echo-${length}`, connected((c) => echoes(c, length)));
}

CHECKS.set("wide-lengths", raw(async (r) => {
  for (const width of [0, 1, 2, 3]) {
    r.write(encode(REQUEST, width + 1, "echo", Buffer.from("abc"), width));
    await r.expect({ [width + 1]: ["", "abc"] });
  }
}));

// Reserved bits, sequence 0, responses for nobody with both bits set, a message with a sequence.
CHECKS.set("foreign-bits", raw(async (r) => {
  r.write(
    encode(0xc0, 7, "", Buffer.from("nobody asked")),
    encode(0xf0, 8, "NOT_FOUND"),
    encode(0x30, 9, "echo", Buffer.from("a message")),
    encode(0x70, 0, "echo", Buffer.from("zero")),
  );
  await r.expect({ 0: ["", "zero"] });
}));

CHECKS.set("upper", connected(async (c) => same(await c.call("upper", Buffer.from("dämmerung")), "DÄMMERUNG")));

CHECKS.set("concurrent-1000", connected(async (c) => {
  const texts = Array.from({ length: 1000 }, (_, i) => `${i}:${"x".repeat(i % 300)}`);
  const calls = texts.map((text) => c.start("echo", Buffer.from(text)));
  for (const [i, call] of calls.entries()) same((await call.wait()).payload, texts[i]);
}));

CHECKS.set("greet", connected(async (c) => same(await c.call("greet"), "hello, Node")));
CHECKS.set("error-code", connected((c) => expectError(c, "fail", "NO_SUCH_LAMP")));
CHECKS.set("not-found", connected((c) => expectError(c, "nowhere", "NOT_FOUND")));

CHECKS.set("bad-code", raw(async (r) => {
  r.write(
    encode(REQUEST, 1, Buffer.from([0xff])),
    encode(0, 0, Buffer.from([0xff])),
    encode(REQUEST, 2, "$ping", Buffer.from("on")),
  );
  await r.expect({ 1: ["BAD_CODE", ""], 2: ["", "on"] });
}));

CHECKS.set("implicit-ack", connected(async (c) => same(await c.call("note", Buffer.from("dusk")), "")));
CHECKS.set("messages-counted", connected((c) => notesUntilCounted(c, 100, "")));
CHECKS.set("messages-in-order", connected(async (c) => {
  const [, misplaced] = await notesUntilCounted(c, 500, "order");
  if (misplaced === undefined) throw new Error("the server's count does not tell the order");
  if (misplaced !== 0) throw new Error(`${misplaced} notes were out of order`);
}));

CHECKS.set("messages-unanswered", raw(async (r) => {
  r.write(
    encode(0, 0, "echo", Buffer.from("hi")),
    encode(0, 0, "nowhere"),
    encode(0, 5, "fail"),
    encode(REQUEST, 1, "echo", Buffer.from("last")),
  );
  r.socket.end();
  await r.expect({ 1: ["", "last"] });
  await r.expectEnd();
}));

CHECKS.set("big", connected(async (c) => {
  const { length } = await c.call("big", Buffer.from("300000"));
  if (length !== 300_000) throw new Error(`${length} bytes came`);
}));

for (const length of [0, 8, 64]) {
  CHECKS.set(`ping-${length}`, connected(async (c) => same(await c.call("$ping", pattern(length)), pattern(length))));
}

CHECKS.set("hello", connected(hello));

CHECKS.set("cancel", connected(async (c) => {
  await hello(c);
  const call = c.start("sleep", Buffer.from("60000"));
  call.cancel();
  const late = await within(SOON, call.reply);
  if (late?.code !== "CANCELLED") throw new Error(`the cancelled request was answered ${show(late)}`);
  await echoes(c, 20);
}));

CHECKS.set("zip-payload", connected(async (c) => {
  await hello(c);
  c.zip = true;
  const easy = Buffer.alloc(30_000, "hello ");
  let answer = await c.start("echo", easy).wait();
  same(answer.payload, easy);
  if (!(answer.flag & ZIP_PAYLOAD)) throw new Error("the answer was not compressed");
  // A multiplicative generator's high bytes: nothing that DEFLATE could shorten.
  let state = 1;
  const hard = Buffer.from(Array.from({ length: 5000 }, () => (state = (state * 48271) % 0x7fffffff) >> 16));
  answer = await c.start("echo", hard).wait();
  same(answer.payload, hard);
  if (answer.flag & ZIP_PAYLOAD) throw new Error("the answer was compressed and got longer");
}));

CHECKS.set("zip-code", raw(async (r) => {
  const zipped = (code) => cobs(zlib.deflateRawSync(Buffer.from(code)));
  r.write(
    encode(REQUEST | ZIP_CODE, 1, zipped("echo"), Buffer.from("hi")),
    encode(REQUEST | ZIP_CODE, 2, zipped("lamp/".repeat(60))),
  );
  await r.expect({ 1: ["", "hi"], 2: ["NOT_FOUND", ""] });
}));

CHECKS.set("bad-zip", raw(async (r) => {
  const flag = REQUEST | ZIP_PAYLOAD;
  const zipped = zlib.deflateRawSync(Buffer.from("hello hello hello"));
  r.write(
    encode(flag, 1, "echo", Buffer.from([0xff])),
    encode(flag, 2, "echo", Buffer.concat([zipped, Buffer.from("x")])),
    encode(flag, 3, "echo", zipped.subarray(0, -2)),
    encode(flag, 4, "echo", zipped),
  );
  const bad = ["BAD_ZIP", ""];
  await r.expect({ 1: bad, 2: bad, 3: bad, 4: ["", "hello hello hello"] });
}));

// 70,000 echoes, 200 at a time: the sequences come round once.
CHECKS.set("sequence-wrap", connected(async (c) => {
  const [total, window] = [70_000, 200];
  const calls = [];
  const bytes = (i) => {
    const out = Buffer.alloc(4);
    out.writeUInt32BE(i);
    return out;
  };
  for (let i = 0; i < total + window; i++) {
    if (i >= window) same((await calls[i % window].wait()).payload, bytes(i - window));
    if (i < total) calls[i % window] = c.start("echo", bytes(i));
  }
  const { seq } = calls[(total - 1) % window];
  if (seq !== total - 65535) throw new Error(`the last sequence was ${seq}`);
}));

CHECKS.set("byte-by-byte", raw(async (r) => {
  for (const byte of encode(REQUEST, 1, "echo", pattern(300))) {
    // Each on its own: one is written when the one before has left.
    await new Promise((resolve) => r.socket.write(Buffer.from([byte]), resolve));
    await turn();
  }
  await r.expect({ 1: ["", pattern(300)] });
}));

CHECKS.set("many-in-one-write", raw(async (r) => {
  const wanted = {};
  for (let seq = 1; seq <= 500; seq++) wanted[seq] = ["", `packet ${seq}`];
  r.write(...Object.entries(wanted).map(([seq, [, text]]) => encode(REQUEST, Number(seq), "echo", Buffer.from(text))));
  await r.expect(wanted);
}));

CHECKS.set("half-close", raw(async (r) => {
  r.write(encode(REQUEST, 1, "sleep", Buffer.from("100")));
  r.socket.end();
  const answer = await r.read();
  if (answer === null) throw new Error("the answer owed did not come");
  if ((answer.flag & ~WIDTH) !== RESPONSE || answer.seq !== 1 || answer.code !== "") throw new Error(`got ${show(answer)}`);
  await r.expectEnd();
}));

CHECKS.set("abrupt-close", async (address) => {
  const whole = encode(REQUEST, 1, "echo", pattern(300));
  for (const part of [1, 3, 6, 9, 100]) {
    for (const end of ["destroy", "resetAndDestroy"]) {
      const socket = await dial(address);
      socket.on("error", () => {});
      await new Promise((resolve) => socket.write(whole.subarray(0, part), resolve));
      socket[end]();
    }
  }
  await connected((c) => echoes(c, 300))(address);
});

/** A check with a connection of its own */
function connected(run) {
  return async (address) => {
    const c = new Connection(await dial(address), new Map([["name", () => Buffer.from("Node")]]));
    try {
      await run(c);
    } finally {
      c.close();
    }
  };
}

/** A check that writes the bytes of its connection itself */
function raw(run) {
  return async (address) => {
    const r = new Raw(await dial(address));
    try {
      await run(r);
    } finally {
      r.socket.destroy();
    }
  };
}

async function dial(address) {
  const [, host, port] = /^(.*):(\d+)$/.exec(address);
  const socket = net.connect({ host, port: Number(port), noDelay: true, allowHalfOpen: true });
  try {
    await within(SOON, new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject)));
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

class Raw {
  splitter = new Splitter();
  read_ahead = []; // packets, then null for the end of the stream or an Error
  wake = () => {};

  constructor(socket) {
    this.socket = socket;
    const add = (item) => {
      this.read_ahead.push(item);
      this.wake();
    };
    socket.on("data", (chunk) => {
      try {
        for (const packet of this.splitter.feed(chunk)) add(packet);
      } catch (error) {
        add(error);
      }
    });
    socket.on("end", () => add(this.splitter.between ? null : new Error("the stream was cut off inside a packet")));
    socket.on("error", add);
  }

  write(...packets) {
    this.socket.write(Buffer.concat(packets));
  }

  /** The next packet, or null at the end of the stream */
  async read() {
    if (this.read_ahead.length === 0) {
      await within(CHECK_TIME / 2, new Promise((resolve) => {
        this.wake = resolve;
      }));
    }
    const item = this.read_ahead.shift();
    if (item instanceof Error) throw item;
    return item;
  }

  /** Reads one response for each sequence, in any order: { sequence: [code, payload] } */
  async expect(wanted) {
    const open = new Map(Object.entries(wanted));
    while (open.size > 0) {
      const packet = await this.read();
      if (packet === null) throw new Error(`the stream ended with ${open.size} answers missing`);
      const want = open.get(String(packet.seq));
      if (!isResponse(packet) || want === undefined || packet.code !== want[0]) {
        throw new Error(`wanted ${JSON.stringify(want)}, got ${show(packet)}`);
      }
      same(packet.payload, want[1]);
      open.delete(String(packet.seq));
    }
  }

  async expectEnd() {
    const packet = await this.read();
    if (packet !== null) throw new Error(`wanted the end of the stream, got ${show(packet)}`);
  }
}

function pattern(length) {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8)));
}

const show = (packet) =>
  packet && `flag 0x${packet.flag.toString(16)}, sequence ${packet.seq}, code "${packet.code}", ${packet.payload.length} bytes`;

function same(got, wanted) {
  const bytes = Buffer.from(wanted);
  if (!bytes.equals(got)) {
    const begin = (part) => JSON.stringify(part.subarray(0, 40).toString("latin1"));
    throw new Error(`${got.length} bytes ${begin(got)} came, not the ${bytes.length} bytes ${begin(bytes)}`);
  }
}

async function expectError(c, method, code) {
  const error = await c.call(method).then(() => "an answer", (error) => error);
  if (!(error instanceof Trouble) || error.code !== code) throw new Error(`wanted the error ${code}, got ${error}`);
}

async function echoes(c, length) {
  const answer = await c.start("echo", pattern(length)).wait();
  if ((answer.flag & WIDTH) !== widthOf(length)) throw new Error(`not the narrowest width: ${show(answer)}`);
  same(answer.payload, pattern(length));
}

async function hello(c) {
  const can = await c.hello();
  if (can.version !== "1" || !can.zip || !can.cancel || can.maxPayload === Infinity) {
    throw new Error(`the server says only ${JSON.stringify(can)}`);
  }
}

async function noted(c, payload) {
  const answer = (await c.call("count", Buffer.from(payload))).toString();
  if (!/^\d+( \d+)?$/.test(answer)) throw new Error(`count answered ${JSON.stringify(answer.slice(0, 40))}`);
  return answer.split(" ").map(Number);
}

/** Sends numbered notes and asks until all are counted: a count may overtake the messages before it (F15) */
async function notesUntilCounted(c, n, payload) {
  const [before] = await noted(c, payload);
  for (let i = 1; i <= n; i++) c.message("note", Buffer.from(String(i)));
  const end = performance.now() + SOON;
  for (;;) {
    const now = await noted(c, payload);
    if (now[0] === before + n) return now;
    if (now[0] > before + n || performance.now() > end) {
      throw new Error(`${now[0] - before} notes were counted, not ${n}`);
    }
  }
}

/** Runs all checks but those to skip, and gives the exit code */
async function client(address, skip) {
  const skipped = new Set(skip);
  let ok = 0;
  let failed = 0;
  for (const [name, check] of CHECKS) {
    if (skipped.delete(name)) {
      console.log(`skip ${name}`);
      continue;
    }
    try {
      await within(CHECK_TIME, check(address));
      ok++;
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name}: ${error.message}`);
    }
  }
  for (const name of skipped) {
    failed++;
    console.log(`FAIL ${name}: there is no such check to skip`);
  }
  console.log(`done ${ok} ok ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

const [role, where, option, list, ...more] = process.argv.slice(2);
if (role === "serve" && option === undefined) {
  serve(Number(where ?? 0));
} else if (role === "client" && /:\d+$/.test(where) && (option === undefined || (option === "--skip" && list !== undefined)) && more.length === 0) {
  const code = await client(where, (list ?? "").split(",").filter(Boolean));
  process.stdout.write("", () => process.exit(code));
} else {
  console.error("usage: node peer.mjs serve [PORT]\n       node peer.mjs client HOST:PORT [--skip CHECK,CHECK...]");
  process.exitCode = 2;
}
