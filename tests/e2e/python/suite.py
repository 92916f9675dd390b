"""A suite of cases, as in lib/suite.mjs: one line for each, and what a case needs."""

import asyncio
import os
import re
import signal
import time
import traceback

CASE_TIMEOUT = 60
ONLY = re.compile(os.environ.get("E2E_ONLY", ""))

failed = False

# What has to pass every transport bit for bit; the same as in lib/payloads.mjs.
TEXTS = [
    "hello", "", "x", " leading and trailing ", "\r", "\n", "a\r\nb\rc\nd\n\n", "\r\n\r\n", "\0",
    "a\0b", "\ufeff", "\ufeffBOM", "event: binary\ndata: x\n\nid: 1", ": comment", "data:no space",
    "\u0001", "\u0001\u0001opened {}", "\u0001ack 1", "ä€😀\U0010ffff\ufffe\u2028\u2029\u0085",
    '{"connection":"x"}', "t5:hello",
]
BYTES = [b"", b"\0", b"\xef\xbb\xbf", b"\xff\xfe\r\n", bytes(range(256))]
MEBIBYTE = 1 << 20


def noise(length):
    """Bytes without a visible pattern, the same in every run."""
    return bytes((i * i // 7 + i) & 0xFF for i in range(length))


async def test(name, body, *args):
    """Runs a case. A failure does not stop the suite."""
    global failed
    if not ONLY.search(name):
        return
    begin = time.monotonic()
    try:
        async with asyncio.timeout(CASE_TIMEOUT):
            await body(*args)
        line = f"ok      {name}"
    except Exception:
        failed = True
        line = f"FAILED  {name}: {traceback.format_exc()}"
    print(f"{line} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)


def example(name):
    """Where cargo has put an example."""
    return os.path.join(os.environ.get("E2E_BIN", "target/release/examples"), name)


class Served:
    """An example that listens, from `async with` until its end."""

    def __init__(self, name):
        self.name = name

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            example(self.name), "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(20):
                line = (await self.process.stdout.readline()).decode()
            self.host = re.search(r"127\.0\.0\.1:\d+", line)[0]
        except BaseException:
            self.process.kill()
            raise
        return self.host

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def run(program, *args):
    """Runs a program to its end; returns its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        program, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, output.decode()


def main(suite):
    """Runs a suite and ends this process."""

    async def run_suite():
        # So that what was started is ended too.
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
        await suite()

    asyncio.run(run_suite())
    raise SystemExit(1 if failed else 0)
