"""Starting and stopping a whole gateway."""

import contextlib
import socket

import pytest

from tests.system.wire import agent_events


@pytest.mark.parametrize("clients", [1, 40])
async def test_a_client_that_only_the_kernel_has_accepted_is_answered_at_a_stop(running, clients):
    requests = [agent_events(1).written() for _ in range(clients)]
    async with running() as gateway:
        with contextlib.ExitStack() as stack:
            # Nothing is awaited here, so the event loop cannot have accepted any of them.
            opened = [
                stack.enter_context(socket.create_connection(gateway.gateway.address))
                for _ in requests
            ]
            for client, request in zip(opened, requests, strict=True):
                client.sendall(request)
            await gateway.gateway.stop()
            answers = [client.recv(4096) for client in opened]

    assert [b"HTTP/1.1 202 Accepted"] * clients == [one.partition(b"\r\n")[0] for one in answers]
