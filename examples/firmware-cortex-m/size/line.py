"""The other end of the line, in a few words: FlyRPC's packets, plain or in frames"""

import socket
import struct
import time
import zlib

REQUEST, RESPONSE, MESSAGE = 0x40, 0x80, 0x00


def packet(flag, sequence, code, payload=b""):
    wide = len(payload) > 255
    length = struct.pack(">H" if wide else ">B", len(payload))
    return bytes([flag | wide]) + struct.pack(">H", sequence) + code + b"\0" + length + payload


def cobs(data):
    out, run = bytearray(), bytearray()
    for byte in data:
        if byte:
            run.append(byte)
        if not byte or len(run) == 254:
            out += bytes([len(run) + 1]) + run
            run = bytearray()
    return bytes(out + bytes([len(run) + 1]) + run)


def uncobs(data):
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        out += data[at + 1 : at + code]
        at += code
        if code < 0xFF and at < len(data):
            out.append(0)
    return bytes(out)


class Line:
    """A line whose far end is a board; `framed` as the firmware speaks"""

    def __init__(self, stream, framed):
        self.stream, self.framed = stream, framed
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.board, self.session = b"", 0, 0x5EED

    def send(self, *parts):
        if self.framed:
            plain = struct.pack(">HH", self.session, self.board) + packet(*parts)
            plain += struct.pack(">I", zlib.crc32(plain))
            self.stream.sendall(b"\0" + cobs(plain) + b"\0")
        else:
            self.stream.sendall(packet(*parts))

    def receive(self, within=5.0):
        """(flag, sequence, code, payload) of the next packet, or None when none comes in time"""
        end = time.monotonic() + within
        while True:
            found = self.take_frame() if self.framed else self.take()
            if found:
                return found
            self.stream.settimeout(max(0.001, end - time.monotonic()))
            try:
                some = self.stream.recv(4096)
            except TimeoutError:
                return None
            if not some:
                raise SystemExit("the emulator has closed the line")
            self.data += some

    def take_frame(self):
        while b"\0" in self.data:
            frame, self.data = self.data.split(b"\0", 1)
            plain = uncobs(frame)
            if len(plain) < 8 or zlib.crc32(plain[:-4]) != struct.unpack(">I", plain[-4:])[0]:
                continue
            self.board, to = struct.unpack(">HH", plain[:4])
            if len(plain) > 8 and to in (0, self.session):
                return parse(plain[4:-4])[0]
        return None

    def take(self):
        found = parse(self.data)
        if found:
            self.data = self.data[found[1] :]
            return found[0]
        return None


def parse(data):
    end = data.find(b"\0", 3)
    if end < 0 or len(data) < end + 2 or len(data) < end + 2 + data[end + 1]:
        return None
    # No answer here is longer than a length of one byte says.
    after = end + 2 + data[end + 1]
    return (data[0], int.from_bytes(data[1:3], "big"), data[3:end], data[end + 2 : after]), after
