"""Bytes of code by the function of the source they come from, whatever it was inlined into

Of each instruction's chain of inlined calls the innermost function counts that is no part of Rust's own library.
Needs llvm-objdump and llvm-symbolizer (package llvm).
"""

import collections
import json
import re
import subprocess

import elf


def lengths(path):
    """Address and length of each instruction"""
    command = [elf.tool("objdump"), "--disassemble", "--no-show-raw-insn", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    starts = [int(match[1], 16) for match in re.finditer(r"^ *([0-9a-f]+):", text, re.MULTILINE)]
    return {start: min(behind - start, 4) for start, behind in zip(starts, starts[1:] + [starts[-1] + 2])}


def by_function(path):
    """(bytes, file, function), the largest first"""
    code = lengths(path)
    asked = "".join(f"{address:#x}\n" for address in code)
    command = [elf.tool("symbolizer"), f"--obj={path}", "--output-style=JSON"]
    answers = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout
    found = collections.Counter()
    for length, answer in zip(code.values(), answers.splitlines()):
        frames = json.loads(answer).get("Symbol") or [{}]
        ours = (frame for frame in frames if not re.search(r"/library/|/rustc/|^$", frame.get("FileName", "")))
        frame = next(ours, frames[0])
        name = re.sub(r"::h[0-9a-f]{16}$|<[^<>].*", "", frame.get("FunctionName", "?")).split("::")[-1]
        found["/".join(frame.get("FileName", "").split("/")[-2:]), name] += length
    return [(size, file, name) for (file, name), size in found.most_common()]


# Beginnings of file names, the first that fits
PARTS = [
    ("connection/rest", "quarantine of given-up calls"),
    ("connection/", "connection: slots, deadlines, replies, life"),
    ("fly/", "FlyRPC: decode, encode, UTF-8, refusals"),
    ("serial/", "frames: COBS, CRC-32"),
    *((f"src/{file}.rs", "frames: COBS, CRC-32") for file in ("dec", "enc")),
    *((f"src/{file}.rs", "buffers, time, limits of the core") for file in ("recv", "time", "limits", "sink", "dialect")),
    *((f"src/{file}.rs", "flyrpc-embedded") for file in ("node", "peer", "port", "io", "server", "link", "framed")),
    *((folder, "the application") for folder in ("size/", "bin/")),
    *((folder, "serial port and clock") for folder in ("board/", "peripheral/", "register/")),
    ("vec/", "heapless"),
]


def by_part(path):
    """(bytes, part), the largest first"""
    found = collections.Counter()
    for size, file, _ in by_function(path):
        rest = "start-up, and what the compiler brings (memclr, bcmp)"
        found[next((part for start, part in PARTS if file.startswith(start)), rest)] += size
    return [(size, part) for part, size in found.most_common()]
