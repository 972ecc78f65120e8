"""Ask the name server at 127.0.0.53 for names, and print each with the response code and what was answered."""

import socket
import struct
import sys


def name_at(octets, offset):
    labels = []
    while length := octets[offset]:
        labels.append(octets[offset + 1 : offset + 1 + length].decode())
        offset += 1 + length
    return ".".join(labels), offset + 1


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
    door.settimeout(10)
    door.connect(("127.0.0.53", 53))
    for number, name in enumerate(sys.argv[1:]):
        kind = 12 if name.endswith(".arpa") else 1
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        door.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1))
        answer = door.recv(4096)
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
