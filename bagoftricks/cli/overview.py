"""bagoftricks: the commands, a line each, the scripts that complete them, and the JSON Schema."""

import sys

from bagoftricks.cli.app import run_command
from bagoftricks.cli.commands import COMMANDS
from bagoftricks.cli.pages import overview
from bagoftricks.errors import UserError, did_you_mean


def main(argv: list[str] | None = None) -> int:
    return run_command("bagoftricks", argv, answer)


def answer(arguments: list[str]) -> None:
    """Print the commands, the script that completes them, or the JSON Schema. Raises UserError for other words."""
    if not arguments:
        print(overview())
    elif arguments[0] == "completion":
        from bagoftricks.cli.complete import script

        print(script(" ".join(arguments[1:])))
    elif arguments[0] == "schema":
        if arguments[1:]:
            raise UserError(f"schema takes nothing more: leave out '{arguments[1]}' (all is in one document)")
        from bagoftricks.cli.json_schema import json_schema
        from bagoftricks.escape import for_json

        print(for_json(json_schema()))
    else:
        word = arguments[0]
        if f"bot-{word}" in COMMANDS or word in COMMANDS:
            raise UserError(f"'{word}' is a command of its own: type bot-{word.removeprefix('bot-')}")
        near = did_you_mean(
            word, [*COMMANDS, *(name.removeprefix("bot-") for name in COMMANDS), "completion", "schema", "help"]
        )
        raise UserError(f"'{word}' is no word of bagoftricks{near} (bagoftricks alone lists the commands)")


if __name__ == "__main__":
    sys.exit(main())
