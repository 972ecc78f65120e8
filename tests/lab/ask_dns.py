"""Ask the name server at 127.0.0.53 for names, and print each with the response code and what was answered.

The first argument is how: "udp", "tcp", or "slowly", which is TCP with an octet a segment.
"""

import socket
import struct
import sys


def name_at(octets, offset):
    labels = []
    while length := octets[offset]:
        labels.append(octets[offset + 1 : offset + 1 + length].decode())
        offset += 1 + length
    return ".".join(labels), offset + 1


how, *names = sys.argv[1:]


def exchange(door, query):
    if how == "udp":
        door.send(query)
        return door.recv(4096)
    framed = struct.pack("!H", len(query)) + query
    for octet in framed if how == "slowly" else ():
        door.send(bytes([octet]))
    if how == "tcp":
        door.sendall(framed)
    with door.makefile("rb") as file:
        return file.read(int.from_bytes(file.read(2), "big"))


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if how == "udp" else socket.SOCK_STREAM) as door:
    door.settimeout(10)
    door.connect(("127.0.0.53", 53))
    if how != "udp":
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number, name in enumerate(names):
        kind = 12 if name.endswith(".arpa") else 1
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        query = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)
        answer = exchange(door, query)
        identifier, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", answer)
        assert identifier == number
        _, offset = name_at(answer, 12)
        offset += 4
        said = []
        for _ in range(count):
            pointer, record, _, _, length = struct.unpack_from("!HHHIH", answer, offset)
            assert pointer == 0xC00C
            data = answer[offset + 12 : offset + 12 + length]
            said.append(socket.inet_ntoa(data) if record == 1 else name_at(data, 0)[0])
            offset += 12 + length
        sys.stdout.write(" ".join([name, str(flags & 15), *said]) + "\n")
