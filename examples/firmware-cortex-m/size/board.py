"""The board in QEMU, and what its memory holds afterwards"""

import json
import os
import socket
import subprocess
import tempfile

import elf
from line import Line

RAM, RAM_SIZE = 0x2000_0000, 0x1_0000
PAINT = b"\xcc\xcc\xcc\xcc"


class Board:
    """A running firmware; its first serial port is `line`"""

    def __init__(self, path, framed):
        self.path = path
        self.folder = tempfile.TemporaryDirectory()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(20)
        qmp = os.path.join(self.folder.name, "qmp")
        self.process = subprocess.Popen(
            ["qemu-system-arm", "-M", "lm3s6965evb", "-kernel", path, "-display", "none", "-monitor", "none"]
            + ["-nodefaults", "-qmp", f"unix:{qmp},server=on,wait=off"]
            + ["-serial", f"tcp:127.0.0.1:{listener.getsockname()[1]},nodelay=on"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.line = Line(listener.accept()[0], framed)
        listener.close()
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(20)
        self.control.connect(qmp)
        self.answers = self.control.makefile()
        self.answers.readline()
        self.ask("qmp_capabilities")

    def ask(self, what, **arguments):
        self.control.sendall(json.dumps({"execute": what, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.answers.readline())
            if "error" in answer:
                raise SystemExit(f"the emulator refused {what}: {answer}")
            if "return" in answer:
                return

    def stack_peak(self):
        """Bytes of stack that were ever used"""
        places = {name: address for address, _, _, name in elf.symbols(self.path)}
        start, end = places["_stack_start"], places["_stack_end"]
        dump = os.path.join(self.folder.name, "ram")
        self.ask("pmemsave", val=RAM, size=RAM_SIZE, filename=dump)
        with open(dump, "rb") as file:
            memory = file.read()[end - RAM : start - RAM]
        at = 0
        while memory[at : at + 4] == PAINT:
            at += 4
        return len(memory) - at

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()
