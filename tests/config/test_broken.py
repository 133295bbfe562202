"""Broken configurations: each mistake is one line with its place."""
# ruff: noqa: E501 (an expected line stays whole)

from collections.abc import Callable
from pathlib import Path

import pytest

Problems = Callable[..., list[str]]
Edit = Callable[[str, str], str]

FUNCTIONS = '"identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu" or "silu"'
LAYERS = '"dense", "activation", "dropout", "flatten", "standardise", "add" or "concatenate"'
TABLES = "checkpoint, data, dtype, launch, network, optimizer, schedule, seed, training"
MOMENTUM = "clip_norm, clip_value, l1, l2, learning_rate, momentum, type, weight_decay"
TRAINING = "accumulate, batch_size, early_stopping, epochs, exchange, log_every, monitor, shards, shuffle, steps, timeline, top_k"

# What is replaced in the sound configuration, by what, and the lines that must be reported, without the file's name.
VALUES = [
    ("epochs = 4", "epochs = 0", "33: training.epochs: out of range (got 0, expected an integer >= 1)"),
    ("epochs = 4", "epochs = -3", "33: training.epochs: out of range (got -3, expected an integer >= 1)"),
    ("epochs = 4", "epochs = 4.0", "33: training.epochs: wrong type (got 4.0, expected an integer >= 1)"),
    ("epochs = 4", 'epochs = "4"', '33: training.epochs: wrong type (got "4", expected an integer >= 1)'),
    ("epochs = 4", "epochs = true", "33: training.epochs: wrong type (got true, expected an integer >= 1)"),
    ("epochs = 4", "epochs = []", "33: training.epochs: wrong type (got [], expected an integer >= 1)"),
    ("epochs = 4", "epochs = {}", "33: training.epochs: wrong type (got a table, expected an integer >= 1)"),
    (
        "epochs = 4",
        "epochs = 1979-05-27",
        "33: training.epochs: dates and times have no use here (got 1979-05-27, expected text in quotes or another value)",
    ),
    (
        "epochs = 4",
        "epochs = 99999999999999999999",
        "33: training.epochs: out of range (got 99999999999999999999, expected an integer of at most 64 bits)",
    ),
    ("seed = 3", "seed = -1", "1: seed: out of range (got -1, expected an integer >= 0 and < 2^63)"),
    (
        "seed = 3",
        "seed = 9223372036854775808",
        "1: seed: out of range (got 9223372036854775808, expected an integer >= 0 and < 2^63)",
    ),
    (
        '"float64"',
        '"float16"',
        '2: dtype: unknown value; did you mean "float64"? (got "float16", expected "float32" or "float64")',
    ),
    ('"float64"', "64", '2: dtype: unknown value (got 64, expected "float32" or "float64")'),
    ("rate = 0.5", "rate = nan", "16: network.layers.1.rate: not finite (got nan, expected a number >= 0 and < 1)"),
    ("rate = 0.5", "rate = 1", "16: network.layers.1.rate: out of range (got 1, expected a number >= 0 and < 1)"),
    ("rate = 0.5", "rate = -inf", "16: network.layers.1.rate: not finite (got -inf, expected a number >= 0 and < 1)"),
    ("rate = 0.5", "", "14: network.layers.1.rate: missing (expected a number >= 0 and < 1)"),
    ("= 0.1", "= 0", "27: optimizer.learning_rate: out of range (got 0, expected a number > 0)"),
    ("= 0.1", "= 1e400", "27: optimizer.learning_rate: not finite (got inf, expected a number > 0)"),
    (
        '"relu"',
        '"rellu"',
        f'12: network.layers.0.activation: unknown value; did you mean "relu"? (got "rellu", expected {FUNCTIONS})',
    ),
    ('"relu"', '"softmax"', f'12: network.layers.0.activation: unknown value (got "softmax", expected {FUNCTIONS})'),
    (
        '"dropout"',
        '"Drop_out"',
        f'15: network.layers.1.type: unknown value; did you mean "dropout"? (got "Drop_out", expected {LAYERS})',
    ),
    ('type = "dropout"', "", f"14: network.layers.1.type: missing (expected {LAYERS})"),
    ('type = "dropout"', "type = 7", f"15: network.layers.1.type: unknown value (got 7, expected {LAYERS})"),
    ("units = 16", "", "9: network.layers.0.units: missing (expected an integer >= 1)"),
    (
        "units = 16",
        "units = 16\ninitializer = true",
        '12: network.layers.0.initializer: wrong type (got true, expected "glorot_uniform", "glorot_normal", '
        '"he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "zeros" or a number)',
    ),
    ("units = 16", "units = 16\nbias = 1", "12: network.layers.0.bias: wrong type (got 1, expected true or false)"),
    ("units = 16", "units = 16\ninputs = [1, 2]",
     "12: network.layers.0.inputs.0: wrong type (got 1, expected text)",
     "12: network.layers.0.inputs.1: wrong type (got 2, expected text)"),
    ('train = "train.csv"', "", "4: data.train: missing (expected text or a table)"),
    ('"train.csv"', "17", "5: data.train: wrong type (got 17, expected text or a table)"),
    ('"train.csv"', '{ features = "x.npy" }', "5: data.train.targets: missing (expected text)"),
    ('"train.csv"', '{ features = "x.npy", targets = 3 }', "5: data.train.targets: wrong type (got 3, expected text)"),
    ('columns = { target = "species" }', "columns = { target = [] }",
     "7: data.columns.target: too few elements (got [], expected text or a list of one or more texts)"),
    ('columns = { target = "species" }', 'delimiter = ";;"',
     '7: data.delimiter: wrong length (got ";;", expected one character)'),
    ('columns = { target = "species" }', 'missing = "mode"',
     '7: data.missing: unknown value (got "mode", expected "error", "mean" or a number)'),
    ("[network.loss]", "[network.loss]\nclass_weights = [1, 0, 2]",
     "23: network.loss.class_weights.1: out of range (got 0, expected a number > 0)"),
    ("[network.loss]", "[network.loss]\nclass_weights = [\n  1,\n  2, # two\n  nan,\n]",
     "26: network.loss.class_weights.2: not finite (got nan, expected a number > 0)"),
    ("[network.loss]", '[network.loss]\nclass_weights = "balance"',
     '23: network.loss.class_weights: unknown value; did you mean "balanced"? '
     '(got "balance", expected "balanced" or a list of numbers > 0)'),
    ("[launch]", "[launch]\nhosts = 3", "37: launch.hosts: wrong type (got 3, expected text)"),
    ("[training]", "[training]\nearly_stopping = true", "33: training.early_stopping: wrong type (got true, expected a table)"),
    ("[training]", "[training]\nearly_stopping.patience = 0",
     "33: training.early_stopping.patience: out of range (got 0, expected an integer >= 1)"),
    ("[training]", "[training]\nshuffle = [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]",
     "33: training.shuffle.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0: nested too deeply (expected at most 20 levels)"),
]  # fmt: skip

