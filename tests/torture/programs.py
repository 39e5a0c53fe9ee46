"""darktable and digiKam, the programs themselves, are asked what they see of a photographer's folder before and after vtm.

Run by `make torture`, or `pytest tests/torture/programs.py`; some three minutes. On Debian: `apt-get install darktable
digikam xvfb dbus-x11`; what is not there is skipped, with the reason.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Timer

import pytest
from record import record

sys.path.append(str(Path(__file__).resolve().parents[1] / "cli"))
from malformed_pictures import SCENE, encoded  # noqa: E402
from test_collection import (  # noqa: E402
    ASKED,
    PROTECTED_SIDECAR,
    UNREADABLE,
    collection,  # noqa: F401
    keywords,
    models,  # noqa: F401
    state,
)
from test_keywords import by_darktable, iptc, packet  # noqa: E402
from test_models import run  # noqa: E402
from test_originals import in_jpeg  # noqa: E402

from vtm.cli.options import SKIPPED  # noqa: E402
from vtm.corpora.keywords import with_xmp  # noqa: E402

# Stars and keywords of a picture, each a path.
Seen = tuple[int, set[str]]
SCREEN = ["dbus-run-session", "xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]
DONE = "ALL PICTURES TOLD"
# Scripts of darktable's, in Lua.
TOLD = """
local dt = require "darktable"
for _, path in ipairs{%s} do
  local image = dt.database.import(path)
  local told = "SEEN\\t" .. path .. "\\t" .. tostring(image.rating)
  for _, tag in ipairs(dt.tags.get_tags(image)) do
    if not string.match(tag.name, "^darktable") then told = told .. "\\t" .. tag.name end
  end
  dt.print_log(told)
end
dt.print_log("ALL PICTURES TOLD")
"""
SAVED = """
local dt = require "darktable"
for _, path in ipairs{%s} do
  dt.database.import(path):attach_tag(dt.tags.create("midsummer"))
