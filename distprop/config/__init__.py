"""Configuration: declarations, and reading, checking, completing and writing them."""

from distprop.config.defaults import default_shards, named_layers
from distprop.config.load import check, load_config, located
from distprop.config.resolve import config_digest, resolve, to_toml, write_config

__all__ = [
    "check",
    "config_digest",
    "default_shards",
    "load_config",
    "located",
    "named_layers",
    "resolve",
    "schema",
    "to_toml",
    "write_config",
]


def schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of a configuration file."""
    from distprop.config.json_schema import schema as made  # imports Pydantic

    return made()