KEYS = [
    ("epochs = 4", "epoch = 4",
     f'33: training.epoch: unknown key; did you mean "epochs"? (got "epoch", expected one of {TRAINING})'),
    ("epochs = 4", "learning_rate = 4",
     f'33: training.learning_rate: unknown key; it belongs to [optimizer] (got "learning_rate", expected one of {TRAINING})'),
    ("ranks = 2", "dtype = 2",
     '37: launch.dtype: unknown key; "dtype" goes to the top of the file, before the first [table] '
     '(got "dtype", expected one of hostfile, hosts, ranks)'),
    ("learning_rate = 0.1", "beta1 = 0.9", f'27: optimizer.beta1: unknown key (got "beta1", expected one of {MOMENTUM})'),
    ("learning_rate = 0.1", '"mömentum\\n" = 0.9',
     f'27: optimizer."mömentum\\n": unknown key; did you mean "momentum"? (got "mömentum\\n", expected one of {MOMENTUM})'),
    ("[launch]", "[lunch]", f'36: lunch: unknown key; did you mean "launch"? (got "lunch", expected one of {TABLES})'),
    ("seed = 3", "seed = 3\nfoo.bar = 3", f'2: foo: unknown key (got "foo", expected one of {TABLES})'),
    ("[launch]", "[[launch]]", "36: launch: wrong type (got [a table], expected a table)"),
    ("[network.loss]", "[network.los]",
     "9: network.loss: missing (expected a table)",
     '22: network.los: unknown key; did you mean "loss"? (got "los", expected one of layers, loss)'),
]  # fmt: skip

