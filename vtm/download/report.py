"""What became of each picture that was to be downloaded: a Parquet file with one row an item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from vtm.errors import DataError
from vtm.files import atomic_path
from vtm.rows_out import printable

if TYPE_CHECKING:
    import pyarrow

GOOD, LOST, FAILED, REFUSED = STATUSES = ("good", "lost", "failed", "refused")
MEANING = {
    GOOD: "there",
    LOST: "gone for good, not asked again",
    FAILED: "asked again the next time",
    REFUSED: "not allowed, asked for no further",
}


@dataclass(frozen=True)
class Outcome:
    """A row of the report.

    Attributes
    ----------
    id, url, file
        The item.
    status
        "good", "lost" (HTTP 404 or 410), "failed" (anything else that went wrong) or "refused" (a URL, a
        host, an address or a file name that is not allowed).
    reason
        A word to count by: "fetched", "found" (the file was there), "copied" (from an item with the same
        URL), "not-found", "gone", "forbidden", "timeout", "content-type", "not-a-picture", ...
    detail
        The reason in a sentence, empty for good ones.
    bytes, sha256
        Size and SHA-256 of the file when it was last good; None if it never was.
    seconds
        Time that the last asking took, waits between tries included.
    attempts
        How many times it was asked for.
    http_status
        Of the last answer; None without one.
    final_url
        Where the redirects ended; None if nobody was asked.
    """

    id: str
    url: str
    file: str
    status: str
    reason: str
    detail: str = ""
    bytes: int | None = None
    sha256: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    http_status: int | None = None
    final_url: str | None = None


@dataclass(frozen=True)
class DownloadReport:
    """What became of the items of one call.

    Attributes
    ----------
    outcomes
        One an item, in the order of the items.
    path
        The Parquet file; it also keeps the rows of earlier calls with other items.
    n_kept
        How many rows stand as an earlier call left them.
    """

    outcomes: tuple[Outcome, ...]
    path: Path
    n_kept: int

    def status_counts(self) -> dict[str, int]:
        """Number of items by status, all four of them."""
        found = Counter(outcome.status for outcome in self.outcomes)
        return {status: found[status] for status in STATUSES}

    def reason_counts(self, status: str) -> dict[str, int]:
        """Number of items of a status by reason, most frequent first."""
        found = Counter(outcome.reason for outcome in self.outcomes if outcome.status == status)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def summary(self) -> str:
        """A few lines: how many there are, how many are not and why, each reason with an example."""
        counts = self.status_counts()
        total = f"{counts[GOOD]} of {len(self.outcomes)} pictures are there"
        lines = [f"{total}; {self.n_kept} items stood as an earlier run left them"]
        for status in (LOST, FAILED, REFUSED):
            if counts[status]:
                lines.append(f"{status:<10}{counts[status]:>7}  {MEANING[status]}")
            for reason, count in self.reason_counts(status).items():
                first = next(one for one in self.outcomes if (one.status, one.reason) == (status, reason))
                lines.append(
                    f"  {reason:<20}{count:>7}  such as {printable(f'{first.id}: {first.detail[:100]}')}"
                )
        return "\n".join([*lines, f"report     {self.path}"])


def print_summary(report: DownloadReport) -> None:
    """Print `report.summary()`."""
    print(report.summary())


def read_outcomes(path: Path | str) -> dict[str, Outcome]:
    """Rows of a report by id; none if there is no such file.

    Raises
    ------
    DataError
        The file is there, but it is no report.
    """
    path = Path(path)
    if not path.exists():
        return {}
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path, schema=_schema()).to_pylist()
        outcomes = [Outcome(**row) for row in rows]
    except (pyarrow.ArrowException, OSError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not readable as a report of downloads ({str(error).splitlines()[0]}); "
            "delete it and run again, pictures that are there are recognised"
        ) from None
    return {outcome.id: outcome for outcome in outcomes}


def write_outcomes(path: Path | str, outcomes: Iterable[Outcome]) -> None:
    """Write a report, atomically."""
    import pyarrow
    import pyarrow.parquet

    rows = list(outcomes)
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Outcome)}
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=_schema()), temporary)


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    types = {"bytes": pa.int64(), "seconds": pa.float64(), "attempts": pa.int32(), "http_status": pa.int32()}
    return pa.schema([(field.name, types.get(field.name, pa.string())) for field in fields(Outcome)])
