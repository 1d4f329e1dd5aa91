"""Pings to a healthchecks-style monitor: start, success, failure. None of them can fail or delay a night for long."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from recbatch import __version__

from ._say import Say

_BODY_BYTES = 10_000
"""What healthchecks.io keeps of a body."""


def ping(url: str, suffix: str, lines: Sequence[str], timeout_seconds: float, say: Say) -> None:
    """Posts the last lines to `url` + suffix; what goes wrong is told as an event `ping_failed` and is no error.

    Only http and https are spoken, redirects included. The address is a secret, so the event names its host only.

    Args:
        url: of the check.
        suffix: `/start`, `/fail`, or nothing for success; it goes before a query.
        lines: the end of the log; the last 10,000 bytes are sent.
        timeout_seconds: for all of it: name lookup, connection and answer.
        say: hears of a failure.
    """
    parts = urlsplit(url)
    address = parts._replace(path=parts.path.rstrip("/") + suffix).geturl()
    body = "\n".join(lines).encode()[-_BODY_BYTES:]
    troubles: list[str] = []
    # A thread that is left behind: a timeout of sockets bounds neither a name lookup nor a server that drips.
    asking = threading.Thread(target=_post, args=(address, body, timeout_seconds, troubles), daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    if asking.is_alive():
        troubles.append(f"no answer in {timeout_seconds:g} s")
    if troubles:
        say.event("ping_failed", ping=suffix.strip("/") or "success", host=_host(parts), error=troubles[0])


def _post(address: str, body: bytes, timeout_seconds: float, troubles: list[str]) -> None:
    request = urllib.request.Request(  # noqa: S310 - the opener speaks http and https only
        address, body, {"User-Agent": f"recbatch/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    )
    try:
        _opener().open(request, timeout=timeout_seconds).close()
    except Exception as error:  # whatever a monitor does is no concern of the night
        troubles.append(" ".join(str(error).split()) or type(error).__name__)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _host(parts: SplitResult) -> str:
    return parts.hostname or "?"
