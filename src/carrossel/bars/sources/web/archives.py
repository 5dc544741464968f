"""Zip files from outside: nothing in them is believed before it is checked."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from typing import TYPE_CHECKING

from carrossel.errors import SourceError

if TYPE_CHECKING:
    from carrossel.bars.sources.web.client import Client

_LARGEST_MEMBER = 256_000_000
_ENCRYPTED = 0x1
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S+)\s*")


def fetch_member(client: Client, url: str, largest: int = _LARGEST_MEMBER) -> bytes | None:
    """The CSV in the zip at `url`, held against the sha256 in `url`.CHECKSUM; none if there is no such zip.

    Archives get replaced: one that doesn't match its checksum is fetched once more, with its checksum.

    Args:
        largest: bytes that the CSV may have.

    Raises:
        SourceError: if the checksum is missing or another, or the zip holds anything but one CSV of its own name.
    """
    name = url.rsplit("/", 1)[-1]
    found = wanted = ""
    for _ in range(2):
        data = client.download(url)
        if data is None:
            return None
        found, wanted = hashlib.sha256(data).hexdigest(), _expected(client, f"{url}.CHECKSUM", name)
        if found == wanted:
            return _only_member(data, f"{name.removesuffix('.zip')}.csv", url, largest)
    raise SourceError(
        f"{url}: its sha256 is {found}, its .CHECKSUM says {wanted}, twice. Nothing of it was stored; the next run asks again."
    )


def _expected(client: Client, url: str, name: str) -> str:
    body = client.download(url)
    match = _CHECKSUM.fullmatch((body or b"").decode("ascii", errors="replace"))
    if match is None or match[2] != name:
        came = "nothing" if body is None else repr(body[:100])
        raise SourceError(
            f"{url}: {came} came, expected a sha256 and {name}. Nothing was stored; the next run asks again."
        )
    return match[1].lower()


def _only_member(data: bytes, name: str, url: str, largest: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if [member.filename for member in members] != [name] or members[0].flag_bits & _ENCRYPTED:
                listed = ", ".join(repr(member.filename) for member in members[:5]) or "nothing"
                raise SourceError(f"{url}: holds {listed}, expected {name} alone. Nothing of it was stored.")
            with archive.open(members[0]) as stream:
                # The directory's size may lie, so the reading itself is bounded.
                text = stream.read(largest + 1)
    # zipfile raises NotImplementedError for a compression it doesn't know, RuntimeError for a password it wants.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        raise SourceError(f"{url}: isn't a whole zip file ({error}). Nothing of it was stored.") from None
    if len(text) > largest:
        raise SourceError(f"{url}: unpacks to more than {largest} bytes, a zip bomb perhaps. Nothing of it was stored.")
    return text
