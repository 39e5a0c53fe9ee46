"""What the page's script reads: plain values, rounded, positions in place of ids."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from vtm.explorer.data import ExplorerData, Match
from vtm.explorer.sheets import COLUMNS, PER_SHEET, Sheets
from vtm.ranking import similarity

TOPICS_SHOWN = 5  # of a picture or a text
REASONS = 3  # topics that explain a match
BEST = 12  # pictures of a topic
SMALLEST_SHARE = 0.01  # of a document or of a match; smaller ones are not worth a line


def payload(data: ExplorerData, sheets: Sheets) -> dict[str, Any]:
    """Everything the page shows, as JSON values. Shares are in thousandths."""
    theta = np.asarray(data.theta_image, dtype=np.float64)
    return {
        "title": data.title,
        "model": data.model_name,
        "baseline": data.baseline_name,
        "language": data.language,
        "nAll": max(data.n_all, len(data.ids)),
        "ids": list(data.ids),
        "texts": list(data.texts),
        "files": [picture.name for picture in data.pictures],
        "x": _thousandths(data.positions[:, 0] * 10),
        "y": _thousandths(data.positions[:, 1] * 10),
        "thumbnails": {
            "sheets": list(sheets.files),
            "lines": list(sheets.lines),
            "place": list(sheets.place),
            "columns": COLUMNS,
            "perSheet": PER_SHEET,
            "unreadable": {str(row): reason for row, reason in sorted(sheets.unreadable.items())},
        },
        "pictureTopics": [_largest(row) for row in theta],
        "textTopics": None if data.theta_text is None else [_largest(row) for row in data.theta_text],
        "topics": [_topic(data, theta, k) for k in range(data.n_topics)],
        "matches": {str(match.row): _match(data, match) for match in data.matches},
        "notes": list(data.notes),
    }


def to_json(value: Any) -> str:
    """JSON that can stand in an HTML script element and in a UTF-8 file.

    `<` and `>` are escaped, so that no text can end the element or open a comment; so are the halves of
    surrogate pairs, which file names of other systems may hold and UTF-8 cannot.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace(">", "\\u003e")
    # Inside a JSON string, "backslashreplace" writes just the escape that JSON has for a lone surrogate.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shared_topics(text: np.ndarray, image: np.ndarray, *, top: int = REASONS) -> list[tuple[int, float]]:
    """The topics k with the largest theta_text[k] * theta_image[k], and each one's share of the sum.

    Parameters
    ----------
    text, image : (K,)

    Returns
    -------
    Up to `top` pairs (k, share), largest first, ties by the number; shares below 1 % are left out.
    """
    products = np.asarray(text, dtype=np.float64) * np.asarray(image, dtype=np.float64)
    total = products.sum()
    if total <= 0:
        return []
    order = np.argsort(-products, kind="stable")[:top]
    return [(int(k), float(products[k] / total)) for k in order if products[k] / total >= SMALLEST_SHARE]


def _topic(data: ExplorerData, theta: np.ndarray, k: int) -> dict[str, Any]:
    best = np.argsort(-theta[:, k], kind="stable")[:BEST]
    best = [row for row in best if theta[row, k] >= SMALLEST_SHARE]
    return {
        "words": {
            reads: [[word, float(f"{weight:.3g}")] for word, weight in topics[k]]
            for reads, topics in data.words.items()
        },
        "coherence": {reads: _or_none(values[k]) for reads, values in data.coherence.items()},
        "share": float(f"{theta[:, k].mean():.4g}"),
        "largest": int((theta.argmax(axis=1) == k).sum()),
        "best": [[int(row), round(1000 * theta[row, k])] for row in best],
    }


def _match(data: ExplorerData, match: Match) -> dict[str, Any]:
    assert data.theta_text is not None  # ExplorerData has seen to it
    text = data.theta_text[match.row]
    shown = {}
    for method, rows in match.found.items():
        alike = similarity(text[None], data.theta_image[list(rows)], measure=data.measure)[0]
        shown[method] = {
            "rank": match.rank[method],
            "found": [
                {
                    "row": row,
                    "similarity": float(f"{score:.2f}") + 0.0,  # + 0.0: no minus before a zero
                    "why": [
                        [k, round(1000 * share)] for k, share in shared_topics(text, data.theta_image[row])
                    ],
                }
                for row, score in zip(rows, alike, strict=True)
            ],
        }
    return shown


def _largest(row: np.ndarray) -> list[list[int]]:
    """The largest topics with their shares; the very largest is always there."""
    order = np.argsort(-row, kind="stable")[:TOPICS_SHOWN]
    return [
        [int(k), round(1000 * float(row[k]))]
        for i, k in enumerate(order)
        if i == 0 or row[k] >= SMALLEST_SHARE
    ]


def _thousandths(values: np.ndarray) -> list[int]:
    return np.rint(1000 * np.asarray(values, dtype=np.float64)).astype(int).tolist()


def _or_none(value: float) -> float | None:
    return float(f"{value:.3f}") + 0.0 if np.isfinite(value) else None
