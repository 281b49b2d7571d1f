"""The end of a server's serial console log, asked of its host through the instance."""

from typing import Final

from msgspec import UNSET

from gateway.compute.server.argument import ConsoleArgument
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.agent import ConsoleRead
from protocol.ids import address
from protocol.instance import ReadConsole
from store.server import ServerRow

BYTES_MAX: Final = 102_400
"""Of a log, the last so many bytes are shown. Source: nova's MAX_CONSOLE_BYTES."""
_LINE_BYTES: Final = 256  # asked for per wanted line; longer lines make an answer shorter


async def console_output(request: Request, row: ServerRow, argument: ConsoleArgument) -> Response:
    """``os-getConsoleOutput``: 200 with the text. Raises Problem 404 or 409."""
    length = -1 if argument.length in (UNSET, None) else int(argument.length)
    if length == 0:
        return Response({"output": ""}, status=200)
    services = request.services
    ticket = services.clock.uuid()
    question = ReadConsole(
        by=request.said_by(),
        bytes_max=BYTES_MAX if length < 0 else min(BYTES_MAX, length * _LINE_BYTES),
        reply_to=services.commands.address,
        ticket=ticket,
    )
    answer = await request.command(address("instance", row.id), question, ticket)
    if not isinstance(answer, ConsoleRead):
        raise TypeError(f"the console was answered with {type(answer).__name__}")
    if answer.error:
        raise Problem(404, f"Unable to get console log of {row.id}: {answer.error}")
    return Response({"output": last_lines(answer.text, length)}, status=200)


def last_lines(text: str, length: int) -> str:
    """The last ``length`` lines, the empty one after a final line break among them; negative: all.

    Clients count the parts between line breaks. Source: nova's console output API.
    """
    return text if length < 0 else "\n".join(text.split("\n")[-length:])
