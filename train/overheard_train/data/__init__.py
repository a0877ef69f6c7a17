"""List the recordings for training and validation, decode them once, and check that splits are disjoint.

Input: folders of recordings. Output: memory-mapped samples by kind and split.
"""

from overheard_train.data.cache import Clips, default_cache_dir
from overheard_train.data.command import add_data_argument, check_parser, run_check
from overheard_train.data.dataset import Data, open_data
from overheard_train.data.sources import KINDS, SPLITS, Recording

__all__ = [
    "KINDS",
    "SPLITS",
    "Clips",
    "Data",
    "Recording",
    "add_data_argument",
    "check_parser",
    "default_cache_dir",
    "open_data",
    "run_check",
]
