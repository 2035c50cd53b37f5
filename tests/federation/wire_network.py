"""A member in a network of its own, where every packet is captured; the test's side is in `test_egress_on_the_wire`.

    python wire_network.py '{"socket": ..., "port": ..., "directory": ..., "federation": ..., "epoch": ...,
                             "leak": "", "capture": "packets"}'

A fresh network namespace has a loopback interface, a default route into it, and this program: a forwarder from
127.0.0.1 to the message server (through a Unix socket, which reaches out of the namespace), a packet socket on every
interface, and the member as a process. So each packet that the member sends, wherever to, is in the capture. When the
standard input ends the member is stopped and a JSON report is printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

MEMBER = Path(__file__).with_name("wire_member.py")
OUTGOING = 4  # PACKET_OUTGOING: the sender's copy of a packet
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER
_UP, _ADD_ROUTE = 0x8914, 0x890B  # SIOCSIFFLAGS, SIOCADDRT


class _Route(ctypes.Structure):
    _fields_ = (
        ("pad1", ctypes.c_ulong), ("destination", ctypes.c_ubyte * 16), ("gateway", ctypes.c_ubyte * 16),
        ("mask", ctypes.c_ubyte * 16), ("flags", ctypes.c_ushort), ("pad2", ctypes.c_short),
        ("pad3", ctypes.c_ulong), ("pad4", ctypes.c_void_p), ("metric", ctypes.c_short),
        ("device", ctypes.c_char_p), ("mtu", ctypes.c_ulong), ("window", ctypes.c_ulong), ("rtt", ctypes.c_ushort),
    )  # fmt: skip


def own_network() -> None:
    """Move this process into a network namespace of its own; OSError where that is not permitted."""
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(_NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER):
        raise OSError(ctypes.get_errno(), "a network namespace is not permitted")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _UP, struct.pack("16sh22x", b"lo", 0x1 | 0x40))
        any_address = (ctypes.c_ubyte * 16)(*struct.pack("=H14x", socket.AF_INET))
        route = _Route(destination=any_address, mask=any_address, flags=0x1, device=b"lo")
        if system.ioctl(control.fileno(), _ADD_ROUTE, ctypes.byref(route)):
            raise OSError(ctypes.get_errno(), "the default route cannot be set")


class Capture:
    """Packets by (protocol, destination, port): how many, and bytes of payload."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0003))
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
        self._socket.settimeout(0.2)
        self.packets: Counter[tuple[str, str, int]] = Counter()
        self.payload: Counter[tuple[str, str, int]] = Counter()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                data, address = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                if self._is_over:
                    return
                continue
            if address[2] == OUTGOING:
                key, size = parsed(address[1], data[14:] if address[3] == 772 else data)
                self.packets[key] += 1
                self.payload[key] += size

    def end(self) -> dict[str, object]:
        """Stop and return what was seen, and how many packets the kernel had no room for."""
        self._is_over = True
        self._thread.join()
        dropped = struct.unpack("II", self._socket.getsockopt(263, 6, 8))[1]  # SOL_PACKET, PACKET_STATISTICS
        rows = [[*key, count, self.payload[key]] for key, count in sorted(self.packets.items())]
        return {"flows": rows, "dropped": dropped}


def parsed(kind: int, data: bytes) -> tuple[tuple[str, str, int], int]:
    """Return (protocol, destination, port) of a packet, and the bytes of its payload."""
    if kind != 0x0800:
        return (f"ethernet {kind:#06x}", "", 0), len(data)
    head = 4 * (data[0] & 15)
    size, protocol = int.from_bytes(data[2:4], "big"), data[9]
    size = size or len(data)
    destination = socket.inet_ntoa(data[16:20])
    port = int.from_bytes(data[head + 2 : head + 4], "big")
    if protocol == socket.IPPROTO_TCP:
        return ("tcp", destination, port), size - head - 4 * (data[head + 12] >> 4)
    if protocol == socket.IPPROTO_UDP:
        return ("udp", destination, port), size - head - 8
    return (f"ip {protocol}", destination, 0), size - head


class Forwarder:
    """Hands what comes to 127.0.0.1 on to a Unix socket, and back; counts what the member sent."""

    def __init__(self, port: int, path: str) -> None:
        self.bytes = 0
        self._path = path
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._path)
            threading.Thread(target=self._pump, args=(near, far), kwargs={"is_counted": True}, daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near), kwargs={"is_counted": False}, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, *, is_counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_counted:
                    self.bytes += len(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def main() -> None:
    """Run the network, or with `--member` what is in it."""
    if sys.argv[1] == "--probe":
        own_network()
        Capture().end()
        return
    options = json.loads(sys.argv[1])
    is_captured = options["capture"] == "packets"
    if is_captured:
        own_network()
    capture = Capture() if is_captured else None
    forwarder = Forwarder(int(options["port"]), options["socket"])
    child = subprocess.Popen(
        [sys.executable, str(MEMBER), sys.argv[1]], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    sys.stdin.read()
    child.terminate()
    said, _ = child.communicate(timeout=30)
    report = json.loads(said) | {"forwarded": forwarder.bytes}
    report |= capture.end() if capture else {"flows": None, "dropped": 0}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
