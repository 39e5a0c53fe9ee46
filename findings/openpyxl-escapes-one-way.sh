#!/usr/bin/env bash
# openpyxl: a text such as IMG_x0041_1.jpg comes through openpyxl unharmed, and reads IMGA1.jpg in every other program.
#
# Expected: what is written into a cell is read from it. Workbooks write a character as _xHHHH_ (ECMA-376, ST_Xstring), so
# a text that looks like that needs its first underscore written as _x005F_, which XlsxWriter does.
# What it does (openpyxl 3.1.5): it takes the escape away when it reads, but does not put it back when it writes; and it
# leaves the other escapes as they are. Its own round trip looks right, and the file is another one: who saves a
# workbook of XlsxWriter by openpyxl, without a change, changes the text for all others.
# Who meets it: sheets in which file names or ids are looked up again (a camera's or a hash's "_x1234_"), written by one
# library and read by another, with a person or a script in between.
# Way round: write `text.replace("_x", "_x005F_x")` by openpyxl; look rows up by an id without underscores. Output seen:
#   openpyxl writes:                  openpyxl reads IMG_x0041_1.jpg, calamine reads IMGA1.jpg
#   XlsxWriter writes:                openpyxl reads IMG_x0041_1.jpg, calamine reads IMG_x0041_1.jpg
#   XlsxWriter, opened and saved:     openpyxl reads IMG_x0041_1.jpg, calamine reads IMGA1.jpg
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check openpyxl==3.1.5 python-calamine==0.9.1 XlsxWriter==3.2.9
cd "$work"
venv/bin/python - <<'PY'
import openpyxl
import python_calamine
import xlsxwriter

name = "IMG_x0041_1.jpg"
book = openpyxl.Workbook()
book.active.append([name])
book.save("openpyxl.xlsx")
book = xlsxwriter.Workbook("xlsxwriter.xlsx")
book.add_worksheet().write_string(0, 0, name)
book.close()
openpyxl.load_workbook("xlsxwriter.xlsx").save("saved.xlsx")

expected = {"openpyxl": "IMGA1.jpg", "xlsxwriter": name, "saved": "IMGA1.jpg"}
for file, seen in expected.items():
    own = openpyxl.load_workbook(f"{file}.xlsx").active["A1"].value
    other = python_calamine.load_workbook(f"{file}.xlsx").get_sheet_by_index(0).to_python()[0][0]
    print(f"{file}.xlsx: openpyxl reads {own}, calamine reads {other}")
    assert (own, other) == (name, seen), "the behaviour has changed"
PY
echo "as described"
