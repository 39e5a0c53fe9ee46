#!/usr/bin/env bash
# exiv2: a sidecar that begins with a comment is no XMP to it.
#
# Expected: an XMP sidecar is XML, which may have comments before its first element; the same file is read.
# What it does (python-exiv2 0.19.2, which holds exiv2 0.28.9; 0.27.6 does the same): it knows a sidecar by what follows the
# XML declaration, and with a comment there it says "The file contains data of an unknown image type" and reads nothing.
# Who meets it: whoever notes a licence or a tool's name at the top of sidecars; darktable and digiKam read through exiv2.
# Way round: put comments inside x:xmpmeta, where they are read over. Output seen:
#   nothing before it  sea
#   comment inside     sea
#   comment first      not read
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check exiv2==0.19.2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import exiv2

declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
packet = """%s<x:xmpmeta xmlns:x="adobe:ns:meta/">%s<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""
note = "<!-- by hand -->\n"
found = {}
for name, places in {"nothing before it": ("", ""), "comment inside": ("", note), "comment first": (note, "")}.items():
    path = Path(sys.argv[1], "boat.xmp")
    path.write_text(declaration + packet % places)
    ET.parse(path)  # it is XML
    try:
        image = exiv2.ImageFactory.open(str(path))
        image.readMetadata()
        found[name] = image.xmpData()["Xmp.dc.subject"].toString()
    except exiv2.Exiv2Error:
        found[name] = "not read"
    print(f"{name:18} {found[name]}")
expected = {"nothing before it": "sea", "comment inside": "sea", "comment first": "not read"}
assert found == expected, f"the behaviour has changed: {found}"
PY
echo "as described"