RULES = [
    ("epochs = 4", "epochs = 4\nsteps = 9", "34: training.steps: epochs are given already; drop one of the two"),
    ("batch_size = 20", "batch_size = 5\nshards = 8",
     "35: training.shards: more shards than samples (got 8, expected at most the batch_size, 5)"),
    ("ranks = 2", "ranks = 3",
     "37: launch.ranks: more ranks than shards "
     "(got 3, expected at most 2, the shards of a minibatch; raise shards under [training] for more)"),
    ("ranks = 2", 'hosts = "a:2"\nhostfile = "train.csv"', "38: launch.hostfile: hosts are given already; drop one of the two"),
    ("ranks = 2", 'hostfile = "nowhere"',
     '37: launch.hostfile: no such file (got "nowhere", expected a file with a host on each line)'),
    ("ranks = 2", 'hosts = "a:2,b:"',
     '37: launch.hosts: not a list of hosts (got "a:2,b:", expected name:ranks, with commas between, as a:2,b:2)'),
    ("ranks = 2", 'hosts = "-x"',
     '37: launch.hosts: not a list of hosts (got "-x", expected name:ranks, with commas between, as a:2,b:2)'),
    ("ranks = 2", 'hosts = "[::1]:2,b,[::1]"',
     '37: launch.hosts: [::1] is there twice (got "[::1]:2,b,[::1]", expected each host once)'),
    ("ranks = 2", 'hosts = "a:2,a:2"', '37: launch.hosts: a is there twice (got "a:2,a:2", expected each host once)'),
    ('"cosine"', '"cosine"\nwarmup = 4.5',
     "31: schedule.warmup: longer than the training (got 4.5, expected at most the epochs, 4)"),
    ("validation_fraction = 0.25", 'validation_fraction = 0.25\nvalidation = "train.csv"',
     "6: data.validation_fraction: validation data are given already; drop this key or validation"),
    ("validation_fraction = 0.25", "stratify = true",
     "6: data.stratify: nothing is split (expected a validation_fraction > 0 with it)"),
    ("validation_fraction = 0.25", 'target_kind = "values"',
     '6: data.target_kind: doesn\'t fit the loss "softmax_cross_entropy" (got "values", expected "classes")'),
    ('"train.csv"', '"other.csv"', '5: data.train: no such file (got "other.csv", expected a path from the folder {folder})'),
    ('"train.csv"', '"folder.csv"', '5: data.train: is a folder (got "folder.csv", expected a file)'),
    ('"train.csv"', '"train.xls"',
     '5: data.train: unknown kind of file (got "train.xls", expected one of .csv, .csv.gz, .tsv, .parquet, .npz; '
     "or a table with features and targets)"),
    ('"train.csv"', '"a\\u0000.csv"',
     '5: data.train: no such file (got "a\\x00.csv", expected a path from the folder {folder})'),
    ('{ target = "species" }', '{ target = "a", weight = "a" }',
     '7: data.columns.weight: is the target (got "a", expected another column)'),
    ('{ target = "species" }', '{ target = "a", features = ["b", "a", "b"] }',
     '7: data.columns.features: is there twice (got "b", expected each column once)',
     '7: data.columns.features: the target can\'t be a feature (got "a", expected other columns)'),
    ('{ target = "species" }', '{ target = ["a", "b"] }',
     '7: data.columns.target: class labels are one column (got ["a", "b"], expected one name)'),
    ('{ target = "species" }', '{ features = ["a"], categorical = ["b"] }',
     '7: data.columns.categorical: is none of the features (got "b", expected names that features has)'),
    ("units = 16", 'units = 16\nname = "x/y"',
     '12: network.layers.0.name: not a name (got "x/y", expected printable text without / and without blanks around it)'),
    ("units = 16", 'units = 16\nname = "input"',
     '12: network.layers.0.name: "input" is the network\'s own input (expected another name)'),
    ("units = 16", 'units = 16\nname = "dense_2"',
     '19: network.layers.2.name: layer 0 has this name (got "dense_2", expected another name)'),
    ("units = 16", 'units = 16\ninputs = ["dense_2"]',
     '12: network.layers.0.inputs: a layer can only read layers before it (got "dense_2", expected one of input)'),
    ("units = 16", 'units = 16\ninputs = ["dense_1"]',
     '12: network.layers.0.inputs: a layer can only read layers before it (got "dense_1", expected one of input)'),
    ("rate = 0.5", 'rate = 0.5\ninputs = ["dense"]',
     '9: network.layers.0: no layer reads the output of "dense_1" (only the last may be unread)',
     '17: network.layers.1.inputs: no such layer; did you mean "dense_1"? (got "dense", expected one of input, dense_1)'),
    ("rate = 0.5", 'rate = 0.5\ninputs = ["dense_1", "input"]',
     '17: network.layers.1.inputs: too many inputs (got ["dense_1", "input"], '
     'expected one name; put an "add" or "concatenate" layer before it)'),
    ('"dropout"\nrate = 0.5', '"add"\ninputs = ["dense_1"]',
     '16: network.layers.1.inputs: too few inputs (got ["dense_1"], expected at least 2 names of layers)'),
    ("units = 3", 'units = 3\ninputs = ["input"]',
     '14: network.layers.1: no layer reads the output of "dropout_1" (only the last may be unread)',),
    ("units = 3", "units = 1",
     "20: network.layers.2.units: one output leaves nothing to choose "
     '(got 1, expected a unit for each class, or the loss "binary_cross_entropy")'),
    ("[network.loss]", "[network.loss]\nclass_weights = [1.0, 2]",
     "23: network.loss.class_weights: not one weight for each class "
     "(got [1.0, 2.0], expected 3 numbers, as many as the last layer has units)"),
    ('"softmax_cross_entropy"', '"huber"\nclass_weights = "balanced"',
     '24: network.loss.class_weights: needs classes (got targets that are values, '
     'expected target_kind = "classes" under [data])'),
    ("epochs = 4", 'epochs = 0\nshards = 21',
     "33: training.epochs: out of range (got 0, expected an integer >= 1)"),
    ("validation_fraction = 0.25", "delimiter = '\"'",
     '6: data.delimiter: can\'t separate columns (got """, expected an ASCII character, not a quote)'),
]  # fmt: skip