end
dt.control.sleep(3000)
dt.print_log("ALL PICTURES TOLD")
"""
DIGIKAM = """[General Settings]
Version=7.9.0
[Album Settings]
Enable Faces Engine=false
[Metadata Settings]
Metadata Writing Mode=1
Use XMP Sidecar For Reading=true
Save Tags=true
"""


def need(*programs: str) -> None:
    missing = [name for name in (*programs, "xvfb-run", "dbus-run-session") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install darktable digikam xvfb dbus-x11")


def ask(command: Sequence[str], seconds: int, **environ: str) -> str:
    """What a program with a window prints until it says that it is done, or for so many seconds; then it is ended."""
    process = subprocess.Popen(
        [*SCREEN, *command],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def end(sent: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)

    timers = [Timer(seconds, end, [signal.SIGTERM]), Timer(seconds + 5, end, [signal.SIGKILL])]
    for timer in timers:
        timer.start()
    told = []
    for line in process.stdout or ():
        told.append(line)
        if DONE in line:
            end(signal.SIGTERM)
    process.wait()
    end(signal.SIGKILL)
    for timer in timers:
        timer.cancel()
    return "".join(told)


def darktable(folder: Path, script: str, pictures: Sequence[Path], *, saves: bool) -> str:
    config = folder / "darktable"
    config.mkdir(parents=True)
    writes = "on import" if saves else "never"
    (config / "darktablerc").write_text(f"write_sidecar_files={writes}\nrun_crawler_on_start=FALSE\n")
    (config / "luarc").write_text(script % ", ".join(f'"{path}"' for path in pictures))
    command = ["darktable", "--library", str(config / "library.db"), "--configdir", str(config)]
    return ask([*command, "--disable-opencl", "-d", "lua"], 60)


def seen_by_darktable(folder: Path, pictures: Sequence[Path]) -> dict[Path, Seen]:
    found = {}
    for line in darktable(folder, TOLD, pictures, saves=False).splitlines():
        if "SEEN\t" in line:
            path, stars, *tags = line.partition("SEEN\t")[2].split("\t")
            found[Path(path)] = (int(stars), set(tags))
    return found


def seen_by_digikam(work: Path, root: Path) -> dict[Path, Seen]:
    """What its database has after its scan at the start. The first start makes the database, the second one scans."""
    home, database = work / "home", work / "database"
    for folder in (home, database):
        folder.mkdir(parents=True)
    home.chmod(0o700)
    (work / "digikamrc").write_text(DIGIKAM)
    environ = {
        **{"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "LIBGL_ALWAYS_SOFTWARE": "1"},
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
    }
    command = ["digikam", "--config", str(work / "digikamrc"), "--database-directory", str(database)]
    ask(command, 30, **environ)
    with closing(sqlite3.connect(database / "digikam4.db")) as connection, connection:
        connection.execute(
            "INSERT INTO AlbumRoots(label, status, type, identifier, specificPath) VALUES('root', 0, 1, ?, '/')",
            [f"volumeid:?path={root}"],
        )
    ask(command, 50, **environ)
    with closing(sqlite3.connect(database / "digikam4.db")) as connection:
        tags = {
            id: (parent, name) for id, parent, name in connection.execute("SELECT id, pid, name FROM Tags")
        }
        pictures = connection.execute(
            "SELECT i.id, a.relativePath, i.name, d.rating FROM Images i JOIN Albums a ON a.id = i.album "
            "LEFT JOIN ImageInformation d ON d.imageid = i.id"
        ).fetchall()
        of_picture: dict[int, set[str]] = {}
        for image, tag in connection.execute("SELECT imageid, tagid FROM ImageTags"):
            levels = []
            while tag in tags:
                tag, name = tags[tag]
                levels.insert(0, name)
            if not levels[0].startswith("_Digikam"):
                of_picture.setdefault(image, set()).add("|".join(levels))
    return {
        root / album.lstrip("/") / name: (max(0, stars or 0), of_picture.get(id, set()))
        for id, album, name, stars in pictures
    }


@pytest.fixture
def twice(models, collection, tmp_path) -> tuple[Path, dict[str, set[str]]]:  # noqa: F811
    """The folder as it was and tagged, `before` and `after`, and the keywords that each picture got."""
    root = tmp_path / "both"
    root.mkdir()
    shutil.copytree(collection, root / "before")
    shutil.copytree(collection, root / "after")
    result = run("tag", models[0], root / "after", *ASKED, "--write-sidecars", code=SKIPPED)
    ours = {
        Path(path).relative_to(root / "after").as_posix(): words for path, words in keywords(result).items()
    }
    return root, {name: words for name, words in ours.items() if f"{name}.xmp" != PROTECTED_SIDECAR}


def compare(
    program: str,
    seen: dict[Path, Seen],
    root: Path,
    ours: dict[str, set[str]],
    *,
    fewest: int,
    elsewhere: Sequence[str] = (),
) -> None:
    """Each picture has its stars and keywords still, and vtm's; at least so many were seen to have any before.

    Of those that are named the program reads another sidecar than the one that vtm wrote, as vtm says.
    """
    lost, hidden, owned, asked = [], [], 0, 0
    for name, words in ours.items():
        before, after = (seen.get(root / part / name) for part in ("before", "after"))
        if before is None or after is None:
            continue  # a format that this program does not read
        asked += 1
        owned += bool(before[1])
        # A keyword that stands as a level of a path need not stand alone, too.
        kept = {level for tag in after[1] for level in tag.split("|")} | after[1]
        if before[0] != after[0] or not before[1] <= kept:
            lost.append((name, before, after))
        if not words <= {tag.rpartition("|")[2] for tag in after[1]}:
            hidden.append((name, words, after))
    record(
        f"programs-{program}",
        {"pictures": asked, "with_keywords": owned, "lost": len(lost), "hidden": len(hidden)},
    )
    assert not lost
    assert [name for name, *_ in hidden] == [name for name in ours if name in elsewhere], hidden
    assert owned >= fewest


def xmp(*properties: str, stars: int = 0) -> bytes:
    rating = f"<xmp:Rating>{stars}</xmp:Rating>" if stars else ""
    return packet(rating + "".join(properties))


def bag(name: str, *values: str, kind: str = "Bag") -> str:
    items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


def test_darktable_takes_the_sidecar_and_in_it_the_tree(tmp_path) -> None:
    """Without vtm: its reasons to begin a sidecar with what the picture says, and a tree with the flat keywords."""
    need("darktable")
    jpeg = in_jpeg(encoded(SCENE, "JPEG"), iptc((2, 25, b"Tide")))
    own = with_xmp(jpeg, xmp(bag("lr:hierarchicalSubject", "Trips|Coast"), stars=4))
    tree = xmp(bag("lr:hierarchicalSubject", "Places|sea"), bag("dc:subject", "sea", "moon"))
    pictures = [tmp_path / name for name in ("alone.jpg", "beside.jpg", "tree.jpg")]
    for picture, beside in zip(pictures, (None, xmp(bag("dc:subject", "sea")), tree), strict=True):
        picture.write_bytes(own)
        if beside:
            picture.with_name(f"{picture.name}.xmp").write_bytes(beside)
    alone, beside, of_tree = seen_by_darktable(tmp_path / "asked", pictures).values()
    assert alone == (4, {"Trips|Coast", "Tide"})
    assert beside[0] != 4 and beside[1] == {"sea"}
    assert of_tree[1] == {"Places|sea"}
    darktable(tmp_path / "saved", SAVED, pictures[2:], saves=True)
    saved = (tmp_path / "tree.jpg.xmp").read_bytes()
    assert b"midsummer" in saved and b"moon" not in saved


def test_darktable_sees_what_it_saw_and_the_new_keywords(twice, tmp_path) -> None:
    need("darktable")
    root, ours = twice
    names = [name for name in ours if name.endswith(".jpg")]
    pictures = [root / part / name for name in names for part in ("before", "after")]
    seen = seen_by_darktable(tmp_path / "work", pictures)
    assert seen.keys() == set(pictures)
    compare("darktable", seen, root, {name: ours[name] for name in names}, fewest=7)


def test_what_darktable_saves_afterwards_has_all_and_untag_leaves_the_owners(twice, tmp_path) -> None:
    need("darktable")
    root, ours = twice
    names = [name for name in ours if name.endswith(".jpg") and name.startswith("trip/")]
    sidecars = {name: root / "after" / f"{name}.xmp" for name in names}
    owners = {
        name: {tag for tag in by_darktable(path.read_bytes()) if not tag.startswith("vtm|")}
        for name, path in sidecars.items()
    }
    assert len(names) > 2 and all(owners.values())
    before = {name: path.read_bytes() for name, path in sidecars.items()}
    darktable(tmp_path / "work", SAVED, [root / "after" / name for name in names], saves=True)
    for name, path in sidecars.items():
        saved = path.read_bytes()
        assert saved != before[name] and b"midsummer" in saved
        assert owners[name] | {f"vtm|{word}" for word in ours[name]} <= set(by_darktable(saved))
    run("untag", root / "after", code=0)
    for name, path in sidecars.items():
        assert set(by_darktable(path.read_bytes())) == owners[name] | {"midsummer"}, name


def test_digikam_takes_the_first_list(twice, tmp_path) -> None:
    """And sees what it saw, and the new keywords."""
    need("digikam")
    root, ours = twice
    (root / "lists").mkdir()
    (root / "lists" / "a.jpg").write_bytes(encoded(SCENE, "JPEG"))
    (root / "lists" / "a.jpg.xmp").write_bytes(
        xmp(
            bag("lr:hierarchicalSubject", "Places|sea"),
            bag("digiKam:TagsList", "Trips/Coast", kind="Seq"),
            bag("dc:subject", "moon"),
        )
    )
    seen = seen_by_digikam(tmp_path / "work", root)
    assert seen[root / "lists" / "a.jpg"][1] == {"Trips|Coast"}
    # Of two names it takes the other one.
    of_two = [name for name in ours if (root / "before" / name).with_suffix(".xmp").exists()]
    assert "trip/both.jpg" in of_two
    compare("digikam", seen, root, ours, fewest=7, elsewhere=of_two)


def test_asking_changes_no_file(twice, tmp_path) -> None:
    """A program that wrote while it was asked would tell of its own sidecars."""
    need("darktable")
    root, ours = twice
    before = state(root)
    seen_by_darktable(tmp_path / "work", [root / "after" / "lightroom.jpg"])
    assert state(root) == before and not any(name in ours for name in UNREADABLE)
