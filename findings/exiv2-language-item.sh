#!/usr/bin/env bash
# exiv2: one keyword that notes its language turns the whole list of keywords into a text.
#
# Expected: dc:subject is an unordered list (rdf:Bag); RDF lets any of its items say its language (xml:lang), and the list is
# a list of keywords all the same, as exiftool and Pillow read it.
# What it does (python-exiv2 0.19.2, which holds exiv2 0.28.9; 0.27.6 does the same): with one xml:lang in it the property is
# no XmpBag any more but an XmpText of the value `type="Bag"`, with the keywords as properties of their own, dc.subject[1]
# and so on. The same where the list is an rdf:Alt with one x-default, which some writers make of keywords.
# Who meets it: readers that ask for Xmp.dc.subject, as most do: they see one odd keyword, `type="Bag"`, or none.
# Way round: leave xml:lang out of lists that are no lang-alt; read dc.subject[n] where the value begins with `type=`.
# Output seen:
#   plain     XmpBag   sea, moon
#   language  XmpText  type="Bag"
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check exiv2==0.19.2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import exiv2

packet = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag><rdf:li%s>sea</rdf:li><rdf:li>moon</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
found = {}
for name, language in {"plain": "", "language": ' xml:lang="en"'}.items():
    path = Path(sys.argv[1], f"{name}.xmp")
    path.write_text(packet % language)
    image = exiv2.ImageFactory.open(str(path))
    image.readMetadata()
    told = {datum.key(): (datum.typeName(), datum.toString()) for datum in image.xmpData()}
    found[name] = told["Xmp.dc.subject"]
    print(f"{name:9} {found[name][0]:8} {found[name][1]}")
expected = {"plain": ("XmpBag", "sea, moon"), "language": ("XmpText", 'type="Bag"')}
assert found == expected, f"the behaviour has changed: {found}"
PY
echo "as described"
