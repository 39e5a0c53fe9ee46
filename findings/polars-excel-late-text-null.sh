#!/usr/bin/env bash
# polars: a workbook's column that begins with numbers loses the texts below its first hundred rows.
#
# Expected: a column of numbers and texts is read as text, or the reader stops. polars' own reader of CSV does stop, at the
# row, and names it.
# What it does (polars 2.1.0, fastexcel 0.21.0): `read_excel` looks at 100 rows (`infer_schema_length`) to choose a column's
# type. Cells further down that are of another type become null: no error, no warning, the right number of rows. A text in the
# first 100 rows makes the column text, so that short trial sheets are read well. `dtype_coercion="strict"` of fastexcel
# looks at the same rows and lets the same cells go. fastexcel by itself looks at 1,000 rows, and the engine openpyxl at all.
# Who meets it: ids such as 121a or A-122 among numbers, "May 1999" in a column of years: pictures are joined to null, or
# dropped as rows without an id. Some users of polars have reported it (its issues 14874 and 23728); its manual is silent.
# Way round: `infer_schema_length=None`, or `schema_overrides={"id": pl.String}`. Output seen:
#   CSV                         ComputeError
#   workbook                    i64  [120, None, None]
#   dtype_coercion strict       i64  [120, None, None]
#   121a within 100 rows        str  ['120', '121a', 'A-122']
#   infer_schema_length=None    str  ['120', '121a', 'A-122']
#   schema_overrides            str  ['120', '121a', 'A-122']
#   engine openpyxl             str  ['120', '121a', 'A-122']
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 fastexcel==0.21.0 openpyxl==3.1.5
cd "$work"
venv/bin/python -W error - <<'PY'
import openpyxl
import polars as pl

for path, first in (("late.xlsx", 1), ("early.xlsx", 50)):
    book = openpyxl.Workbook()
    for value in ["id", *range(first, 121), "121a", "A-122"]:
        book.active.append([value, "a caption"])
    book.save(path)
with open("late.csv", "w") as file:
    file.writelines(f"{value},a caption\n" for value in ["id", *range(1, 121), "121a", "A-122"])

kept, lost = ("str", ["120", "121a", "A-122"]), ("i64", [120, None, None])
try:
    pl.read_csv("late.csv")
    raise SystemExit("the behaviour has changed: the CSV is read")
except pl.exceptions.ComputeError as error:
    print(f"{'CSV':25} {type(error).__name__}")
for name, path, options, expected in (
    ("workbook", "late.xlsx", {}, lost),
    ("dtype_coercion strict", "late.xlsx", {"read_options": {"dtype_coercion": "strict"}}, lost),
    ("121a within 100 rows", "early.xlsx", {}, kept),
    ("infer_schema_length=None", "late.xlsx", {"infer_schema_length": None}, kept),
    ("schema_overrides", "late.xlsx", {"schema_overrides": {"id": pl.String}}, kept),
    ("engine openpyxl", "late.xlsx", {"engine": "openpyxl"}, kept),
):
    column = pl.read_excel(path, **options)["id"]
    print(f"{name:25} {'str' if column.dtype == pl.String else 'i64'}  {column.to_list()[-3:]}")
    assert (("str" if column.dtype == pl.String else "i64"), column.to_list()[-3:]) == expected, "the behaviour has changed"
PY
echo "as described"
