"""One HTTP client for all sources: time-outs, retries with back-off, rate limit, size limit, and errors a person can act on."""

from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import requests
from pydantic import Field
from requests_ratelimiter import Limiter, LimiterAdapter, Rate
from requests_ratelimiter.buckets import HostBucketFactory
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, ResponseError
from urllib3.util.retry import Retry

from carrossel import __version__
from carrossel.bars.sources.web.address import redact
from carrossel.config import Section
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from urllib3.response import BaseHTTPResponse

T = TypeVar("T")

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_CHUNK = 1 << 16
_SHOWN = 200
_OK, _NOT_FOUND = 200, 404
_TOO_MANY = "too many requests, come back after {wait}. Lower http.requests_per_second, or leave it to the next run."
_REFUSED = "refuses this machine. Take another source or a mirror that serves it."
_NOT_ACCEPTED = "the request isn't accepted. Check the source's symbol, start and URL."
_ADVICE = {
    100: _NOT_ACCEPTED,
    200: "there is nothing in it. Check the source's symbol and URL.",
    300: "redirects to {where}, which isn't followed. If you trust it, set the source's URL to it.",
    400: _NOT_ACCEPTED,
    401: _REFUSED,
    403: _REFUSED,
    404: "there is no such thing. Check the source's symbol and URL.",
    418: _TOO_MANY,
    429: _TOO_MANY,
    451: "not served in this region. Take another source, such as bitstamp or coinbase, or set the URL to a mirror that serves it.",
    500: "it fails, tried {tries} times. What is stored stays; the next run asks again.",
}


class Http(Section):
    """How a source asks over the network."""

    requests_per_second: float | None = Field(
        default=None, gt=0, le=1000, description="Of this process to one host, at most; none: what suits the exchange."
    )
    connect_seconds: float = Field(default=5.0, gt=0, le=300, description="Wait for a connection, at most.")
    read_seconds: float = Field(default=10.0, gt=0, le=300, description="Wait for the next bytes, at most.")
    total_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="Length of one download, at most, and time after which none is tried again.",
    )
    retries: int = Field(default=4, ge=0, le=20, description="Tries after the first that fails in a way that may pass.")
    backoff_seconds: float = Field(
        default=0.5,
        ge=0,
        le=60,
        description="Waits before retries: none, then 2, 4, 8 … times this, and by chance up to half of it more.",
    )
    longest_wait_seconds: float = Field(
        default=60.0, ge=0, le=3600, description="Longest Retry-After that is waited for."
    )
    largest_body: int = Field(
        default=64_000_000, ge=1_000, le=1_000_000_000, description="Bytes of an answer, at most."
    )


