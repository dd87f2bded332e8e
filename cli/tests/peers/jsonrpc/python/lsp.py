"""A peer on python-lsp-jsonrpc, the endpoint of the Python language server: Content-Length framing.

    python lsp.py serve tcp|stdio
    python lsp.py call tcp HOST:PORT
    python lsp.py call stdio COMMAND [ARGUMENT...]
"""

import functools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent import futures

from pylsp_jsonrpc.endpoint import Endpoint
from pylsp_jsonrpc.exceptions import JsonRpcException, JsonRpcInvalidParams
from pylsp_jsonrpc.streams import JsonRpcStreamReader, JsonRpcStreamWriter

CHECK_TIME = 20  # s
WORKERS = 32

OWN_ERROR = (7, "NO_SUCH_LAMP")
DIVIDE_BY_ZERO = (-32001, "divide by zero")
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVICE_NOT_FOUND = -32002
REQUEST_CANCELLED = -32800

# The package writes a traceback for each error that a handler raises; those here are wanted.
logging.disable(logging.CRITICAL)


def connect(methods, reading, writing):
    """An endpoint with these methods, the thread that feeds it, and the ids of its requests so far"""
    writer = JsonRpcStreamWriter(writing)
    ids = []

    def new_id():
        ids.append(str(uuid.uuid4()))
        return ids[-1]

    endpoint = Endpoint(methods, writer.write, id_generator=new_id, max_workers=WORKERS)
    reader = JsonRpcStreamReader(reading)
    thread = threading.Thread(target=reader.listen, args=(endpoint.consume,), daemon=True)
    return endpoint, thread, ids


def connect_socket(methods, connection):
    return connect(methods, connection.makefile("rb"), connection.makefile("wb"))


# ---- server ----


def server_methods():
    """Methods that answer later return a callable: the package runs it on a thread of its pool"""
    notes = []
    methods = {}

    def fail(params):
        raise JsonRpcException(message=OWN_ERROR[1], code=OWN_ERROR[0], data=params)

    def upper(params):
        if not isinstance(params, list) or not isinstance(params[0], str):
            raise JsonRpcInvalidParams()
        return params[0].upper()

    def sleep(params):
        def later():
            time.sleep(params[0] / 1000)
            return f"slept {params[0]} ms"

        return later

    def greet(_params):
        return lambda: "hello, " + methods["endpoint"].request("name").result(CHECK_TIME)

    def divide(params):
        argument = argument_of(params)
        if argument["B"] == 0:
            raise JsonRpcException(message=DIVIDE_BY_ZERO[1], code=DIVIDE_BY_ZERO[0])
        quotient, remainder = divmod(argument["A"], argument["B"])
        return {"Quo": quotient, "Rem": remainder}

    def multiply(params):
        argument = argument_of(params)
        return argument["A"] * argument["B"]

    methods.update({
        "echo": lambda params: params,
        "upper": upper,
        "sleep": sleep,
        "fail": fail,
        "note": notes.append,
        "count": lambda _params: len(notes),
        "greet": greet,
        "big": lambda params: "x" * params[0],
        "Arith.Multiply": multiply,
        "Arith.Divide": divide,
    })
    return methods


def argument_of(params):
    return params[0] if isinstance(params, list) else params


def serve(connect_with):
    methods = server_methods()
    endpoint, thread, _ = connect_with(methods)
    methods["endpoint"] = endpoint
    thread.start()
    return thread


def serve_tcp():
    listener = socket.create_server(("127.0.0.1", 0))
    print("LISTEN", listener.getsockname()[1], flush=True)

    def accept():
        while True:
            connection, _ = listener.accept()
            serve(functools.partial(connect_socket, connection=connection))

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def serve_stdio():
    serve(lambda methods: connect(methods, sys.stdin.buffer, sys.stdout.buffer)).join()


# ---- client ----


class Failed(Exception):
    pass


def same(got, wanted):
    if got != wanted:
        raise Failed(f"{str(got)[:200]} instead of {str(wanted)[:200]}")


