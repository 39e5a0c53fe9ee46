"""A fitted model as a folder: safetensors and JSON, with the hash of every file. No pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vtm.api_fit import Fitted
from vtm.bow import Vocabulary
from vtm.corpora import Dropped
from vtm.errors import DataError, MissingError
from vtm.files import atomic_path, hash_file, read_json, read_sealed, read_tensors, write_sealed
from vtm.folders import atomic_folder, recover_folder
from vtm.rows_out import printable
from vtm.topicmodel import TopicModel, package_versions

FORMAT = 2
MODEL_FILE, ARRAYS_FILE = "model.json", "topics.safetensors"
FILES = ("text.safetensors", "text.json", "image.safetensors", "image.json", ARRAYS_FILE)
NAMED = 3  # entries of a folder that an error names
PACKAGES = (
    *("vtm", "torch", "numpy", "scipy", "scikit-learn", "pillow", "onnxruntime", "sentence-transformers"),
    "open-clip-torch",
)


def check_place(path: Path | str) -> None:
    """Refuse a place where a model would replace something else than a model.

    Raises
    ------
    DataError
        `path` is a file, or a folder that holds something else than a model.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise DataError(f"{path}: exists and is no model; remove it, or name another folder for the model")
    ours = {MODEL_FILE, *FILES} if _holds_model(path) else set()
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in ours or entry.is_dir())
    if others:
        named = ", ".join(printable(name) for name in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        raise DataError(
            f"{path}: exists and is no model{' alone' if ours else ''} (it holds {named}{more}); "
            "name another folder for the model, or move what is in it"
        )


def write_model(
    path: Path | str, fitted: Fitted, parameters: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Write a model's folder. It takes the place of an older model in one step, after it is complete.

    Raises
    ------
    DataError
        `path` is a file, or a folder that holds something else than a model.
    """
    check_place(path)
    with atomic_folder(path) as folder:
        _write_files(folder, fitted, parameters, notes)


def _holds_model(folder: Path) -> bool:
    """Whether a model of this or an earlier format is there, be it damaged; other programs have a model.json, too."""
    try:
        saved = read_json(folder / MODEL_FILE) if (folder / MODEL_FILE).is_file() else None
    except (OSError, DataError):
        return False
    return isinstance(saved, dict) and isinstance(saved.get("format"), int) and "sha256" in saved


def _write_files(
    folder: Path, fitted: Fitted, parameters: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    from safetensors.numpy import save_file

    # What `vtm submit` reads of a run's models.
    about = {"kind": parameters["teacher"], "encoder": parameters["encoder"], "measure": "cosine"}
    for model in (fitted.text_model, fitted.image_model):
        model.save(folder / model.reads, **about, mode="posteriors")
    arrays = {"topic_share": fitted.topic_share, "topic_counts": fitted.topic_counts}
    arrays |= {f"coherence_{reads}": values for reads, values in fitted.coherence.items()}
    with atomic_path(folder / ARRAYS_FILE) as temporary:
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, temporary)
    write_sealed(
        folder / MODEL_FILE,
        {
            "format": FORMAT,
            "parameters": dict(parameters),
            "vocabulary": {
                "language": fitted.vocabulary.language,
                "min_length": fitted.vocabulary.min_length,
            },
            "encoder_keys": fitted.encoder_keys,
            "n_pairs": fitted.n_pairs,
            "n_validation": fitted.n_validation,
            "dropped": [[item.id, item.reason, item.detail] for item in fitted.dropped],
            "status": fitted.status,
            "warnings": list(fitted.warnings),
            "best_pictures": [[[id, share] for id, share in topic] for topic in fitted.best_pictures],
            "notes": dict(notes),
            "sha256": {name: hash_file(folder / name) for name in FILES},
            "versions": package_versions(PACKAGES),
        },
    )


def read_model(path: Path | str) -> tuple[Fitted, dict[str, Any], dict[str, Any]]:
    """What `write_model` wrote: the fitted model, the parameters and the notes.

    Raises
    ------
    MissingError, DataError
        No model's folder, files of another format, or files that are not those that were saved.
    """
    path = Path(path)
    recover_folder(path)
    if not (path / MODEL_FILE).is_file():
        raise MissingError(
            f"{path}: no model ({MODEL_FILE} is missing); `vtm train CORPUS -o {path}` makes one"
        )
    saved = read_json(path / MODEL_FILE)
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, dict) else None
        raise DataError(f"{path}: format {found!r}, this version of vtm reads {FORMAT}; train anew")
    saved = read_sealed(path / MODEL_FILE)
    hashes = saved.get("sha256") if isinstance(saved.get("sha256"), dict) else {}
    for name in FILES:
        if not (path / name).is_file():
            raise MissingError(f"{path / name}: no such file; the model is incomplete, train anew")
        if hash_file(path / name) != hashes.get(name):
            raise DataError(f"{path / name}: its content is not what was saved with {MODEL_FILE}; train anew")
    try:
        return _fitted(path, saved), dict(saved["parameters"]), dict(saved["notes"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path / MODEL_FILE}: does not hold what a model's does ({error!r}); train anew"
        ) from None


def _fitted(path: Path, saved: dict[str, Any]) -> Fitted:
    text, image = TopicModel.load(path / "text"), TopicModel.load(path / "image")
    arrays = read_tensors(path / ARRAYS_FILE)
    return Fitted(
        text_model=text,
        image_model=image,
        vocabulary=Vocabulary(words=image.vocabulary, **saved["vocabulary"]),
        topic_share=arrays["topic_share"],
        topic_counts=arrays["topic_counts"],
        coherence={reads: arrays[f"coherence_{reads}"] for reads in ("text", "image")},
        best_pictures=tuple(
            tuple((str(id), float(share)) for id, share in topic) for topic in saved["best_pictures"]
        ),
        dropped=tuple(Dropped(*item) for item in saved["dropped"]),
        n_pairs=int(saved["n_pairs"]),
        n_validation=int(saved["n_validation"]),
        status=str(saved["status"]),
        warnings=tuple(saved["warnings"]),
        encoder_keys=dict(saved["encoder_keys"]),
    )
