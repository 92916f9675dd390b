"""Server-Sent Events: aiohttp and httpx-sse against the dashboard and the plain endpoint."""

import asyncio
import base64
import json

import aiohttp
import httpx
from httpx_sse import aconnect_sse
from suite import BYTES, TEXTS, Served, main, noise, test

BATCH = {"Content-Type": "application/x-switchback-batch"}
MESSAGES = TEXTS + BYTES + [noise(100_000)]


async def suite():
    async with Served("echo") as host:
        url = f"http://{host}/rt"
        await test("httpx-sse /rt: POSTs come back as events, bit for bit", httpx_echo, url)
        await test("aiohttp /rt: POSTs come back as events, bit for bit", aiohttp_echo, url)
    async with Served("dashboard") as host:
        url = f"http://{host}/events"
        await test("httpx-sse dashboard: named events with ids and retry", dashboard, url)
        await test("aiohttp dashboard: Last-Event-ID", last_event_id, url)


async def httpx_echo(url):
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        async with aconnect_sse(client, "GET", url, params={"transport": "sse"}) as source:
            events = source.aiter_sse()

            async def post(connection, first, body):
                headers = BATCH | {"Switchback-Connection": connection}
                params = {"transport": "sse", "first": first}
                answer = await client.post(url, params=params, headers=headers, content=body)
                return answer.json()["received"]

            async def next_event():
                event = await anext(events)
                return event.event, event.data

            await echo(next_event, post)


async def aiohttp_echo(url):
    async with aiohttp.ClientSession() as session:
        # An Accept header alone says that it is an event stream.
        async with session.get(url, headers={"Accept": "text/event-stream"}) as stream:
            check_head(stream)
            lines = Lines(stream)

            async def post(connection, first, body):
                headers = BATCH | {"Switchback-Connection": connection}
                params = {"transport": "sse", "first": str(first)}
                async with session.post(url, params=params, headers=headers, data=body) as answer:
                    return (await answer.json())["received"]

            async def next_event():
                event = await lines.event()
                return event.get("event", "message"), event["data"]

            await echo(next_event, post)


async def echo(next_event, post):
    """Sends all payloads in one batch and again one by one, and reads them back."""
    name, data = await next_event()
    assert name == "switchback"
    connection = json.loads(data)["connection"]

    assert await post(connection, 1, b"".join(map(record, MESSAGES))) == len(MESSAGES)
    for message in MESSAGES:
        check(await next_event(), message)
    for number, message in enumerate(MESSAGES, start=len(MESSAGES) + 1):
        assert await post(connection, number, record(message)) == number
        # Whoever misses the answer sends it again: nothing comes twice.
        assert await post(connection, number, record(message)) == number
        check(await next_event(), message)


def record(message):
    kind, payload = (b"b", message) if isinstance(message, bytes) else (b"t", message.encode())
    return kind + str(len(payload)).encode() + b":" + payload


def check(event, message):
    name, data = event
    if isinstance(message, bytes):
        assert (name, base64.b64decode(data, validate=True)) == ("binary", message), event
    elif "\r" in message:
        assert (name, base64.b64decode(data, validate=True)) == ("text", message.encode()), event
    else:
        assert (name, data) == ("message", message), event


async def dashboard(url):
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        async with aconnect_sse(client, "GET", url) as source:
            events = source.aiter_sse()
            samples = [await anext(events) for _ in range(3)]
    numbers = [int(sample.id) for sample in samples]
    assert numbers == sorted(set(numbers)), numbers
    for sample in samples:
        assert (sample.event, sample.retry) == ("sample", 1000)
        assert 0 <= json.loads(sample.data)["memory"] <= 1


async def last_event_id(url):
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as stream:
            check_head(stream)
            seen = (await Lines(stream).event())["id"]
        async with session.get(url, headers={"Last-Event-ID": seen}) as stream:
            assert int((await Lines(stream).event())["id"]) > int(seen)


def check_head(stream):
    assert stream.status == 200
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert "no-cache" in stream.headers["Cache-Control"]
    assert stream.headers["X-Accel-Buffering"] == "no"


class Lines:
    """A parser for streams whose lines end in LF, as ours do; on purpose no simpler or better."""

    def __init__(self, stream):
        self.stream = stream
        self.rest = b""

    async def line(self):
        async with asyncio.timeout(20):
            while b"\n" not in self.rest:
                chunk = await self.stream.content.readany()
                assert chunk, "the stream has ended"
                self.rest += chunk
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    async def event(self):
        event = {}
        while (line := await self.line()) or "data" not in event:
            field, _, value = line.partition(": ")
            if field == "data" and "data" in event:
                event["data"] += "\n" + value
            elif field:
                event[field] = value
        return event


main(suite)
