"""What scripts and manifests for clusters have in common: their ranks can train, and their texts say what is meant."""

from collections.abc import Sequence
from pathlib import Path

from distprop.errors import UsageError
from distprop.launch.hosts import Place
from distprop.launch.start import complete


def check_ranks(config: Path, overrides: Sequence[str], ranks: int) -> None:
    """ConfigError for a configuration that is wrong, UsageError for more ranks than it has shards for."""
    from distprop.config import load_config, resolve

    complete(Place(ranks), resolve(load_config(config, overrides), config.parent))


def plain_text(text: str, command: str) -> str:
    """The same text if it can be written as UTF-8; UsageError if a name in it can't."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n")
        raise UsageError(f"{command}: {text.splitlines()[line]!a}: a name that is not UTF-8; rename the file") from None
    return text
