"""A program of its own that sends one message and ends: `python -m pgvigil.ports.notify.deliver`.

Apprise and what it imports live here and nowhere else, so neither their memory nor a target that hangs is
the controller's. What to send comes as JSON on standard input, and what came of it goes out as JSON; the URL
is in neither command line nor answer.
"""

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any, Final, assert_never
from urllib.parse import unquote

from pgvigil.model.notify import Source

COMMAND_S: Final = 10
"""What `url_command` gets."""
URL_AT_MOST: Final = 8192
SHORTEST_SECRET: Final = 4
"""Parts of a URL that are shorter are no secret, and would black out words."""
WHY: Final = re.compile(
    r"\[Errno -?\d+\] [A-Za-z ]+|certificate verify failed[a-zA-Z: -]*|[Tt]imed out|"
    r"wrong version number|\bSMTP\w+(?:Refused|Error|Disconnected)\b|\(\d{3}, b'[^']{0,200}'"
)
"""What of the text of an exception is told; the rest may repeat the URL."""


def main() -> None:
    """Read the order, obey, answer."""
    order = json.load(sys.stdin)
    warnings.simplefilter("ignore")  # of the libraries: nobody would read them here
    try:
        answer = obeyed(order)
    except ValueError as wrong:
        answer = {"ok": False, "service": "", "detail": str(wrong)}
    json.dump(answer, sys.stdout)


def obeyed(order: "dict[str, Any]") -> "dict[str, Any]":
    """Send the message, or only look at the URL if there is none. Raises ValueError."""
    import apprise

    url = url_of(Source(order["source"]), order["place"])
    asset = apprise.AppriseAsset(
        app_id="pgvigil",
        app_desc="pgvigil",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
    )
    with _log_of("apprise") as log:
        target = apprise.Apprise.instantiate(url, asset=asset)
        if target is None:
            raise ValueError("the URL is none that is understood: see docs/operate/notifications.md")
        service = str(target.service_name)
        if "body" not in order:
            return {"ok": True, "service": service, "detail": ""}
        sender = apprise.Apprise(asset=asset)
        sender.add(target)
        ok = bool(
            sender.notify(
                title=order["title"],
                body=order["body"],
                notify_type=apprise.NotifyType(order["mood"]),
                body_format=apprise.NotifyFormat.TEXT,
            )
        )
    return {"ok": ok, "service": service, "detail": "" if ok else why(log.getvalue(), url)}


def url_of(source: Source, place: str) -> str:
    """The URL itself. Raises ValueError, without any word of it."""
    match source:
        case Source.GIVEN:
            text = place
        case Source.FILE:
            try:
                with open(place, encoding="utf-8") as file:
                    text = file.read(URL_AT_MOST)
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"url_file cannot be read: {getattr(error, 'strerror', error)}") from None
        case Source.COMMAND:
            text = _output_of(place)
        case Source.ENVIRONMENT:
            if place not in os.environ:
                raise ValueError(f"there is no {place} in the environment")
            text = os.environ[place]
        case _:
            assert_never(source)
    lines = text.strip().splitlines()
    if not lines:
        raise ValueError(f"{source.value} gives no URL")
    return lines[0].strip()


def _output_of(line: str) -> str:
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            ["sh", "-c", line],
            stdin=quiet,
            stdout=subprocess.PIPE,
            stderr=quiet,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"url_command did not end within {COMMAND_S} s") from None
    if done.returncode:
        raise ValueError(f"url_command ended with status {done.returncode}")
    return done.stdout.decode(errors="replace")[:URL_AT_MOST]


@contextlib.contextmanager
def _log_of(name: str) -> Iterator[io.StringIO]:
    """All that a logger is told meanwhile."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelno)d %(message)s"))
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield text
    finally:
        logger.removeHandler(handler)


def why(log: str, url: str) -> str:
    """What went wrong, from Apprise's log, without any part of the URL but its host."""
    lines = log.splitlines()
    told = [line.partition(" ")[2] for line in lines if line.startswith(("30 ", "40 "))]
    below = [found for line in lines if line.startswith("10 ") for found in WHY.findall(line)]
    text = "; ".join(dict.fromkeys([*told, *below])) or "it was not accepted"
    for part in sorted(secrets_of(url), key=len, reverse=True):
        text = text.replace(part, "***")
    return text[:500]


def secrets_of(url: str) -> set[str]:
    """Everything of a URL that may be a secret: user, password, path, what is asked; not scheme and host."""
    _, _, rest = url.partition("://")
    login, _, after = rest.rpartition("@")
    host, _, beyond = after.partition("/")
    host, _, asked = host.partition("?")
    parts = re.split(r"[/?&=:@,]", f"{login}/{beyond}/{asked}")
    is_host = host == "localhost" or "." in host or ":" in host
    if not is_host:
        parts.append(host)  # of many services it is a token
    whole = {word for part in parts for word in (part, unquote(part))}
    words = {piece for word in whole for piece in (word, *word.split()) if len(piece) >= SHORTEST_SECRET}
    return {url, *words} - ({host} if is_host else set())


if __name__ == "__main__":
    main()
