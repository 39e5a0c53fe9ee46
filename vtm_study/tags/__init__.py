"""What the tags of pictures are worth: topics against gold categories, keywords against the pictures' own texts."""

from __future__ import annotations
