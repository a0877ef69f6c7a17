"""Other music recognition programs, run as their users run them: indexed, queried, their output parsed.

Nothing of theirs is copied or imported. Each module says where the command line and the output that it relies
on are documented. `Peer` is the interface that `trial` uses.
"""

from __future__ import annotations

from overheard_bench.peers.audfprint import Audfprint
from overheard_bench.peers.base import Peer
from overheard_bench.peers.chromaprint import Chromaprint
from overheard_bench.peers.olaf import Olaf
from overheard_bench.peers.panako import Panako

PEERS: tuple[type[Peer], ...] = (Audfprint, Chromaprint, Olaf, Panako)
