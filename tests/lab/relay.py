"""A slow cable: frames between two interfaces, each way after a delay. For kernels without netem.

`python relay.py A B DELAY_S JITTER_S` in the namespace of both interfaces. Ends when standard input
ends. Senders must not leave checksums to hardware (`no_offload`). Imports nothing of ours.
"""

import ctypes
import fcntl
import heapq
import itertools
import random
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress

ETH_P_ALL = 3
SIOCETHTOOL = 0x8946
OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)
"""ETHTOOL_STXCSUM, STSO, SGSO, SGRO."""
OUTGOING = 4
QUEUE_FRAMES = 10_000
"""More frames than this on the way are lost, as on a real cable; bounds our memory to 15 MB."""


def no_offload(interface: str) -> None:
    """Make the kernel finish every packet itself before it hands it to `interface`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value)) + bytes(16)
            fcntl.ioctl(control, SIOCETHTOOL, request)


def relay(names: tuple[str, str], delay_s: float, jitter_s: float) -> None:
    """Carry frames until standard input ends."""
    ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) for _ in names]
    for end, name in zip(ends, names, strict=True):
        end.bind((name, ETH_P_ALL))
        end.setblocking(False)
    onward = {ends[0].fileno(): ends[1], ends[1].fileno(): ends[0]}
    queue: list[tuple[float, int, socket.socket, bytes]] = []
    numbers = itertools.count()
    last: dict[socket.socket, float] = dict.fromkeys(ends, 0.0)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    for end in ends:
        selector.register(end, selectors.EVENT_READ)
    while True:
        pause = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        for key, _ in selector.select(pause):
            if key.fd == 0:
                return
            assert isinstance(key.fileobj, socket.socket)
            try:
                frame, source = key.fileobj.recvfrom(65535)
            except OSError:  # the link is down
                continue
            if source[2] == OUTGOING or len(queue) >= QUEUE_FRAMES:
                continue
            target = onward[key.fd]
            # Never out of order: TCP would take that for loss.
            due = max(last[target], time.monotonic() + delay_s + random.random() * jitter_s)
            last[target] = due
            heapq.heappush(queue, (due, next(numbers), target, frame))
        while queue and queue[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(queue)
            with suppress(OSError):
                target.send(frame)


if __name__ == "__main__":
    print("ready", flush=True)
    relay((sys.argv[1], sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
