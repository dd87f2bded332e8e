"""What is in a firmware file: sections and symbols, by the tools of binutils or LLVM"""

import re
import shutil
import subprocess


def tool(name):
    """`nm`, say: LLVM's by any version, else binutils'."""
    versions = (f"llvm-{name}-{version}" for version in range(30, 14, -1))
    for candidate in (*versions, f"llvm-{name}", name):
        if shutil.which(candidate):
            return candidate
    raise SystemExit(f"neither llvm-{name} nor {name} is installed (package binutils or llvm)")


def sections(path):
    """Bytes of each section"""
    text = subprocess.run([tool("size"), "-A", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines() if re.match(r"\.\w", line)}


def symbols(path):
    """(address, size, kind, name) of each symbol"""
    command = [tool("nm"), "--print-size", "--demangle", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for line in text.splitlines():
        match = re.match(r"([0-9a-f]{8})(?: ([0-9a-f]{8}))? (\w) (.*)", line)
        if match:
            address, size, kind, name = match.groups()
            found.append((int(address, 16), int(size or "0", 16), kind, re.sub(r"::h[0-9a-f]{16}$", "", name)))
    return found


def flash(path):
    """Bytes of flash, without the table of interrupt handlers: text and constants, text, constants"""
    size = sections(path)
    text = size.get(".text", 0)
    constants = size.get(".rodata", 0) + size.get(".data", 0)
    return text + constants, text, constants


def statics(path):
    """Bytes of RAM that are taken from the start"""
    size = sections(path)
    return size.get(".bss", 0) + size.get(".data", 0) + size.get(".uninit", 0)


# Whatever can end a program that is not expected to end; panic-halt's own handler is linked only where one of these is.
PANICS = re.compile(
    r"core::panicking|panic_fmt|panic_bounds_check|panic_nounwind|slice_index_fail|slice_(start|end)_index|"
    r"len_mismatch_fail|unwrap_failed|expect_failed|rust_begin_unwind|core::str::slice_error|div_by_zero"
)
HEAP = re.compile(r"__rust_alloc|__rust_realloc|__rg_alloc|__rdl_alloc|alloc::alloc|handle_alloc_error")


def forbidden(path):
    """Names of what must not be linked"""
    return sorted({name for _, _, _, name in symbols(path) if PANICS.search(name) or HEAP.search(name)})
