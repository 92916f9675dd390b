"""WebSocket: Python's websockets and aiohttp against our servers, and our client against theirs."""

import asyncio
import logging

import aiohttp
import websockets
from aiohttp import WSMsgType, web
from suite import BYTES, MEBIBYTE, TEXTS, Served, example, main, noise, run, test
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

LARGE = ["ü" * (MEBIBYTE // 2), noise(MEBIBYTE)]
CLOSES = [(1000, "bye"), (1011, "ä" * 61), (3000, "x"), (4999, "")]


async def suite():
    async with Served("echo") as host:
        for path in ("/ws", "/rt"):
            url = f"ws://{host}{path}"
            await test(f"websockets {path}: text and binary, bit for bit", echoes, url)
            await test(f"websockets {path}: fragments", fragments, url)
            await test(f"websockets {path}: ping from the client", ping, url)
            await test(f"websockets {path}: compression is declined", no_compression, url)
            await test(f"websockets {path}: no subprotocol is agreed upon", no_subprotocol, url)
            for code, reason in CLOSES:
                name = f"websockets {path}: close {code} from the client is confirmed"
                await test(name, close, url, code, reason)
            await test(f"aiohttp {path}: text and binary, bit for bit", aiohttp_echoes, url)
            await test(f"aiohttp {path}: ping, and a close that is confirmed", aiohttp_ping, url)
    await test("our client against a server of websockets", foreign_websockets)
    await test("our client against a server of aiohttp", foreign_aiohttp)


def client(url, **options):
    return connect(url, proxy=None, max_size=2 * MEBIBYTE, **options)


async def echoes(url):
    async with client(url) as socket:
        for message in TEXTS + BYTES + LARGE:
            await socket.send(message)
            assert await socket.recv() == message, f"came back different: {message[:40]!r}"
        for number in range(1000):
            await socket.send(str(number))
        for number in range(1000):
            assert await socket.recv() == str(number)


async def fragments(url):
    async with client(url) as socket:
        await socket.send(["", "grün ", "", "und ", "1 €"])
        assert await socket.recv() == "grün und 1 €"
        await socket.send([b"\0", b"", b"\xff" * 70000])
        assert await socket.recv() == b"\0" + b"\xff" * 70000


async def ping(url):
    async with client(url) as socket:
        for payload in (b"", b"x", noise(125)):
            await (await socket.ping(payload))


async def no_compression(url):
    async with client(url, compression="deflate") as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        await socket.send("x" * 5000)
        assert await socket.recv() == "x" * 5000


async def no_subprotocol(url):
    async with client(url, subprotocols=["klingon", "vulcan"]) as socket:
        assert socket.subprotocol is None


async def close(url, code, reason):
    async with client(url) as socket:
        await socket.send("last words")
        assert await socket.recv() == "last words"
        await socket.close(code, reason)
    assert socket.protocol.close_rcvd.code == code


async def aiohttp_echoes(url):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, max_msg_size=2 * MEBIBYTE) as socket:
            for message in TEXTS + BYTES + LARGE:
                if isinstance(message, str):
                    await socket.send_str(message)
                    assert await socket.receive_str() == message
                else:
                    await socket.send_bytes(message)
                    assert await socket.receive_bytes() == message


async def aiohttp_ping(url):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, autoping=False, autoclose=False) as socket:
            await socket.ping(b"payload")
            pong = await socket.receive()
            assert (pong.type, bytes(pong.data)) == (WSMsgType.PONG, b"payload")
            await socket.close(code=4000, message="tschüß".encode())
            assert socket.close_code == 4000


# --- The commands of the client, see crates/switchback-ws/examples/foreign_server_client.rs. ---


async def foreign_websockets():
    closes = []

    async def handle(socket):
        try:
            async for message in socket:
                await obey(socket, message)
        except websockets.ConnectionClosedError:
            pass
        finally:
            closes.append((socket.close_code, socket.close_reason))

    async def obey(socket, message):
        match message:
            case "fragments":
                await socket.send(between_fragments(socket))
            case "ping":
                await (await socket.ping("are you there?"))
                await socket.send("pong")
            case "await ping":
                await pings.seen.wait()
                await socket.send("pinged")
            case "close 4002 see you":
                await socket.close(4002, "see you")
            case "drop":
                socket.transport.abort()
            case _:
                await socket.send(message)

    async def between_fragments(socket):
        yield "one "
        await socket.ping()
        yield "two "
        yield "three"

    def choose(_, offered):
        return "echo" if "echo" in offered else None

    # Received pings are to be seen in the log alone.
    pings = Pings()
    logger = logging.Logger("server", logging.DEBUG)
    logger.addHandler(pings)
    async with serve(
        handle, "127.0.0.1", 0, select_subprotocol=choose, max_size=2 * MEBIBYTE, logger=logger
    ) as server:
        port = server.sockets[0].getsockname()[1]
        await run_client(port)
        await until_in(closes, (4001, "bye ü"))


class Pings(logging.Handler):
    def __init__(self):
        super().__init__()
        self.seen = asyncio.Event()

    def emit(self, record):
        if record.getMessage().startswith("< PING"):
            self.seen.set()


async def foreign_aiohttp():
    closes = []

    async def handle(request):
        socket = web.WebSocketResponse(protocols=["echo"], autoping=False, max_msg_size=2 * MEBIBYTE)
        await socket.prepare(request)
        pinged = asyncio.Event()
        answers = asyncio.create_task(answer_ping(socket, pinged))
        async for message in socket:
            match message.type, message.data:
                case WSMsgType.TEXT, "fragments":
                    # aiohttp cannot send fragments: this one is not about them.
                    await socket.send_str("one two three")
                case WSMsgType.TEXT, "ping":
                    await socket.ping(b"are you there?")
                case WSMsgType.PONG, data:
                    assert bytes(data) == b"are you there?"
                    await socket.send_str("pong")
                case WSMsgType.TEXT, "await ping":
                    wanted.set()
                case WSMsgType.PING, data:
                    await socket.pong(data)
                    pinged.set()
                case WSMsgType.TEXT, "close 4002 see you":
                    await socket.close(code=4002, message=b"see you")
                case WSMsgType.TEXT, "drop":
                    request.transport.abort()
                case WSMsgType.TEXT, text:
                    await socket.send_str(text)
                case WSMsgType.BINARY, data:
                    await socket.send_bytes(data)
        answers.cancel()
        closes.append(socket.close_code)
        return socket

    async def answer_ping(socket, pinged):
        await wanted.wait()
        await pinged.wait()
        await socket.send_str("pinged")

    wanted = asyncio.Event()
    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await run_client(runner.addresses[0][1])
        await until_in(closes, 4001)
    finally:
        await runner.cleanup()


async def run_client(port):
    url = f"ws://127.0.0.1:{port}/"
    code, output = await run(example("foreign_server_client"), "--url", url)
    assert code == 0, output


async def until_in(items, item):
    """The server's handler ends a moment after the client."""
    async with asyncio.timeout(5):
        while item not in items:
            await asyncio.sleep(0.01)


main(suite)
