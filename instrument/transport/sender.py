"""
Send requests: the only module that knows httpx.

One client for the process and all its lanes. Certificates are always verified, redirections never
followed, proxies and certificate authorities taken from the environment, and no request takes
longer than its deadline, whatever the other side does.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from ..exporters._base import Request, Response
from ..guard import guard
from .bounds import Bounds
from .firsts import CLIENT, Firsts
from .steps import Failure

if TYPE_CHECKING:
    import httpx

_GZIP = 31  # zlib's window bits for a gzip frame, which has no time in it: same body, same bytes
_LEAST_SECONDS = 0.001
_MAX_CONNECTIONS = 16

ENDED = Failure("again", "the transport has ended")


_inherited: list[httpx.Client] = []
"""In a forked child, the client of its parent."""


@final
class Sender:
    """
    A client that is made at the first request, in whatever thread that is.

    Args:
        firsts: What a fork waits for.
    """

    def __init__(
        self,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
        firsts: Firsts | None = None,
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._firsts = firsts or Firsts([CLIENT])
        self._client: httpx.Client | None = None
        self._is_closed = False
        self._timer = Timer(clock)
        self._no_gzip: set[str] = set()

    def send(self, request: Request, deadline: float) -> Response | Failure:
        """Send *request* and read its reply, by *deadline* on the monotonic clock."""
        client = self._connected()
        if client is None:
            return ENDED
        import httpx

        self._timer.deadline = deadline
        try:
            with untraced():
                return self._exchange(client, request)
        except httpx.TransportError as error:
            return failure(error)
        except RuntimeError:
            if self._is_closed:  # between two steps of this request
                return ENDED
            raise
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            return Failure("setup", f"{type(error).__name__}: the URL or a header is not valid")

    def close(self) -> None:
        """Close the connections; a request that is under way fails."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            with guard("close connections"):
                client.close()

    def forget(self) -> None:
        """In a forked child: leave the connections to the parent, whose they are."""
        # Closing them here could wait for a lock of a thread that is not here. Python would do so
        # when nobody holds them, with a warning, where warnings are on.
        if self._client is not None:
            _inherited.append(self._client)

    def _exchange(self, client: httpx.Client, request: Request) -> Response:
        origin = request.url.partition("?")[0]
        is_plain = origin in self._no_gzip or len(request.body) <= self._bounds.gzip_bytes
        headers, body = packed(request, is_plain=is_plain)
        response = self._post(client, request, headers, body)
        if response.status == 415 and body is not request.body:
            self._no_gzip.add(origin)
            return self._exchange(client, request)
        return response

    def _post(
        self, client: httpx.Client, request: Request, headers: Mapping[str, str], body: bytes
    ) -> Response:
        with client.stream(request.method, request.url, headers=headers, content=body) as reply:
            head = {name.lower(): value for name, value in reply.headers.items()}
            return Response(reply.status_code, head, self._read(reply))

    def _read(self, reply: httpx.Response) -> bytes:
        most = self._bounds.response_bytes
        data = bytearray()
        for chunk in reply.iter_raw():
            data += chunk
            if len(data) >= most:
                break
        return bytes(data[:most])

    def _connected(self) -> httpx.Client | None:
        with self._firsts.of(CLIENT):
            if self._client is None and not self._is_closed:
                self._client = make_client(self._bounds)
                self._timer.watch(self._client)
                "host".encode("idna")  # loads what the resolution of a name needs
            return self._client


def load() -> None:
    """
    Import httpx here and now, in the thread that begins to trace.

    On a thread of ours it would be half imported for a while, and openai 3, which looks for httpx
    among the loaded modules at every call, would fail on that half.
    """
    with guard("import httpx"):
        import httpx  # noqa: F401 - to have it loaded


def make_client(bounds: Bounds) -> httpx.Client:
    """Make a client that verifies, does not follow, and says who it is."""
    from importlib.metadata import PackageNotFoundError, version

    import httpx

    try:
        agent = f"llm-instrument/{version('llm-instrument')}"
    except PackageNotFoundError:  # run from a checkout that was not installed
        agent = "llm-instrument"
    return httpx.Client(
        verify=httpx.create_ssl_context(),
        trust_env=True,
        follow_redirects=False,
        timeout=httpx.Timeout(
            bounds.transfer_timeout, connect=bounds.connect_timeout, pool=bounds.connect_timeout
        ),
        limits=httpx.Limits(max_connections=_MAX_CONNECTIONS),
        headers={"User-Agent": agent, "Accept": "application/json", "Accept-Encoding": "identity"},
    )


