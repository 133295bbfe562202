"""What scripts and manifests for clusters have in common: their ranks can train, and their texts say what is meant."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distprop.errors import UsageError
from distprop.launch.hosts import Place
from distprop.launch.start import complete

NOT_IN_YAML = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # as they are; JSON doesn't escape them


def check_ranks(config: Path, overrides: Sequence[str], ranks: int) -> None:
    """ConfigError for a configuration that is wrong, UsageError for more ranks than it has shards for."""
    from distprop.config import load_config, resolve

    complete(Place(ranks), resolve(load_config(config, overrides), config.parent))


def path_inside(path: Path) -> Path:
    """The path as containers see it, whose folder /work is the current one; UsageError if it is elsewhere."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        raise UsageError(
            f"{path}: containers see only what is below the current folder; go to a folder around it"
        ) from None


def dns_name(name: str, option: str) -> str:
    """The same name if hosts and containers may have it; UsageError if not."""
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", name):
        raise UsageError(
            f"{name!a} can't name hosts: give {option} of at most 42 characters, only a to z, 0 to 9 and -, "
            "with a letter first and no - last"
        )
    return name


def yaml_text(value: Any, indent: str = "") -> str:
    """Mappings and lists as YAML in its block form; all text in double quotes, so that it can be nothing else."""
    if isinstance(value, Mapping) and value:
        return "".join(f"{indent}{key}:{_below(item, indent)}" for key, item in value.items())
    if isinstance(value, (list, tuple)) and value:
        return "".join(f"{indent}- {yaml_text(item, indent + '  ').lstrip(' ')}" for item in value)
    text = json.dumps(value, ensure_ascii=False)
    return indent + NOT_IN_YAML.sub(lambda found: rf"\u{ord(found[0]):04x}", text) + "\n"


def _below(value: Any, indent: str) -> str:
    nested = isinstance(value, (Mapping, list, tuple)) and value
    return "\n" + yaml_text(value, indent + "  ") if nested else " " + yaml_text(value)


def plain_text(text: str, command: str) -> str:
    """The same text if it can be written as UTF-8; UsageError if a name in it can't."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n")
        raise UsageError(f"{command}: {text.splitlines()[line]!a}: a name that is not UTF-8; rename the file") from None
    return text
