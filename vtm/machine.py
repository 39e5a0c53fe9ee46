"""What machine a measurement was made on."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, cores, memory, accelerator and versions, as text; what cannot be found out is left out."""
    import torch

    import vtm

    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count()),
    }
    if memory := _memory():
        found["memory"] = memory
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    found |= {
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vtm": vtm.__version__,
    }
    return found


_LINUX = hasattr(os, "sched_getaffinity")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return ""


def peak_memory() -> float:
    """Peak resident memory of this process so far, in MiB."""
    import resource
    import sys

    with suppress(OSError, StopIteration):
        # What getrusage tells on Linux begins with the peak of the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
