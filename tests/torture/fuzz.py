"""Fuzz the readers of files that come from elsewhere, with atheris (libFuzzer guided by the coverage of vtm).

    python tests/torture/fuzz.py --seconds 600 --out fuzz.json --keep findings/

Each reader runs in a process of its own for its share of the seconds. A finding is whatever a reader raises but
vtm's own errors, a message of several lines, or an answer that contradicts the file. The same error from the same
line counts once; the input that caused it is kept. Exit status 1 when there is a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
MEMORY_MB = 4096
SLOWEST_SECONDS = 25  # one input; libFuzzer ends the process
LONGEST_INPUT = 8192  # bytes
# Each input is a file that is written and read, which is many times faster in memory.
MEMORY_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=600, help="in total, shared by the readers")
    parser.add_argument("--readers", default="", help="some of them, separated by commas; all by default")
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"), help="where the figures go")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that are findings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the readers and stop")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("atheris is not installed; pip install -e '.[fuzz]'")
    if options.one:
        fuzz_one(options.one, options.out, seconds=options.seconds, seed=options.seed, keep=options.keep)
        return 0  # not reached: libFuzzer ends the process
    from fuzz_readers import READERS

    from vtm.files import write_json

    if options.list:
        print("\n".join(READERS))
        return 0
    names = options.readers.split(",") if options.readers else list(READERS)
    if unknown := [name for name in names if name not in READERS]:
        parser.error(f"no reader is called {unknown[0]!r}; there are {', '.join(READERS)}")
    share = max(1, options.seconds // len(names))
    readers = {name: run_one(name, share, options) for name in names}
    write_json(
        options.out,
        {
            "fuzzer": f"atheris {_version()}",
            "seed": options.seed,
            "seconds": round(sum(each["seconds"] for each in readers.values()), 1),
            "executions": sum(each["executions"] for each in readers.values()),
            "findings": sum(len(each["findings"]) for each in readers.values()),
            "readers": readers,
        },
    )
    return 1 if any(each["findings"] for each in readers.values()) else 0


def run_one(name: str, seconds: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fuzz one reader in a process of its own: libFuzzer never returns, and C code may take the process with it."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        out = Path(folder) / "one.json"
        command = [sys.executable, __file__, "--one", name, "--out", str(out)]
        command += ["--seconds", str(seconds), "--seed", str(options.seed)]
        command += ["--keep", str(options.keep.resolve())] if options.keep else []
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        empty: dict[str, Any] = {"seconds": 0.0, "executions": 0, "findings": []}
        result = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else empty
        if done.returncode or not out.is_file():
            tail = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            found = {"error": f"the process ended with {done.returncode}", "where": "".join(tail)[:300]}
            result["findings"].append(found)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{name}.log").write_text(done.stderr, encoding="utf-8")
                for crash in Path(folder).glob("*-*"):
                    if crash.is_file():
                        (options.keep / f"{name}-{crash.name}").write_bytes(crash.read_bytes())
    told = f"{result['executions']} inputs in {result['seconds']:.0f} s, {len(result['findings'])} findings"
    print(f"{name}: {told}", flush=True)
    return result


def fuzz_one(name: str, out: Path, *, seconds: int, seed: int, keep: Path | None) -> None:
    import atheris

    folder = Path(tempfile.mkdtemp(prefix="vtm-fuzz-", dir=out.parent))
    os.environ["VTM_DATA"] = str(folder / "data")
    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["vtm"], enable_loader_override=False):
        from fuzz_readers import READERS

        reader = READERS[name](folder)
        # Some modules are imported by the first call. What it raises is found again when the seeds are executed.
        for content in reader.seeds:
            with contextlib.suppress(Exception):
                reader.read(content)
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, content in enumerate(reader.seeds):
        (seeds / f"{number:02d}").write_bytes(content)
    tally = _Tally(name, out, keep, reader.read)
    atheris.Setup(
        [
            *(sys.argv[0], str(seeds), f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=0"),
            *(f"-max_len={LONGEST_INPUT}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MEMORY_MB}"),
            "-verbosity=0",
        ],
        tally.execute,
    )
    atheris.Fuzz()


class _Tally:
    """Counts executions and findings, and writes them down all along, since libFuzzer ends the process."""

    def __init__(self, name: str, out: Path, keep: Path | None, read: Callable[[bytes], None]) -> None:
        self.name, self.out, self.keep, self.read = name, out, keep, read
        self.executions = 0
        self.findings: dict[tuple[str, str], dict[str, Any]] = {}
        self.started = self.written = time.monotonic()

    def execute(self, data: bytes) -> None:
        self.executions += 1
        try:
            self.read(data)
        except Exception as error:
            self.note(error, data)
        if time.monotonic() - self.written > 0.5 or self.executions == 1:
            self.write()

    def note(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if f"{os.sep}vtm{os.sep}" in frame.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"
        if (type(error).__name__, where) in self.findings:
            return
        number = len(self.findings)
        said = " ".join(str(error).split())[:300]
        self.findings[type(error).__name__, where] = {
            "error": f"{type(error).__name__}: {said}",
            "where": where,
            "execution": self.executions,
        }
        if self.keep:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / f"{self.name}-{number}").write_bytes(data)
        self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        seconds = round(self.written - self.started, 1)
        findings = list(self.findings.values())
        value = {"seconds": seconds, "executions": self.executions, "findings": findings}
        self.out.write_text(json.dumps(value), encoding="utf-8")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("atheris")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
