// JSON-RPC 2.0 over a WebSocket that is opened again whenever it is lost: all that a page needs to call what is behind
// `flyrpc bridge`. No library, and a classic script, so that the page also works as a file.

class JsonRpc {
  #url;
  #socket = null;
  #lastId = 0;
  #waiting = new Map();
  #handlers = new Map();
  #pause = FIRST_PAUSE;

  /** Called with true when it is connected, with false when that is lost */
  onstate = () => {};

  constructor(url) {
    this.#url = url;
    this.#open();
  }

  /** Resolves with the result; rejects with an Error that has `code` and `data`, where the peer answered with one */
  call(method, ...params) {
    return this.request(method, params);
  }

  /** The same with parameters as an array, or as an object with their names */
  request(method, params) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      if (!this.#send({ id, method, params })) {
        reject(new Error("the bridge is not connected"));
        return;
      }
      this.#waiting.set(id, { resolve, reject });
    });
  }

  /** Sends without waiting for an answer; false when it can't */
  notify(method, ...params) {
    return this.#send({ method, params });
  }

  /** What calls and notifications of this name do: the parameters are its arguments, what it gives is the answer */
  handle(method, handler) {
    this.#handlers.set(method, handler);
  }

  #send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
    return true;
  }

  #open() {
    this.#socket = new WebSocket(this.#url);
    this.#socket.onmessage = (event) => this.#take(JSON.parse(event.data));
    this.#socket.onopen = () => {
      this.#pause = FIRST_PAUSE;
      this.onstate(true);
    };
    this.#socket.onclose = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the bridge is gone"));
      this.#waiting.clear();
      this.onstate(false);
      setTimeout(() => this.#open(), this.#pause);
      this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    };
  }

  #take(message) {
    if (message.method !== undefined) {
      this.#answer(message);
      return;
    }
    const call = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) {
      const { code, message: text, data } = message.error;
      call?.reject(Object.assign(new Error(text), { code, data }));
    } else {
      call?.resolve(message.result);
    }
  }

  async #answer({ id, method, params = [] }) {
    const handler = this.#handlers.get(method);
    let answer;
    try {
      if (handler) {
        answer = { result: (await handler(...(Array.isArray(params) ? params : [params]))) ?? null };
      } else {
        answer = { error: { code: -32601, message: "Method not found" } };
      }
    } catch (error) {
      answer = { error: { code: -32603, message: error.message } };
    }
    if (id !== undefined) this.#send({ id, ...answer });
  }
}

const FIRST_PAUSE = 100; // ms
const LONGEST_PAUSE = 5000;
