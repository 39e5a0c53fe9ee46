#!/usr/bin/env bash
# Pillow: the shape of `Image.getxmp()` depends on how a writer laid the XMP out, and on how many keywords there are.
#
# Expected: the same properties come back in the same shape; XMP says that one rdf:Description or several mean the same.
# What it does (Pillow 12.1.0, defusedxml 0.7.1): one keyword is a str, two are a list; a second rdf:Description, which
# exiftool writes for each namespace, turns the dict of properties into a list of dicts; a keyword with a language is a dict.
# Who meets it: code that was written for one file, `...["Description"]["subject"]["Bag"]["li"]`, on files of another program:
# TypeError, or letters of the only keyword in place of keywords.
# Way round: parse `image.info["xmp"]` by an XML library, by namespace. Output seen:
#   one keyword           Description dict  li str
#   two keywords          Description dict  li list
#   two rdf:Description   Description list  li str
#   with a language       Description dict  li dict
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.1.0 defusedxml==0.7.1
"$work/venv/bin/python" - <<'PY'
import io

from PIL import Image

rdf = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
spaces = 'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
rating = "<xmp:Rating>4</xmp:Rating>"


def shape(items, apart=False):
    properties = f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"
    groups = [properties, rating] if apart else [properties + rating]
    body = "".join(f'<rdf:Description rdf:about="" {spaces}>{group}</rdf:Description>' for group in groups)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", xmp=f"{rdf}{body}</rdf:RDF></x:xmpmeta>".encode())
    told = Image.open(file).getxmp()["xmpmeta"]["RDF"]["Description"]
    first = told[0] if isinstance(told, list) else told
    return type(told).__name__, type(first["subject"]["Bag"]["li"]).__name__


sea, moon = "<rdf:li>sea</rdf:li>", "<rdf:li>moon</rdf:li>"
found = {
    "one keyword": shape(sea),
    "two keywords": shape(sea + moon),
    "two rdf:Description": shape(sea, apart=True),
    "with a language": shape('<rdf:li xml:lang="en">sea</rdf:li>'),
}
for name, (description, item) in found.items():
    print(f"{name:21} Description {description}  li {item}")
expected = [("dict", "str"), ("dict", "list"), ("list", "str"), ("dict", "dict")]
assert list(found.values()) == expected, f"the behaviour has changed: {found}"
PY
echo "as described"
