"""One party of SPU's PSI; runs in a venv of its own, which has ``spu`` and nothing of ours.

``python spu_party.py PROTOCOL RANK PORT0 PORT1 INPUT.csv OUTPUT.csv`` waits for a line on standard
input once everything is imported, and prints one line of JSON when it is done.
"""

import json
import sys
import time

import spu
from spu import psi
from spu.libspu import link


def main(protocol: str, rank: str, port0: str, port1: str, source: str, target: str) -> None:
    """Match ``id`` columns; both parties learn the result, in one order."""
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.parse_protocol(f"PROTOCOL_{protocol}"),
            receiver_rank=0,
            broadcast_result=True,
            ecdh_params=psi.EcdhParams(curve=psi.EllipticCurveType.CURVE_25519),
        ),
        input_params=psi.InputParams(path=source, selected_keys=["id"]),
        output_params=psi.OutputParams(path=target),
    )
    parties = link.Desc()
    for number, port in enumerate((port0, port1)):
        parties.add_party(f"party{number}", f"127.0.0.1:{port}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    start = time.perf_counter()
    report = psi.psi_execute(config, link.create_brpc(parties, int(rank)))
    seconds = time.perf_counter() - start
    line = {"seconds": seconds, "matched": report.intersection_count, "version": spu.__version__}
    sys.stdout.write(json.dumps(line) + "\n")


main(*sys.argv[1:])
