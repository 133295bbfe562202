"""Writes docs/configuration.md and docs/distprop.schema.json from the declarations:

python -m distprop.config.reference docs
"""

import json
import sys
from collections.abc import Iterable, Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any, get_args

from distprop.config import data, layers, losses, optimizers, run, schedules
from distprop.config.descriptions import default_text, description
from distprop.config.json_schema import schema
from distprop.config.kinds import describe, fields_of

_INTRODUCTION = """\
# Configuration

A run is described by one TOML file. Every key is on this page, with what it may be, what it is when it is left out,
and what it means. The page is written from the declarations in `distprop/config/` by
`python -m distprop.config.reference docs`.

- Paths in a file start at the folder of that file.
- `distprop check FILE` names all mistakes at once, as `file:line: field: problem (got X, expected Y)`.
- `--set a.b=c` changes one value for one run: `--set training.epochs=3 --set network.layers.0.units=64`.
  The value is read as TOML, and as text if it is none; elements of lists are counted from 0.
- Unknown keys are errors. Keys of the top table (`seed`, `dtype`) stand before the first `[table]`.
- For completion in an editor (Taplo, Even Better TOML), put `#:schema distprop.schema.json` into the first line;
  the file is beside this page, and `distprop schema` prints it.
- A run directory holds its configuration with every default written out, as `config.toml`.

The smallest configuration:

```toml
[data]
train = "train.csv"

[network]
layers = [{ type = "dense", units = 10 }]
loss = { type = "softmax_cross_entropy" }
```
"""

# Heading of each part of the page, and the declaration, or the module of declarations told apart by `type`.
_TABLES: tuple[tuple[str, Any], ...] = (
    ("Top of the file", run.Config),
    ("[data]", data.Data),
    ("[data.train] and [data.validation] as arrays", data.Arrays),
    ("[data.columns]", data.Columns),
    ("[network]", run.Network),
    ("[[network.layers]]", layers),
    ("[network.loss]", losses),
    ("[optimizer]", optimizers),
    ("[schedule]", schedules),
    ("[training]", run.Training),
    ("[training.early_stopping]", run.EarlyStopping),
    ("[checkpoint]", run.Checkpoint),
    ("[launch]", run.Launch),
)
_KINDS = {layers: layers.Layer, losses: losses.Loss, optimizers: optimizers.Optimizer, schedules: schedules.Schedule}


def reference() -> str:
    """The text of docs/configuration.md."""
    parts = [_INTRODUCTION]
    for heading, subject in _TABLES:
        parts.append(f"## {heading}\n")
        parts += _kinds(subject) if subject in _KINDS else [_text(subject), _table(_rows(subject))]
    return "\n".join(parts)


def _kinds(module: Any) -> Iterator[str]:
    """A table of the keys that all kinds have alike, then the others of each kind."""
    kinds = get_args(get_args(_KINDS[module])[0])
    shared = set.intersection(*(set(_rows(kind)) for kind in kinds))
    yield _text(module)
    if shared:
        yield "### Every type\n"
        yield _table(row for row in _rows(kinds[0]) if row in shared)
    for kind in kinds:
        (word,) = get_args(fields_of(kind)["type"])
        yield f'### type = "{word}"\n'
        yield _text(kind)
        yield _table(row for row in _rows(kind) if row not in shared)


def _text(subject: Any) -> str:
    return f"{getdoc(subject)}\n".replace(", as declarations", "")


def _rows(declaration: type) -> list[str]:
    rows = []
    for key, kind in fields_of(declaration).items():
        if key != "type":
            default = default_text(declaration, key)
            cells = (f"`{key}`", describe(kind), f"`{default}`" if default not in ("", "required") else default)
            rows.append(_row(*cells, description(declaration, key)))
    return rows


def _table(rows: Iterable[str]) -> str:
    lines = list(rows)
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *lines, ""]) if lines else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(folder: Path) -> None:
    (folder / "configuration.md").write_text(reference(), encoding="utf-8")
    (folder / "distprop.schema.json").write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
