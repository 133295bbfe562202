"""Completing, writing and digesting configurations."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprop.config import check, config_digest, load_config, resolve, write_config
from distprop.config.data import Arrays, Columns, Data
from distprop.config.defaults import default_shards
from distprop.config.layers import Activation, Add, Dense, Dropout
from distprop.config.losses import Huber, MeanSquaredError, SoftmaxCrossEntropy
from distprop.config.optimizers import SGD, AdamW
from distprop.config.run import Checkpoint, Config, EarlyStopping, Launch, Network, Training
from distprop.config.schedules import Plateau
from distprop.errors import ConfigError

SMALL = Config(
    data=Data(train="a.csv"),
    network=Network(layers=(Dense(5, "relu"), Dense(3)), loss=SoftmaxCrossEntropy()),
)

RICH = Config(
    data=Data(
        train=Arrays("x.npy", "y-idx1-ubyte", "../w.npy"),
        validation=Arrays("/data/vx.npy", "vy.npy"),
        target_kind="classes",
        missing=-1.5,
        missing_markers=("?", 'quote"\n\\', "é\u2028"),
        delimiter="\t",
    ),
    network=Network(
        layers=(
            Dense(7, "tanh", initializer=0.1, bias=False, name="first"),
            Dense(7, bias_initializer=1e-300),
            Activation("gelu"),
            Dropout(0.1),
            Add(("first", "dropout_1"), name="sum"),
            Dense(4, name="last"),
        ),
        loss=Huber(delta=0.3, class_weights=(1.0, 2.0, 1 / 3, 5e-324)),
    ),
    optimizer=AdamW(learning_rate=0.1 + 0.2, clip_norm=1e17, weight_decay=0.0),
    schedule=Plateau(patience=0, warmup=0.5),
    training=Training(steps=77, shards=7, batch_size=9, early_stopping=EarlyStopping(patience=2)),
    checkpoint=Checkpoint(every_steps=5),
    launch=Launch(hostfile="hosts"),
    seed=2**63 - 1,
    dtype="float64",
)


def test_every_default_is_written_out() -> None:
    resolved = resolve(SMALL, Path("/base"))
    assert resolved.data.train == "/base/a.csv"
    assert resolved.data.target_kind == "classes"
    assert resolved.training == replace(SMALL.training, epochs=10, shards=16, monitor="loss")
    assert resolved.network.layers == (
        Dense(5, "relu", initializer="he_uniform", name="dense_1", inputs=("input",)),
        Dense(3, initializer="glorot_uniform", name="dense_2", inputs=("dense_1",)),
    )


def test_what_is_given_stays_as_it_is() -> None:
    resolved = resolve(RICH, Path("/base"))
    assert resolved.data.train == Arrays("/base/x.npy", "/base/y-idx1-ubyte", "/w.npy")
    assert resolved.data.validation == Arrays("/data/vx.npy", "/base/vy.npy")
    assert resolved.training == replace(RICH.training, monitor="validation_loss")
    assert resolved.launch.hostfile == "/base/hosts"
    assert [layer.name for layer in resolved.network.layers] == [
        "first", "dense_2", "activation_1", "dropout_1", "sum", "last",
    ]  # fmt: skip
    for name in ("optimizer", "schedule", "checkpoint", "seed", "dtype"):
        assert getattr(resolved, name) == getattr(RICH, name)


def test_a_dense_layer_is_initialised_for_an_activation_that_is_a_layer_of_its_own() -> None:
    resolved = resolve(RICH, Path("/base"))
    assert [layer.initializer for layer in resolved.network.layers if isinstance(layer, Dense)] == [
        0.1, "he_uniform", "glorot_uniform",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [SMALL, RICH])
def test_a_written_configuration_is_read_back_equal_and_resolved(tmp_path: Path, config: Config) -> None:
    resolved = resolve(config, tmp_path)
    write_config(resolved, tmp_path / "config.toml")
    again = load_config(tmp_path / "config.toml", check_files=False)
    assert again == resolved == resolve(again, Path("/elsewhere"))
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@settings(max_examples=60)
@given(
    st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    st.integers(1, 2**70).filter(lambda n: n < 2**63),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
def test_any_number_and_text_survives_the_file(tmp_path_factory, rate: float, epochs: int, text: str) -> None:
    columns = Columns(target=f"t{text}", features=(text,))
    config = replace(
        SMALL, optimizer=SGD(rate), training=Training(epochs=epochs), data=replace(SMALL.data, columns=columns)
    )
    path = tmp_path_factory.getbasetemp() / "any.toml"
    write_config(config, path)
    assert load_config(path, check_files=False) == config


@pytest.mark.parametrize(
    ("batch_size", "shards"),
    [(1, 1), (8, 1), (15, 1), (16, 2), (31, 2), (32, 4), (64, 8), (127, 8), (128, 16), (9999, 16)],
)
def test_a_shard_has_at_least_eight_samples_by_default(batch_size: int, shards: int) -> None:
    assert default_shards(batch_size) == shards


def test_the_digest_sees_what_the_model_depends_on_and_nothing_else() -> None:
    digest = config_digest(SMALL)
    assert len(digest) == 64
    assert config_digest(resolve(SMALL, Path("/anywhere"))) == digest
    for same in (
        replace(SMALL, launch=Launch(ranks=2)),
        replace(SMALL, checkpoint=Checkpoint(keep=7)),
        replace(SMALL, data=Data(train="/other/place.csv")),
        replace(SMALL, training=Training(log_every=1)),
        replace(SMALL, training=Training(epochs=10, shards=16)),
    ):
        assert config_digest(same) == digest
    others = [
        replace(SMALL, seed=1),
        replace(SMALL, dtype="float64"),
        replace(SMALL, optimizer=SGD()),
        replace(SMALL, data=Data(train="a.csv", missing="mean")),
        replace(SMALL, data=Data(train="a.csv", validation="b.csv")),
        replace(SMALL, data=Data(train=Arrays("x.npy", "y.npy"))),
        replace(SMALL, data=Data(train=Arrays("x.npy", "y.npy", "w.npy"))),
        replace(SMALL, training=Training(shards=8)),
        replace(SMALL, training=Training(epochs=9)),
        replace(SMALL, network=Network(SMALL.network.layers, MeanSquaredError())),
        replace(SMALL, schedule=Plateau()),
    ]
    assert len({digest, *map(config_digest, others)}) == 1 + len(others)


def test_the_digest_is_the_same_on_every_machine() -> None:
    # It changes with every new key and default; then old checkpoints no longer fit their configuration.
    assert config_digest(SMALL) == "692ff9c442449a36360a8197e7a631d4ed3cb9abf788435667d8b9d7523dabe9"


def test_rules_hold_for_configurations_that_are_made_in_python() -> None:
    broken = replace(SMALL, training=Training(epochs=3, steps=4))
    with pytest.raises(ConfigError) as caught:
        resolve(broken, Path("/base"))
    assert caught.value.problems == ("training.steps: epochs are given already; drop one of the two",)


def test_overrides_change_values_and_make_tables(tmp_path: Path) -> None:
    write_config(SMALL, tmp_path / "c.toml")
    overrides = [
        "network.layers.0.units=64",
        "optimizer.type=adamw",
        "training.early_stopping.patience=3",
        "dtype=float64",
    ]
    overrides += [
        "data.train=2024-01-31.csv",
        "data.columns.target=['a']",
        "data.columns.weight=2024-01-31",
        "optimizer.learning_rate = 1e-3",
    ]
    config = load_config(tmp_path / "c.toml", overrides, check_files=False)
    assert config.network.layers[0] == Dense(64, "relu")
    assert config.optimizer == AdamW(0.001, weight_decay=0.0)
    assert config.training.early_stopping == EarlyStopping(patience=3)
    assert (config.dtype, config.data.train, config.data.columns.target) == ("float64", "2024-01-31.csv", ("a",))
    assert config.data.columns.weight == "2024-01-31"


def test_the_last_of_several_overrides_counts(tmp_path: Path) -> None:
    write_config(SMALL, tmp_path / "c.toml")
    assert load_config(tmp_path / "c.toml", ["seed=1", "seed=2"], check_files=False).seed == 2
    assert check(tmp_path / "c.toml", ["seed=-1", "seed=-2", "data.train=x.csv"])[0].startswith("--set seed=-2: seed:")


def test_a_field_of_each_table_is_in_the_digest_or_left_out_on_purpose() -> None:
    assert [field.name for field in fields(Config)] == [
        "data", "network", "optimizer", "schedule", "training", "checkpoint", "launch", "seed", "dtype",
    ]  # fmt: skip
