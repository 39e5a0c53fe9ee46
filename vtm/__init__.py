"""Visual topic modelling: topics for pictures, without any text when the picture is read.

Importing this package loads nothing heavy; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# Before torch is loaded: threads that wait must sleep, not spin. Where anything else runs on the machine, spinning
# makes the many small steps of training ten times slower and more.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"

# name -> module that defines it
_NAMES = {
    "Experiment": "vtm.config",
    "ModelConfig": "vtm.config",
    "from_notebook": "vtm.config",
    "from_parameters": "vtm.config",
    "Corpus": "vtm.corpora",
    "load_corpus": "vtm.corpora",
    "load_encoder": "vtm.encoders",
    "prepare": "vtm.experiment.prepare",
    "run_baseline": "vtm.experiment.runs",
    "run_models": "vtm.experiment.runs",
    "TopicModel": "vtm.model.topicmodel",
    "VisualTopicModel": "vtm.api",
    "train_pair": "vtm.model.distill",
    "Pairs": "vtm.model.training",
    "VtmError": "vtm.errors",
}
__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        if name in ("Pairs", "train_pair"):
            from vtm.errors import require

            require("torch")
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'vtm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
