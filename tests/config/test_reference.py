"""The written reference and the JSON Schema are those of the declarations."""

import json
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest

from distprop.config import data as data_declarations
from distprop.config import layers, losses, optimizers, run, schedules
from distprop.config.descriptions import description
from distprop.config.json_schema import schema
from distprop.config.load import load_config
from distprop.config.reference import main, reference
from distprop.config.resolve import resolve, to_toml
from distprop.config.toml import parse

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
MODULES = (data_declarations, layers, losses, optimizers, run, schedules)


SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def declared() -> list[type]:
    """Every public declaration, found without the walk that the reference uses."""
    return [
        value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


@pytest.mark.parametrize("name", ["configuration.md", "distprop.schema.json"])
def test_the_files_in_docs_are_current(tmp_path: Path, name: str) -> None:
    main(tmp_path)
    assert (ROOT / "docs" / name).read_text() == (tmp_path / name).read_text(), (
        "run python -m distprop.config.reference docs"
    )


@pytest.mark.parametrize("declaration", declared())
def test_every_key_is_described_and_in_the_reference(declaration: type) -> None:
    page = reference()
    for item in fields(declaration):  # type: ignore[arg-type]
        assert len(description(declaration, item.name)) > 8, (
            f"{declaration.__name__}.{item.name} needs a docstring below it"
        )
        assert item.name == "type" or f"| `{item.name}` |" in page
        assert item.name != "type" or f'### type = "{item.default}"' in page


def test_the_schema_is_a_valid_schema_of_its_dialect() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert '{"type": "null"}' not in json.dumps(SCHEMA)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_right_and_fit_the_schema(example: Path) -> None:
    VALIDATOR.validate(parse(example.read_text(), example))
    config = resolve(load_config(example, check_files=False), example.parent)
    VALIDATOR.validate(parse(to_toml(config), example))


def test_the_smallest_configuration_of_the_reference_is_right(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(reference().split("```toml\n")[1].split("```")[0])
    (tmp_path / "train.csv").touch()
    load_config(tmp_path / "small.toml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("units = 16", "units = 0"),
        ('"relu"', '"rel"'),
        ("seed", "sead"),
        ('type = "dropout"', ""),
        ("[network.loss]", "[loss]"),
    ],
)
def test_the_schema_refuses_what_reading_refuses(edited, old: str, new: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(parse(edited(old, new), Path("run.toml")))


def test_the_schema_takes_the_sound_configuration(sound: str) -> None:
    VALIDATOR.validate(parse(sound, Path("run.toml")))
