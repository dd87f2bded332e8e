"""Runs the size programs, checks what they answer, prints the table; see size.sh"""

import os
import struct
import sys

import elf
import sources
from board import Board
from line import MESSAGE, REQUEST, RESPONSE

# Program, what it is, whether in frames, whether it calls, bytes of both buffers, most bytes of flash and of RAM
ROWS = [
    ("size-server", "server, 2 endpoints", False, False, "64 + 64", 4096, 600),
    ("size-server-256", "the same, larger buffers", False, False, "256 + 256", 4096, None),
    ("size-server-framed", "the same, COBS and CRC-32", True, False, "80 + 80", 4096, 600),
    ("size-peer", "full peer, 4 calls and a ping in flight", False, True, "64 + 64", 7168, 1536),
    ("size-peer-256", "the same, larger buffers", False, True, "256 + 256", 7168, None),
    ("size-peer-framed", "the same, COBS and CRC-32", True, True, "80 + 128", None, 1536),
]

# Measured once, with 256-byte buffers, in the same way; see benches/NOTES.md
OTHERS = [
    ("postcard-rpc 0.12.1: server, 2 endpoints", 12904, 11560, 808, 764),
    ("coap-lite 0.13.3: requests and responses (heap)", 10848, 9252, 2336, 688),
    ("embedded-websocket 0.9.5: messages", 12708, 11220, 780, 2104),
    ("minimq 0.13.5: MQTT 5 client", 20416, 18648, 528, 3856),
    ("rust-mqtt 0.6.0: MQTT 5 client", 34936, 34276, 516, 2880),
]


def expect(what, found, wanted):
    if found != wanted:
        raise SystemExit(f"{what}: {found!r} instead of {wanted!r}")


def wait_for_start(line):
    """What is sent before the board has started is lost"""
    for _ in range(50):
        line.send(REQUEST, 999, b"$ping")
        if line.receive(0.2):
            return
    raise SystemExit("the board does not answer")


def serve(line):
    """100 requests, and what is not asked for every day"""
    for number in range(1, 101):
        if number % 2:
            a, b = 4_000_000_000 + number, 3_000_000_000
            line.send(REQUEST, number, b"sum", struct.pack("<II", a, b))
            answer = struct.pack("<Q", a + b)
        else:
            answer = bytes((number + i) % 256 for i in range(number % 20))
            line.send(REQUEST, number, b"echo", answer)
        expect(f"request {number}", line.receive(), (RESPONSE, number, b"", answer))
    line.send(REQUEST, 201, b"sum", b"short")
    expect("a bad payload", line.receive(), (RESPONSE, 201, b"BAD_PAYLOAD", b""))
    line.send(REQUEST, 202, b"nothing")
    expect("an unknown name", line.receive(), (RESPONSE, 202, b"NOT_FOUND", b""))
    line.send(REQUEST, 203, b"$ping", b"ping")
    expect("a ping", line.receive(), (RESPONSE, 203, b"", b"ping"))
    for length in range(20, 300):
        line.send(REQUEST, 300 + length, b"echo", bytes([length % 256]) * length)
        answer = line.receive()
        if answer == (RESPONSE, 300 + length, b"TOO_LARGE", b""):
            break
        expect(f"{length} bytes", answer, (RESPONSE, 300 + length, b"", bytes([length % 256]) * length))
    line.send(RESPONSE, 9, b"", b"stray")
    line.send(MESSAGE, 0, b"note", b"x")
    line.send(REQUEST, 207, b"echo", b"end")
    expect("the last request", line.receive(), (RESPONSE, 207, b"", b"end"))


def be_called(line):
    """Its own four calls and its ping, answered in another order, then not at all, then too late"""
    for answered, wanted in ((True, b"11111"), (False, b"TTTTT"), (True, b"11111")):
        line.send(MESSAGE, 0, b"go")
        calls = [next_but_cancel(line) for _ in range(5)]
        if answered:
            for flag, sequence, code, payload in reversed(calls):
                expect("its call", (flag, code in (b"host", b"$ping")), (REQUEST, True))
                line.send(RESPONSE, sequence, b"", payload)
        expect("what became of its calls", next_but_cancel(line), (MESSAGE, 0, b"done", wanted))
        if not answered:
            for _, sequence, _, payload in calls:
                line.send(RESPONSE, sequence, b"", payload)


