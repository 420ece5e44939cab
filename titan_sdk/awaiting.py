"""The steps of a SteadyCaller taken by ``await``: no thread is held, whatever is waited for and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from titan_sdk.connection import RpcClient
from titan_sdk.errors import DeadlineExceeded, TitanError
from titan_sdk.messages import Request
from titan_sdk.steady import Send, SendAll, Steps

T = TypeVar("T")


async def take(rpc: RpcClient, steps: Steps[T]) -> T:
    """What the steps come to. Raises what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                answer: Any = None
                if isinstance(step, Send):
                    (answer,) = await _send(rpc, [step.request], step.timeout)
                    if isinstance(answer, TitanError):
                        raise answer
                elif isinstance(step, SendAll):
                    answer = await _send(rpc, step.requests, step.timeout)
                else:
                    await asyncio.sleep(step.seconds)
            except TitanError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def _send(rpc: RpcClient, requests: Sequence[Request[Any]], timeout: float) -> list[Any]:
    """The answers in order, errors among them. Raises DeadlineExceeded, and what there is no connection for."""
    loop = asyncio.get_running_loop()
    if not rpc.connected:
        await loop.run_in_executor(None, rpc.connect)
    futures = []
    for request in requests:
        future = loop.create_future()
        rpc.send(request, partial(_hand_over, loop, future))
        futures.append(future)
    if futures and (await asyncio.wait(futures, timeout=timeout))[1]:
        raise DeadlineExceeded(f"no answer within {timeout:g} s")
    return [future.result() for future in futures]


def _hand_over(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], answer: object) -> None:
    """On the connection's thread: an answer to whom awaits it, if it still does."""

    def settle() -> None:
        if not future.done():
            future.set_result(answer)

    with suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(settle)
