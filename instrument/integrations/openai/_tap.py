"""
The tap on the HTTP edge of the `openai` package.

Four methods of `openai._base_client`'s two clients are wrapped. They are there in every release
since 1.0, and every way to make a chat completion passes through them, also on clients made before:

 - `request` begins and ends a run, and sees the error that the application sees;
 - `_build_request` is called once for each attempt, and its result holds the bytes that go out;
 - `_should_retry` sees the reply of an attempt that failed;
 - `_process_response` sees the reply that counts, read or still to be streamed.

Nothing of `openai` is imported here. Each wrapper calls the original exactly once, unguarded, with
the arguments it was given.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from ...context import restore
from ...guard import guard, notices
from ...patches import Patches, Wrapped
from ...recorder import Recorder
from ._call import Call

MODULE: Final = "openai._base_client"
PATH: Final = "/chat/completions"
POST: Final = frozenset({"post", "POST"})

BYPASSED: Final = (
    "something else has wrapped a client of openai so that its calls pass us by: "
    "call instrument() before that is set up, or before the client is made"
)

# A guard has no state, and making one anew for each call would cost more than using it.
_BEGIN = guard("begin a chat completion")
_ASKED = guard("read a request")
_RETRIED = guard("read the status of an attempt")
_ANSWERED = guard("read a response")
_STREAM = guard("end a stream")
_END = guard("end a chat completion")


class Tap:
    """
    Makers of the wrappers, for one recorder: each takes a method and gives what stands for it.

    The completion whose `request` is on the stack is in a context variable, set and reset in that
    one frame. A request of another kind that is made meanwhile (for a token, say) sets None for its
    own. Each tap has its own variable, so that two of them do not see each other's.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._call: ContextVar[Call | None] = ContextVar("instrument.openai.call", default=None)

    def request(self, wrapped: Wrapped) -> Wrapped:
        """Make the call a run, when it is one for a chat completion."""
        begin, active = self._begin, self._call

        @wraps(wrapped)
        def request(client: Any, /, *args: Any, **kwargs: Any) -> Any:
            around = active.get()
            call = begin(around, args, kwargs)
            if call is around:
                return wrapped(client, *args, **kwargs)
            token = active.set(call)
            try:
                result = wrapped(client, *args, **kwargs)
            except BaseException as error:
                _fail(call, error)
                raise
            finally:
                active.reset(token)  # in the frame, thread and context that set it
            if call is not None:
                try:
                    call.returned()
                except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
                    _END.stop(error)
            return result

        return request

    def arequest(self, wrapped: Wrapped) -> Wrapped:
        """Do what `request` does, for the asynchronous client."""
        begin, active = self._begin, self._call

        @wraps(wrapped)
        async def request(client: Any, /, *args: Any, **kwargs: Any) -> Any:
            around = active.get()
            call = begin(around, args, kwargs)
            if call is around:
                return await wrapped(client, *args, **kwargs)
            token = active.set(call)
            try:
                result = await wrapped(client, *args, **kwargs)
            except BaseException as error:
                _fail(call, error)
                raise
            finally:
                restore(active, token)
            if call is not None:
                with _END:
                    call.returned()
            return result

        return request

    def _begin(self, around: Call | None, args: Any, kwargs: Any) -> Call | None:
        """Begin a call; *around* itself when another layer of the client shows the same one."""
        if not self._recorder.enabled:
            return None
        try:
            options = args[1] if len(args) > 1 else kwargs["options"]
            if is_chat_completion(options):
                same = around is not None and around.is_for(options)
                return around if same else Call(self._recorder, options)
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _BEGIN.stop(error)
        return None

    def build_request(self, wrapped: Wrapped) -> Wrapped:
        """See the bytes of an attempt."""
        recorder, active = self._recorder, self._call

        @wraps(wrapped)
        def build_request(client: Any, /, *args: Any, **kwargs: Any) -> Any:
            request = wrapped(client, *args, **kwargs)
            call = active.get()
            try:
                if call is not None:
                    call.sent(request.url, content_of(request))
                elif recorder.enabled and is_chat_completion(args[0]):
                    notices.say("openai calls that pass us by", BYPASSED)
            except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
                _ASKED.stop(error)
            return request

        return build_request

    def should_retry(self, wrapped: Wrapped) -> Wrapped:
        """See the status of an attempt that failed."""
        active = self._call

        @wraps(wrapped)
        def should_retry(client: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = active.get()
            if call is not None:
                with _RETRIED:
                    call.answered(args[0] if args else kwargs["response"])
            return wrapped(client, *args, **kwargs)

        return should_retry

    def process_response(self, wrapped: Wrapped) -> Wrapped:
        """See the reply: keep a body that has been read, watch one that has not."""
        active = self._call

        @wraps(wrapped)
        def process_response(client: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = active.get()
            if call is not None:
                try:
                    see_response(call, kwargs["response"], asynchronous=False)
                except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
                    _ANSWERED.stop(error)
            return wrapped(client, *args, **kwargs)

        return process_response

    def aprocess_response(self, wrapped: Wrapped) -> Wrapped:
        """Do what `process_response` does, for the asynchronous client."""
        active = self._call

        @wraps(wrapped)
        async def process_response(client: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = active.get()
            if call is not None:
                with _ANSWERED:
                    see_response(call, kwargs["response"], asynchronous=True)
            return await wrapped(client, *args, **kwargs)

        return process_response


def content_of(request: Any) -> bytes:
    """Give the bytes that go out; none where a file or an iterator is still to give them."""
    try:
        body: bytes = request.content
    except RuntimeError:  # what `RequestNotRead` is; to read it here would leave nothing to send
        return b""
    return body


def is_chat_completion(options: Any) -> bool:
    """Say whether these request options are for a chat completion."""
    url: str = options.url
    if not url.endswith(PATH):  # nearly every one does that is one
        url = "/" + url.partition("?")[0]
        if not url.endswith(PATH):
            return False
    return options.method in POST


def see_response(call: Call, response: Any, *, asynchronous: bool) -> None:
    """Note the reply, and hook into its body when that is still to come."""
    call.answered(response)
    if response.is_stream_consumed or response.is_closed:
        call.whole(response.content)
    else:
        watch_stream(call, response, asynchronous=asynchronous)


def watch_stream(call: Call, response: Any, *, asynchronous: bool) -> None:
    """
    Put a tee on the response's own iterator of bytes, and a hook on its closing.

    Both are attributes of this one object, and go away when the run has ended. They hold the
    response (whose stream does so too, in a cycle): a generator that is collected together with it
    still closes it, when weak references are dead already. What the run holds is weak.
    """
    reference = weakref.ref(response)
    # Whoever iterates decoded bytes, text or lines passes through the raw ones; but only when they
    # are not compressed can the raw ones be read here, and so serve those who take them directly.
    raw = response.headers.get("content-encoding", "identity") == "identity"
    tee_name = ("aiter_" if asynchronous else "iter_") + ("raw" if raw else "bytes")
    close_name = "aclose" if asynchronous else "close"
    iterate, close = getattr(response, tee_name), getattr(response, close_name)
    watch: Callable[[Any], Any] = call.awatch if asynchronous else call.watch

    def tee(*args: Any, **kwargs: Any) -> Any:
        return watch(iterate(*args, **kwargs))

    def hooked_close() -> Any:
        with _STREAM:
            call.closed()
        return close()

    def unhook() -> None:
        finalizer.detach()
        held = reference()
        if held is not None:
            held.__dict__.pop(tee_name, None)
            held.__dict__.pop(close_name, None)

    setattr(response, tee_name, tee)
    setattr(response, close_name, hooked_close)
    finalizer = weakref.finalize(response, _collected, call)
    finalizer.atexit = False  # the end of the process is `Recorder.end_streams`
    call.track()
    call.unhook = unhook


def _collected(call: Call) -> None:
    with _STREAM:
        call.collected()


def _fail(call: Call | None, error: BaseException) -> None:
    if call is not None:
        with _END:
            call.fail(error)


def wrappers(tap: Tap) -> list[tuple[str, str, Any]]:
    """List what is wrapped: client class, method, what makes the wrapper."""
    own = {
        "SyncAPIClient": {"request": tap.request, "_process_response": tap.process_response},
        "AsyncAPIClient": {"request": tap.arequest, "_process_response": tap.aprocess_response},
    }
    shared = {"_build_request": tap.build_request, "_should_retry": tap.should_retry}
    return [
        (client, name, make)
        for client, its_own in own.items()
        for name, make in {**its_own, **shared}.items()
    ]


class Patch:
    """What is put on `openai._base_client`."""

    def __init__(self, recorder: Recorder) -> None:
        self._patches = Patches()
        self._wrappers = wrappers(Tap(recorder))

    def install(self) -> Callable[[], None]:
        """Wrap it when it is imported, or now if it is; the result takes that back."""
        self._patches.when_imported(MODULE, self.apply)
        return self.undo

    def undo(self) -> None:
        """Take back what is still ours."""
        self._patches.undo()

    def apply(self, module: Any) -> None:
        """Wrap what this release of `openai` has; say once what it has not."""
        for client, name, make in self._wrappers:
            with guard(f"wrap {client}.{name}"):
                owner = getattr(module, client, None)
                self._wrap(owner, client, name, make)
                for heir in heirs(owner):
                    if name == "request" and name in vars(heir):
                        # Somebody has wrapped it there and may not come by the base class.
                        self._wrap(heir, heir.__name__, name, make)

    def _wrap(self, owner: Any, client: str, name: str, make: Any) -> None:
        if owner is not None and hasattr(owner, name):
            self._patches.put(owner, name, make)
            return
        notices.say(
            f"openai without {client}.{name}",
            "this release of openai has no %s.%s: less is recorded of its calls",
            client,
            name,
        )


def heirs(owner: Any) -> list[Any]:
    """List the classes below *owner*, at whatever depth."""
    found = [] if owner is None else list(owner.__subclasses__())
    return found + [each for heir in found for each in heirs(heir)]


def install(recorder: Recorder) -> Callable[[], None]:
    """Tap `openai` into *recorder*; the result takes it back."""
    return Patch(recorder).install()
