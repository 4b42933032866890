"""One side of OpenMined's PSI; runs in a venv of its own, which has ``openmined-psi``.

``python openmined_party.py ROLE PORT INPUT.csv OUTPUT.csv`` with the role ``client``, who learns
which of its ids match, or ``server``, who learns nothing. Waits for a line on standard input once
everything is imported, and prints one line of JSON when it is done.
"""

import csv
import importlib.metadata
import json
import socket
import sys
import time

import private_set_intersection.python as psi

FALSE_POSITIVES = 1e-12


def main(role: str, port: str, source: str, target: str) -> None:
    """Match the first columns."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    start = time.perf_counter()
    with open(source, newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        rows = list(reader)
    ids = [row[0] for row in rows]
    matched = client(int(port), ids) if role == "client" else server(int(port), ids)
    if role == "client":
        with open(target, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows[number] for number in matched)
    line = {"seconds": time.perf_counter() - start, "matched": len(matched)}
    line["version"] = importlib.metadata.version("openmined-psi")
    sys.stdout.write(json.dumps(line) + "\n")


def client(port: int, ids: list[str]) -> list[int]:
    """Learn which of the ids the server has."""
    role = psi.client.CreateWithNewKey(True)
    request = role.CreateRequest(ids).SerializeToString()
    link = socket.create_connection(("127.0.0.1", port))
    send(link, request)
    setup, response = psi.ServerSetup(), psi.Response()
    setup.ParseFromString(receive(link))
    response.ParseFromString(receive(link))
    return role.GetIntersection(setup, response)


def server(port: int, ids: list[str]) -> list[int]:
    """Answer the client."""
    listener = socket.create_server(("127.0.0.1", port))
    role = psi.server.CreateWithNewKey(True)
    setup = role.CreateSetupMessage(FALSE_POSITIVES, len(ids), ids, psi.DataStructure.RAW)
    link, _ = listener.accept()
    request = psi.Request()
    request.ParseFromString(receive(link))
    send(link, setup.SerializeToString())
    send(link, role.ProcessRequest(request).SerializeToString())
    return []


def send(link: socket.socket, content: bytes) -> None:
    """Send a length and bytes."""
    link.sendall(len(content).to_bytes(8, "big") + content)


def receive(link: socket.socket) -> bytes:
    """Receive what :func:`send` sent."""
    with link.makefile("rb") as stream:
        return stream.read(int.from_bytes(stream.read(8), "big"))


main(*sys.argv[1:])