def packed(request: Request, *, is_plain: bool) -> tuple[dict[str, str], bytes]:
    """
    Complete the headers and compress the body: the same for the same request, always.

    An exporter whose backend cannot read gzip says `Content-Encoding: identity` itself.
    """
    headers = {name.title(): value for name, value in request.headers.items()}
    headers.setdefault("Content-Type", "application/json")
    if is_plain or "Content-Encoding" in headers:
        return headers, request.body
    squeeze = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    headers["Content-Encoding"] = "gzip"
    return headers, squeeze.compress(request.body) + squeeze.flush()


def failure(error: Exception) -> Failure:
    """Say what a failed request means: what a person has to put right, or what may pass."""
    name = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure("setup", f"the certificate is not valid: {cause.verify_message}")
        cause = cause.__cause__ or cause.__context__
    if name == "ProxyError" and str(error).startswith("407"):
        return Failure("setup", "the proxy wants a password")
    if name in {"UnsupportedProtocol", "LocalProtocolError"}:
        return Failure("setup", f"{name}: the URL or a header is not valid")
    return Failure("again", name)


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Tell OpenTelemetry, if it is there, to leave what happens in the block alone."""
    otel: Any = sys.modules.get("opentelemetry.context")
    token = None
    if otel is not None:
        with guard("suppress OpenTelemetry"):
            context = otel.get_current()
            for key in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY"):
                context = otel.set_value(getattr(otel, key, key), True, context)
            context = otel.set_value("suppress_instrumentation", True, context)
            token = otel.attach(context)
    try:
        yield
    finally:
        if token is not None:
            with guard("restore OpenTelemetry"):
                otel.detach(token)


@final
class Timer:
    """
    Hold each thread's request to its deadline, byte by byte.

    httpx bounds the wait for the next bytes, not the whole: a reply that drips lasts for ever. So
    each wait on the network is cut to what is left. Only the resolution of a name escapes that;
    the pool abandons a thread that is stuck there.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of_thread = threading.local()

    @property
    def deadline(self) -> float:
        """When this thread's request has to be over."""
        deadline: float = getattr(self._of_thread, "deadline", float("inf"))
        return deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._of_thread.deadline = deadline

    def cut(self, timeout: float | None) -> float:
        """Cut *timeout* to what is left."""
        left = max(_LEAST_SECONDS, self.deadline - self._clock())
        return left if timeout is None else min(timeout, left)

    def watch(self, client: httpx.Client) -> None:
        """
        Put a backend of our own under every connection of *client*.

        There is no public way to do so and keep the proxies of the environment; where the names
        are others, the timeouts of httpx and the pool remain.
        """
        mounts = getattr(client, "_mounts", {})
        for transport in (getattr(client, "_transport", None), *mounts.values()):
            pool = getattr(transport, "_pool", None)
            backend = getattr(pool, "_network_backend", None)
            if pool is not None and backend is not None:
                pool._network_backend = TimedBackend(backend, self)  # noqa: SLF001 - said above


@final
class TimedBackend:
    """A network backend of httpcore whose connections are held to a deadline."""

    def __init__(self, backend: Any, timer: Timer) -> None:
        self._backend = backend
        self._timer = timer

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **options: Any
    ) -> TimedStream:
        """Connect, in what is left of the time."""
        timeout = self._timer.cut(timeout)
        stream = self._backend.connect_tcp(host, port, timeout=timeout, **options)
        return TimedStream(stream, self._timer)

    def sleep(self, seconds: float) -> None:
        """Sleep, in what is left of the time."""
        self._backend.sleep(self._timer.cut(seconds))


@final
class TimedStream:
    """A connection of httpcore whose every wait is cut to what is left of the request's time."""

    def __init__(self, stream: Any, timer: Timer) -> None:
        self._stream = stream
        self._timer = timer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there next."""
        data: bytes = self._stream.read(max_bytes, timeout=self._timer.cut(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of *buffer*."""
        self._stream.write(buffer, timeout=self._timer.cut(timeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> TimedStream:
        """Secure the connection."""
        timeout = self._timer.cut(timeout)
        stream = self._stream.start_tls(
            ssl_context=ssl_context, server_hostname=server_hostname, timeout=timeout
        )
        return TimedStream(stream, self._timer)

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        """Give what httpcore wants to know of it."""
        return self._stream.get_extra_info(info)
