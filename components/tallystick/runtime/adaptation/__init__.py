"""CrypTen on this runtime: the only package that imports it, and adapts its internals.

CrypTen 0.4.1 gives the tensors on shares and their operations. Replaced are:

==========================  ===================================================================
its part                    ours
==========================  ===================================================================
masks from MT19937          AES-256-CTR streams (:mod:`~tallystick.runtime.randomness`)
the first party as dealer   the dealer's service (:mod:`~tallystick.runtime.dealer`)
Gloo                        pinned mutual TLS (:mod:`~tallystick.runtime.process_group`)
truncation with errors      exact truncation (:mod:`~tallystick.runtime.protocols.truncation`)
comparison by an adder      comparison by digits (:mod:`~tallystick.runtime.protocols.comparison`)
functions without a domain  bounded ones (:mod:`~tallystick.runtime.protocols.functions`)
maxima in many rounds       eight (:mod:`~tallystick.runtime.protocols.largest`)
noughts of two neighbours   of every two parties (:func:`.world.nought`)
networks by autograd        graphs whose way back uses what the way there has masked
                            (:mod:`~tallystick.models.execution`)
retry on network faults     none: a fault ends the step
==========================  ===================================================================

CrypTen keeps its state in module variables, so a process runs one engine at a time.
"""

import sys

from torch.onnx._internal.torchscript_exporter import registration

# CrypTen's ONNX converter imports a module that torch 2.13 has moved.
sys.modules.setdefault("torch.onnx._internal.registration", registration)
