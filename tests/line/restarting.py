"""A backend in a process of its own, to be killed: `python -m tests.line.restarting PORT LEDGER [WAIT]`.

It answers after WAIT seconds, and notes in the ledger every request that it has executed, before it answers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Restarting:
    """One such process after the other, on one port."""

    def __init__(self, port: int, ledger: Path, wait_s: float = 0.0) -> None:
        self.port = port
        self.ledger = ledger
        self._command = [sys.executable, "-m", "tests.line.restarting", str(port), str(ledger), str(wait_s)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def executed(self) -> list[str]:
        """Method and target of every request, in order, over all its lives."""
        return self.ledger.read_text().splitlines()


async def _main(port: int, ledger: str, wait_s: float) -> None:
    file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                await reader.readexactly(length)
                os.write(file, method + b" " + target + b"\n")
                if wait_s:
                    await asyncio.sleep(wait_s)
                said = b"%.6f" % time.monotonic()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
