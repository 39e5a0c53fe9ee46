"""Tux Paint's stamps as Debian packages them: pictures with a one-line caption in many languages."""

from __future__ import annotations

import re
from pathlib import Path

from vtm.corpora.base import Corpus, Dropped, Pair, drop_by_looks, drop_repeats, same_words
from vtm.corpora.fetch import fetch_checked
from vtm.corpora.pictures import looks
from vtm.errors import ConfigError, DataError
from vtm.files import code_hash, data_dir, hash_json, kept

SOURCE = "Tux Paint stamps 2022.06.04 (Debian package tuxpaint-stamps-default); GPL-2"
# A language with captions for fewer of the stamps is too sparse for a corpus, and is not offered.
MIN_SHARE = 0.1


def load(*, lang: str = "en") -> Corpus:
    """The stamps with a PNG picture and a caption in the language `lang`.

    Captions and pictures are compared with the package's every time. Group: the top folder, a gold category.
    Dropped, in this order: `no-png`, drawings that only come as SVG; `no-text`, no caption in this language, or
    none with a word in it; `blank-picture`, of one colour; `identical-picture`, the same as an earlier one when both are
    decoded and scaled; and `duplicate-text`.

    Parameters
    ----------
    lang
        "en", or a code of the captions' files as "de", "pt_BR", "sr@latin"; case and "-" for "_" are
        forgiven.

    Raises
    ------
    ConfigError
        No captions in this language; the message lists the available ones.
    MissingError
        The package cannot be fetched.
    DataError
        A file is not the package's.
    """
    folder, contents = fetch_checked("tuxpaint-stamps-default")
    captions = {
        name.removesuffix(".txt"): read_captions(folder / name) for name in contents if name.endswith(".txt")
    }
    lang = _known_language(lang, captions)
    pairs, dropped = [], []
    for stem, by_language in captions.items():
        image = f"{stem}.png"
        text = by_language.get(lang, "")
        if image not in contents:
            dropped.append(Dropped(stem, "no-png"))
        elif not re.search(r"[^\W\d_]", text):
            dropped.append(Dropped(stem, "no-text", text))
        else:
            pairs.append(Pair(stem, text, folder / image, stem.split("/")[0], contents[image]))
    # Pictures are decoded once: what is seen of each is stored.
    names = sorted(name for name in contents if name.endswith(".png"))
    key = hash_json([contents, code_hash("vtm.corpora.pictures", without=("vtm.errors",))])
    stored = kept(
        data_dir() / "corpora" / "stamps.json",
        key,
        lambda: {"seen": dict(zip(names, looks(folder / name for name in names), strict=True))},
    )
    pairs, unseen = drop_by_looks(pairs, [stored["seen"][f"{pair.id}.png"] for pair in pairs])
    pairs, duplicate = drop_repeats(pairs, lambda pair: same_words(pair.text), "duplicate-text")
    return Corpus.of(
        pairs,
        name=f"stamps-{lang}",
        dropped=(*dropped, *unseen, *duplicate),
        language=lang,
        source=SOURCE,
    )


def read_captions(path: Path) -> dict[str, str]:
    """Captions of a stamp by language code: the first line is English, the others are `code.utf8=caption`.

    Raises
    ------
    DataError
        The file is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; fetch the stamps again") from None
    captions = {"en": " ".join(lines[0].split())} if lines else {}
    for line in lines[1:]:
        code, equals, caption = line.partition(".utf8=")
        if equals and caption.strip():
            captions[code.strip()] = " ".join(caption.split())
    return captions


def _known_language(lang: str, captions: dict[str, dict[str, str]]) -> str:
    counts: dict[str, int] = {}
    for by_language in captions.values():
        for code in by_language:
            counts[code] = counts.get(code, 0) + 1
    codes = sorted(code for code, count in counts.items() if count >= MIN_SHARE * len(captions))
    for code in codes:
        if code.lower() == str(lang).lower().replace("-", "_"):
            return code
    raise ConfigError(f"stamps: no captions in the language {lang!r}; available: {', '.join(codes)}")
