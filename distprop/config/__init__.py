"""Configuration: declarations, and reading, checking, completing and writing them."""

from distprop.config.load import check, load_config
from distprop.config.resolve import config_digest, named_layers, resolve, to_toml, write_config

__all__ = ["check", "config_digest", "load_config", "named_layers", "resolve", "to_toml", "write_config"]
