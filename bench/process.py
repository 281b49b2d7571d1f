"""Processes of a benchmark: started as ``python -m bench.<module> <order as JSON>``, spoken to in lines."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
ANSWER_MAX_S = 120.0


class Process:
    """One started process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str, order: Any) -> "Process":
        """Start it; it runs until ``end``."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"bench.{module}", msgspec.json.encode(order).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT, limit=1 << 24,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self) -> bytes:
        """One line in, one line out."""
        if self._process.stdin is None:
            raise RuntimeError("no input")
        self._process.stdin.write(b"\n")
        return await self.line()

    async def line(self) -> bytes:
        """The next line it prints. Raises RuntimeError when it ended instead."""
        if self._process.stdout is None:
            raise RuntimeError("no output")
        async with asyncio.timeout(ANSWER_MAX_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.pid} ended with {await self._process.wait()}")
        return line

    async def end(self) -> None:
        """End its input and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        async with asyncio.timeout(ANSWER_MAX_S):
            await self._process.wait()
