"""``--help`` and ``--version`` of every command, answered without Hydra or torch."""

from collections.abc import Sequence

from bagoftricks.cli.commands import COMMANDS
from bagoftricks.cli.pages import overview, page
from bagoftricks.errors import UserError

HELP = ("-h", "--help", "help")


def information(program: str, arguments: Sequence[str]) -> str | None:
    """Return what --help, --version or the shell's completion asks for, None for a command to carry out."""
    if arguments[:1] == ["--complete"]:
        from bagoftricks.cli.complete import complete

        return complete(program, list(arguments[1:]))
    if "--version" in arguments:
        return version_text(program)
    if {"-sc", "--shell-completion"} & set(arguments):
        raise UserError('completion is not Hydra\'s here: type eval "$(bagoftricks completion bash)", or zsh or fish')
    asked = help_topics(arguments)
    if asked is None:
        return None
    if not asked:
        return page(program) if program in COMMANDS else overview()
    from bagoftricks.cli.extend import extend
    from bagoftricks.cli.topics import topic_text

    extend(arguments)
    return "\n\n".join(topic_text(program, topic) for topic in asked)


def help_topics(arguments: Sequence[str]) -> list[str] | None:
    """Return the topics after --help, None without it. ``help`` is it as the first word alone."""
    for at, argument in enumerate(arguments):
        word, _, topic = argument.partition("=")
        if word in HELP and (word != "help" or (at == 0 and not topic)):
            after = [topic, *_without_extensions(arguments[at + 1 :])]
            return [topic for topic in after if topic and not topic.startswith("-")]
    return None


def _without_extensions(arguments: Sequence[str]) -> list[str]:
    """Return the arguments but for what ``extend`` reads."""
    flags = ("--config-dir", "-cd")
    return [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if before not in flags and not argument.lstrip("+").startswith("plugins=")
    ]


def version_text(program: str) -> str:
    """Return the versions that a report of a fault needs."""
    import platform
    from importlib.metadata import version

    from bagoftricks import __version__

    return f"{program}: bagoftricks {__version__}, torch {version('torch')}, Python {platform.python_version()}"