class Client:
    """The checks, each a method; their order is that of the file"""

    def __init__(self, endpoint, ids):
        self.endpoint = endpoint
        self.ids = ids

    def request(self, method, params=None):
        return self.endpoint.request(method, params).result(CHECK_TIME)

    def fails(self, method, params, code, message=None):
        try:
            result = self.request(method, params)
        except JsonRpcException as error:
            same(error.code, code)
            if message is not None:
                same(error.message, message)
            return
        raise Failed(f"the result {result} instead of an error")

    def becomes(self, wanted):
        """Nobody answers a notification, so its effect may come later"""
        for _ in range(100):
            if self.request("count", []) == wanted:
                return
            time.sleep(0.01)
        same(self.request("count", []), wanted)

    def check_echo_positional(self):
        same(self.request("echo", ["a", 1, None, [True]]), ["a", 1, None, [True]])

    def check_echo_named(self):
        params = {"text": 'ä\u2028"\\', "deep": {"a": []}}
        same(self.request("echo", params), params)

    def check_upper(self):
        same(self.request("upper", ["dämmerung"]), "DÄMMERUNG")

    def check_arith(self):
        same(self.request("Arith.Multiply", {"A": 7, "B": -8}), -56)
        same(self.request("Arith.Divide", [{"A": 17, "B": 5}]), {"Quo": 3, "Rem": 2})

    def check_divide_by_zero(self):
        self.fails("Arith.Divide", {"A": 1, "B": 0}, *DIVIDE_BY_ZERO)

    def check_own_error(self):
        self.fails("fail", ["9 of 8"], *OWN_ERROR)

    def check_method_not_found(self):
        self.fails("nowhere", [], METHOD_NOT_FOUND)

    def check_service_not_found(self):
        self.fails("Nobody.Home", [], SERVICE_NOT_FOUND)

    def check_invalid_params(self):
        self.fails("upper", [5], INVALID_PARAMS)

    def check_notifications(self):
        before = self.request("count", [])
        for number in range(10):
            self.endpoint.notify("note", [f"dusk {number}"])
        self.becomes(before + 10)

    def check_concurrent(self):
        waiting = [self.endpoint.request("echo", [number]) for number in range(200)]
        same([answer.result(CHECK_TIME) for answer in waiting], [[number] for number in range(200)])

    def check_out_of_order(self):
        slow = self.endpoint.request("sleep", [300])
        self.request("echo", [1])
        same(slow.done(), False)
        slow.result(CHECK_TIME)

    def check_greet(self):
        same(self.request("greet"), "hello, python-lsp-jsonrpc")

    def check_big(self):
        same(len(self.request("big", [1 << 20])), 1 << 20)

    def check_big_params(self):
        same(self.request("echo", ["ü" * (1 << 19)]), ["ü" * (1 << 19)])

    def check_cancel(self):
        """By hand: the package's own way, Future.cancel(), kills its reader when the server answers"""
        sleeping = self.endpoint.request("sleep", [15_000])
        self.request("echo", [1])
        self.endpoint.notify("$/cancelRequest", {"id": self.ids[-2]})
        try:
            sleeping.result(5)
        except JsonRpcException as error:
            same(error.code, REQUEST_CANCELLED)
        else:
            raise Failed("slept to the end")
        same(self.request("echo", ["after"]), ["after"])

    def run(self):
        checks = [(name[len("check_"):].replace("_", "-"), check) for name, check in vars(Client).items()
                  if name.startswith("check_")]
        failed = 0
        for name, check in checks:
            try:
                check(self)
                print(f"ok {name}", flush=True)
            except (Failed, JsonRpcException, futures.TimeoutError) as error:
                failed += 1
                print(f"FAIL {name}: {error!r}", flush=True)
        print(f"done {len(checks) - failed} ok {failed} failed", flush=True)
        # Threads of the pool and the reader may still wait; nothing is owed to them.
        os._exit(1 if failed else 0)


CLIENT_METHODS = {"name": lambda _params: "python-lsp-jsonrpc"}


def call(connected):
    endpoint, thread, ids = connected
    thread.start()
    Client(endpoint, ids).run()


def call_tcp(address):
    host, port = address.rsplit(":", 1)
    call(connect_socket(CLIENT_METHODS, socket.create_connection((host, int(port)))))


def call_stdio(command):
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    call(connect(CLIENT_METHODS, child.stdout, child.stdin))


def main(role=None, kind=None, *rest):
    if (role, kind, len(rest)) == ("serve", "tcp", 0):
        serve_tcp()
    elif (role, kind, len(rest)) == ("serve", "stdio", 0):
        serve_stdio()
    elif (role, kind, len(rest)) == ("call", "tcp", 1):
        call_tcp(rest[0])
    elif (role, kind) == ("call", "stdio") and rest:
        call_stdio(list(rest))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