class Client:
    """GET requests of one source; a context manager.

    Args:
        http: limits.
        rate: requests per second where `http` names none.
        sleep: waits between tries at answers that broke off.
    """

    def __init__(self, http: Http, rate: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._http = http
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"carrossel/{__version__}"
        retry = PatientRetry(
            total=http.retries,
            status_forcelist=_AGAIN,
            backoff_factor=http.backoff_seconds,
            backoff_jitter=http.backoff_seconds / 2,
            raise_on_status=False,
            longest_wait=http.longest_wait_seconds,
        )
        adapter = LimiterAdapter(limiter=_limiter(http.requests_per_second or rate), max_retries=retry, per_host=True)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def json(self, url: str, params: Mapping[str, Any] | None = None) -> Any:
        """What a JSON answer holds.

        Raises:
            SourceError: naming the URL without credentials, what came and what to do.
        """
        value = self._get(url, params, _read_json)
        if value is None:
            raise self._refused(self._shown(url, params), _NOT_FOUND, "", {})
        return value[0]

    def download(self, url: str) -> bytes | None:
        """The bytes of a file; none if there is no such file.

        Raises:
            SourceError: see `json`.
        """
        return self._get(url, None, _read_file)

    def _get(self, url: str, params: Mapping[str, Any] | None, read: Callable[[bytes, str, str], T]) -> T | None:
        """An answer that was read, or none for 404. Answers that break off are asked for again."""
        shown, started, tries = self._shown(url, params), time.monotonic(), 0
        while True:
            tries += 1
            try:
                return self._ask(url, params, read, shown)
            except _BrokenOffError as error:
                if tries > self._http.retries or time.monotonic() - started > self._http.total_seconds:
                    raise SourceError(
                        f"{shown}: {error}, {tries} times. What is stored stays; the next run asks again."
                    ) from None
            if tries > 1:
                self._sleep(self._http.backoff_seconds * 2 ** (tries - 1))

    def _ask(
        self, url: str, params: Mapping[str, Any] | None, read: Callable[[bytes, str, str], T], shown: str
    ) -> T | None:
        try:
            response = self._session.get(
                url,
                params=params,
                timeout=(self._http.connect_seconds, self._http.read_seconds),
                stream=True,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise SourceError(f"{shown}: {self._unreachable(error)}") from None
        with response:
            if response.status_code == _NOT_FOUND:
                return None
            body = self._body(response, shown)
            if response.status_code != _OK:
                text = body[:_SHOWN].decode("utf-8", errors="replace")
                raise self._refused(shown, response.status_code, text, response.headers)
            return read(body, response.headers.get("Content-Type", ""), shown)

    def _body(self, response: requests.Response, shown: str) -> bytes:
        most, started = self._http.largest_body, time.monotonic()
        parts, size = [], 0
        try:
            for part in response.iter_content(_CHUNK):
                size += len(part)
                if size > most:
                    raise SourceError(
                        f"{shown}: the answer is longer than http.largest_body = {most} bytes. If that is right, raise it."
                    )
                if time.monotonic() - started > self._http.total_seconds:
                    raise SourceError(
                        f"{shown}: {size} bytes came in http.total_seconds = {self._http.total_seconds:g}, too slowly. "
                        "What is stored stays; the next run asks again."
                    )
                parts.append(part)
        except (requests.RequestException, HTTPError) as error:
            cause = error.args[0] if error.args else error
            said = cause.args[0] if isinstance(cause, HTTPError) and cause.args else cause
            raise _BrokenOffError(f"the answer broke off ({_reason(said)})") from None
        return b"".join(parts)

    def _unreachable(self, error: requests.RequestException) -> str:
        cause = error.args[0] if error.args else error
        reason = cause.reason if isinstance(cause, MaxRetryError) and cause.reason is not None else cause
        tries = self._http.retries + 1
        if isinstance(error, requests.ConnectTimeout):
            return f"no connection within {self._http.connect_seconds:g} s, {tries} times. Is the network there?"
        if isinstance(error, requests.ReadTimeout) or isinstance(reason, ReadTimeoutError):
            return f"no answer within {self._http.read_seconds:g} s, {tries} times. The next run asks again."
        return (
            f"can't be reached ({_reason(reason)}). Is the network there, and the URL right? The next run asks again."
        )

    def _refused(self, shown: str, status: int, text: str, headers: Mapping[str, str]) -> SourceError:
        said = redact(" ".join(text.split()))
        came = f"{shown}: HTTP {status}" + (f", {said!r}" if said else "")
        advice = _ADVICE.get(status, _ADVICE[status // 100 * 100])
        wait = headers.get("Retry-After", "a while").strip()[:40]
        told = {
            "where": redact(headers.get("Location", "nowhere"))[:_SHOWN],
            "wait": f"{wait} s" if wait.isdigit() else redact(wait),
            "tries": self._http.retries + 1,
        }
        return SourceError(f"{came}: {advice.format(**told)}")

    @staticmethod
    def _shown(url: str, params: Mapping[str, Any] | None) -> str:
        return redact(f"{url}?{urlencode(params)}" if params else url)


class PatientRetry(Retry):
    """urllib3's retries; a Retry-After longer than `longest_wait` seconds ends them instead of being slept away."""

    def __init__(self, *arguments: Any, longest_wait: float, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.longest_wait = longest_wait

    def new(self, **keywords: Any) -> Self:
        return super().new(longest_wait=self.longest_wait, **keywords)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        if response is not None and (self.get_retry_after(response) or 0) > self.longest_wait:
            raise MaxRetryError(_pool, url or "", ResponseError("asks for too long a wait"))
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _BrokenOffError(Exception):
    """An answer that isn't whole: another try may bring the rest."""


@functools.cache
def _limiter(rate: float) -> Limiter:
    """One per process, since exchanges count all its requests."""
    whole = rate >= 1
    per = Rate(round(rate) if whole else 1, 1000 if whole else round(1000 / rate))
    return Limiter(HostBucketFactory([per]), buffer_ms=5)


def _read_json(body: bytes, content_type: str, shown: str) -> tuple[Any]:
    """In a tuple, since null is a value, too."""
    start = body[:_SHOWN].lstrip()
    if "html" in content_type.lower() or start.startswith(b"<"):
        text = redact(" ".join(start.decode("utf-8", errors="replace").split()))
        raise SourceError(
            f"{shown}: an HTML page came instead of JSON, {text!r}: maintenance, a block or a login page. Open the URL in a "
            "browser; what is stored stays."
        )
    try:
        return (json.loads(body),)
    except ValueError as error:
        raise _BrokenOffError(f"the answer of {len(body)} bytes isn't whole JSON ({error})") from None


def _read_file(body: bytes, content_type: str, shown: str) -> bytes:
    if "html" in content_type.lower() or body[:_SHOWN].lstrip().startswith(b"<"):
        raise SourceError(
            f"{shown}: an HTML page came instead of a file: maintenance, a block or a login page. Open the URL in a browser; what "
            "is stored stays."
        )
    return body


def _reason(error: object) -> str:
    return redact(" ".join(str(error).split()))[:_SHOWN] or type(error).__name__
