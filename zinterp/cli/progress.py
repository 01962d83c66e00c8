"""Progress on stderr: a bar on a terminal, a plain log line every 30 s or 10 % elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zinterp.cli.text import printable

logger = logging.getLogger("zinterp.progress")

LINE_EVERY_S = 30.0
LINE_EVERY_SHARE = 0.1


@contextmanager
def show_progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes (done, total) and shows it."""
    quiet = all(handler.level > logging.INFO for handler in logging.getLogger("zinterp").handlers)
    if sys.stderr.isatty() and not quiet:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(escape(printable(title)), total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield LineProgress(title, unit)


class LineProgress:
    """Log how far the work is, now and then."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit = title, unit
        self.start = time.monotonic()
        self.begun: int | None = None
        self.last_time, self.last_share = self.start, 0.0

    def __call__(self, done: int, total: int) -> None:
        """Say it if 30 s or a tenth of the work have passed since the last line, or all is done."""
        now, share = time.monotonic(), done / max(total, 1)
        if self.begun is None:
            self.begun, self.last_share = done, share
            return
        due = now - self.last_time >= LINE_EVERY_S or share - self.last_share >= LINE_EVERY_SHARE
        if due or done == total:
            spent, fresh = now - self.start, max(done - self.begun, 1)
            left = spent / fresh * (total - done)
            logger.info("%s: %d of %d %s (%.0f %%), %.0f s left", self.title, done, total, self.unit, 100 * share, left)
            self.last_time, self.last_share = now, share
