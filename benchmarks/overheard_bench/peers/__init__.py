"""Other programs that name music, run as a user runs them: found, called with files, their output read.

Nothing of theirs is copied or imported. Each module says where its program's command line and output are
documented; `Peer` is what `trial` needs of one.
"""

from __future__ import annotations

from overheard_bench.peers.audfprint import Audfprint
from overheard_bench.peers.base import Peer
from overheard_bench.peers.olaf import Olaf
from overheard_bench.peers.panako import Panako

PEERS: tuple[type[Peer], ...] = (Audfprint, Olaf, Panako)