SYNTAX = [
    ("epochs = 4", "epochs 4", "33: not valid TOML: "),
    ("epochs = 4", "epochs =", "33: not valid TOML: "),
    ("epochs = 4", "epochs = 4\nepochs = 5", "34: not valid TOML: "),
    ("epochs = 4", "epochs = 04", "33: not valid TOML: "),
    ("epochs = 4", 'epochs = "4', "33: not valid TOML: "),
    ("epochs = 4", "epochs = tru", "33: not valid TOML: "),
    ("epochs = 4", "epochs = 4 5", "33: not valid TOML: "),
    ("[training]", "[optimizer]", "32: not valid TOML: "),
    ("[training]", "[training", "32: not valid TOML: "),
    ("[training]", "[]", "32: not valid TOML: "),
    ("ranks = 2", "ranks = [1, 2", "37: not valid TOML: "),
    ("ranks = 2", "ranks = 2\x00", "37: not valid TOML: "),
    ("ranks = 2", "ranks = " + "9" * 5000, ""),
]


def test_the_sound_configuration_has_no_problems(problems: Problems, sound: str) -> None:
    assert problems(sound) == []


@pytest.mark.parametrize(("old", "new", "expected"), [(case[0], case[1], case[2:]) for case in VALUES + KEYS + RULES])
def test_a_broken_configuration_is_told_in_one_line_a_mistake(
    folder: Path, old: str, new: str, expected: tuple[str, ...], problems: Problems, edited: Edit
) -> None:
    assert problems(edited(old, new)) == [f"{folder}/run.toml:{line.format(folder=folder)}" for line in expected]


@pytest.mark.parametrize(("old", "new", "expected"), SYNTAX)
def test_broken_syntax_is_one_line_with_its_place(
    folder: Path, old: str, new: str, expected: str, problems: Problems, edited: Edit
) -> None:
    (line,) = problems(edited(old, new))
    assert line.startswith(f"{folder}/run.toml:{expected}")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines(
    folder: Path, problems: Problems, edited: Edit
) -> None:
    text = (
        edited("seed = 3", "sead = 3").replace("epochs = 4", "epochs = 4\nsteps = 0").replace("rate = 0.5", "rate = 2")
    )
    assert [line.removeprefix(f"{folder}/run.toml:").split(" (")[0] for line in problems(text)] == [
        '1: sead: unknown key; did you mean "seed"?',
        "16: network.layers.1.rate: out of range",
        "34: training.steps: out of range",
    ]


def test_rules_are_checked_in_every_table_that_is_right_by_itself(problems: Problems, edited: Edit) -> None:
    text = edited("units = 16", "units = 0").replace("epochs = 4", "epochs = 4\nsteps = 9")
    assert [line.split(": ")[1] for line in problems(text)] == ["network.layers.0.units", "training.steps"]
