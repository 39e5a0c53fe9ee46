"""Where the long work is done: in this process or on a Ray cluster, with the same results in the same files."""

from __future__ import annotations

from vtm.engines.embed import ENGINES, SIDES, embed_corpus
from vtm.engines.manifest import Manifest, import_embeddings, read_embeddings

__all__ = [
    "ENGINES",
    "SIDES",
    "Manifest",
    "embed_corpus",
    "import_embeddings",
    "read_embeddings",
]
