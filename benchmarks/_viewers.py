"""Viewers of a page without a browser: each speaks to the app as the browser does, and draws nothing.

Ten real browsers would take both cores and say more about Chromium than about the app. What a viewer costs the
machine that trains is what the server does for it, and the server cannot tell these from browsers: a page is asked
for, its timers are kept (`auto_rerun`), the hashes of large messages are remembered, and every byte is read.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

_SPOKEN = websockets.Subprotocol("streamlit")


@dataclass
class Viewer:
    """One open page.

    Attributes:
        query: of its address, without the question mark.
        page: name of the page in the address.
        bytes: received so far.
        finished: runs of the script that ended, the first one included.
        waited: seconds from every timed request to the end of its run.
    """

    port: int
    query: str
    page: str = "monitor"
    bytes: int = 0
    finished: int = 0
    waited: list[float] = field(default_factory=list)
    _timers: dict[str, float] = field(default_factory=dict)
    _hashes: set[str] = field(default_factory=set)
    _hash: str = ""
    _asked: float = 0.0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self, open_: threading.Event, done: threading.Event) -> None:
        """Keep the page open until `done`; ask for nothing while `open_` is not set."""
        address = f"ws://127.0.0.1:{self.port}/_stcore/stream"
        async with (
            websockets.connect(address, subprotocols=[_SPOKEN], max_size=None) as socket,
            asyncio.TaskGroup() as tasks,
        ):
            reading = tasks.create_task(self._read(socket))
            await self._stay(socket, open_, done)
            reading.cancel()

    async def _stay(self, socket: websockets.ClientConnection, open_: threading.Event, done: threading.Event) -> None:
        await self._ask(socket, "")
        await self._idle.wait()
        while not done.is_set():
            began = time.monotonic()
            for fragment in list(self._timers) if open_.is_set() else ():
                await self._ask(socket, fragment)
                await self._idle.wait()
            await asyncio.sleep(max(0.01, min(self._timers.values(), default=1.0) - (time.monotonic() - began)))

    async def _ask(self, socket: websockets.ClientConnection, fragment: str) -> None:
        said = BackMsg()
        state = said.rerun_script
        state.query_string, state.page_script_hash, state.fragment_id = self.query, self._hash, fragment
        state.page_name = "" if self._hash else self.page
        state.is_auto_rerun = bool(fragment)
        state.cached_message_hashes.extend(self._hashes)
        self._idle.clear()
        self._asked = time.monotonic()
        await socket.send(said.SerializeToString())

    async def _read(self, socket: websockets.ClientConnection) -> None:
        async for raw in socket:
            assert isinstance(raw, bytes)
            self.bytes += len(raw)
            message = ForwardMsg.FromString(raw)
            kind = message.WhichOneof("type")
            if message.metadata.cacheable:
                self._hashes.add(message.hash)
            if kind == "new_session":
                if not message.metadata.run.fragment_ids:
                    self._timers.clear()
            elif kind == "navigation":
                self._hash = message.navigation.page_script_hash
            elif kind == "auto_rerun":
                self._timers[message.auto_rerun.fragment_id] = message.auto_rerun.interval
            elif kind == "stop_auto_rerun":
                for fragment in message.stop_auto_rerun.fragment_ids:
                    self._timers.pop(fragment, None)
            elif kind == "script_finished":
                self.finished += 1
                if self._idle.is_set():
                    continue
                if self.finished > 1:
                    self.waited.append(time.monotonic() - self._asked)
                self._idle.set()


class Crowd:
    """Several viewers of one page in a thread of their own; as a context they leave at its end.

    Args:
        port: of the app.
        query: of the page's address.
        count: how many.
    """

    def __init__(self, port: int, query: str, count: int) -> None:
        self.viewers = [Viewer(port, query) for _ in range(count)]
        self.open, self._done = threading.Event(), threading.Event()
        self.open.set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Crowd:
        self._thread.start()
        deadline = time.monotonic() + 60
        while min(viewer.finished for viewer in self.viewers) < 3:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the app does not answer its viewers")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(20)

    def _run(self) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(viewer.watch(self.open, self._done) for viewer in self.viewers))

        asyncio.run(all_of_them())
