"""File names that stay inside their folder, on every system."""

from __future__ import annotations

import unicodedata

# What is being written has a longer name for a moment, and file systems stop at 255 bytes.
MAX_NAME_BYTES = 200
FORBIDDEN = set('/\\:*?"<>|')
# Devices on Windows, whatever their suffix.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")}


def name_problem(name: str) -> str | None:
    """Why a name cannot be that of a file in a folder; None if it can."""
    if not name:
        return "is empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has control characters"
    if bad := sorted(FORBIDDEN & set(name)):
        return f"has {bad[0]!r} in it"
    if name[0] in ". " or name[-1] in ". ":
        return "begins or ends with a dot or a space"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if name.partition(".")[0].rstrip().casefold() in DEVICES:
        return "is the name of a device on Windows"
    return None


def name_key(name: str) -> str:
    """Names with the same key are one file on some system: case and the form of accents do not count."""
    return unicodedata.normalize("NFC", name.casefold())