def next_but_cancel(line):
    """The next packet; that the board gave calls up is no news after a time-out"""
    while True:
        found = line.receive()
        if not found or found[2] != b"$cancel":
            return found


def write(file, mark, table):
    """Puts the table between two marks in a file of the repository"""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", file)
    with open(path, encoding="utf-8") as opened:
        text = opened.read()
    before, rest = text.split(f"<!-- {mark} -->")
    _, after = rest.split(f"<!-- /{mark} -->")
    with open(path, "w", encoding="utf-8") as opened:
        opened.write(f"{before}<!-- {mark} -->\n" + "\n".join(table) + f"\n<!-- /{mark} -->{after}")


def parts(here):
    """Where the bytes of code go, as a table"""
    programs = ("size-server", "size-server-framed", "size-peer", "size-peer-framed")
    found = {}
    for program in programs:
        for size, part in sources.by_part(os.path.join(here, program)):
            found.setdefault(part, {})[program] = size
    table = ["| part | server | server, framed | peer | peer, framed |", "|---|---:|---:|---:|---:|"]
    for part, sizes in sorted(found.items(), key=lambda item: -item[1].get(programs[-1], 0)):
        table.append(f"| {part} | " + " | ".join(str(sizes.get(program, "")) for program in programs) + " |")
    return table


def main():
    output, *options = sys.argv[1:]
    here = os.path.join(output, "thumbv7m-none-eabi", "release")
    rebuilt = os.path.join(output, "core-rebuilt", "thumbv7m-none-eabi", "release")
    if "--functions" in options:
        path = os.path.join(here, options[options.index("--functions") + 1])
        for _, size, kind, name in sorted(elf.symbols(path), key=lambda symbol: -symbol[1])[:60]:
            print(f"{size:6} {kind} {name[:130]}")
        return
    if "--sources" in options:
        for size, file, name in sources.by_function(os.path.join(here, options[options.index("--sources") + 1]))[:60]:
            print(f"{size:6} {file:40} {name}")
        return
    if "--parts" in options:
        print("\n".join(parts(here)))
        return
    table, wrong = [], []

    def row(*cells):
        table.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        print(table[-1], flush=True)

    row("firmware", "buffers", "flash", "core rebuilt", "static RAM", "stack peak", "RAM in all")
    row("---", "---", *["---:"] * 5)
    for name, what, framed, calls, buffers, most_flash, most_ram in ROWS:
        path = os.path.join(here, name)
        if not os.path.exists(path):
            continue
        with Board(path, framed) as board:
            wait_for_start(board.line)
            serve(board.line)
            if calls:
                be_called(board.line)
            stack = board.stack_peak()
        flash, static = elf.flash(path)[0], elf.statics(path)
        smaller = elf.flash(os.path.join(rebuilt, name))[0] if "--quick" not in options else "-"
        row(what, buffers, flash, smaller, static, stack, static + stack)
        if most_flash and flash >= most_flash:
            wrong.append(f"{name}: {flash} bytes of flash, to stay below {most_flash}")
        if most_ram and static + stack >= most_ram:
            wrong.append(f"{name}: {static + stack} bytes of RAM, to stay below {most_ram}")
        wrong += [f"{name}: linked {symbol}" for symbol in elf.forbidden(path)]
    for what, flash, smaller, static, stack in OTHERS:
        row(what, "256", flash, smaller, static, stack, static + stack)
    if "--readme" in options:
        write("README.md", "size", table)
        write("benches/NOTES.md", "parts", parts(here))
    for line in wrong:
        print(line, file=sys.stderr)
    if "--check" in options and wrong:
        raise SystemExit(f"{len(wrong)} limits passed")


if __name__ == "__main__":
    main()
