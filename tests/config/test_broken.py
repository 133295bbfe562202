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

INITIALIZERS = (
    '"glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "zeros" or a number'
)
LOSSES = '"mean_squared_error", "mean_absolute_error", "huber", "binary_cross_entropy" or "softmax_cross_entropy"'
OPTIMIZERS = '"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam" or "adamw"'
DENSE = "activation, bias, bias_initializer, initializer, inputs, name, type, units"

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
     '(got "dtype", expected one of compile_seconds, hostfile, hosts, interface, max_restarts, min_ranks, ranks, save_seconds, silence_seconds, start_seconds, step_seconds)'),
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

MORE = [
    ('seed = 3', 'seed = 3.0', '1: seed: wrong type (got 3.0, expected an integer >= 0 and < 2^63)'),
    ('seed = 3', 'seed = "random"', '1: seed: wrong type (got "random", expected an integer >= 0 and < 2^63)'),
    ('seed = 3', 'seed = [1, 2]', '1: seed: wrong type (got [1, 2], expected an integer >= 0 and < 2^63)'),
    ('"float64"', '"double"', '2: dtype: unknown value (got "double", expected "float32" or "float64")'),
    ('= 0.25', '= 1.0', '6: data.validation_fraction: out of range (got 1.0, expected a number >= 0 and < 1)'),
    ('= 0.25', '= 25', '6: data.validation_fraction: out of range (got 25, expected a number >= 0 and < 1)'),
    ('= 0.25', '= -0.1', '6: data.validation_fraction: out of range (got -0.1, expected a number >= 0 and < 1)'),
    ('= 0.25', '= "25%"', '6: data.validation_fraction: wrong type (got "25%", expected a number >= 0 and < 1)'),
    ('= 0.25', '= nan', '6: data.validation_fraction: not finite (got nan, expected a number >= 0 and < 1)'),
    ('"train.csv"', '[]', '5: data.train: wrong type (got [], expected text or a table)'),
    ('"train.csv"', '["train.csv", "more.csv"]', '5: data.train: wrong type (got ["train.csv", "more.csv"], expected text or a table)'),
    ('"train.csv"', 'true', '5: data.train: wrong type (got true, expected text or a table)'),
    ('"train.csv"', '""', '5: data.train: unknown kind of file (got "", expected one of .csv, .csv.gz, .tsv, .parquet, .npz; or a table with features and targets)'),
    ('"train.csv"', '{ features = "x.npy", targets = "y.npy", weight = "w.npy" }', '5: data.train.weight: unknown key; did you mean "weights"? (got "weight", expected one of features, targets, weights)'),
    ('columns = { target = "species" }', 'columns = ["species"]', '7: data.columns: wrong type (got ["species"], expected a table)'),
    ('columns = { target = "species" }', 'columns = { target = 3 }', '7: data.columns.target: wrong type (got 3, expected text or a list of one or more texts)'),
    ('columns = { target = "species" }', 'columns = { features = "a" }', '7: data.columns.features: wrong type (got "a", expected a list of texts)'),
    ('columns = { target = "species" }', 'columns = { weight = ["w"] }', '7: data.columns.weight: wrong type (got ["w"], expected text)'),
    ('columns = { target = "species" }', 'delimiter = ""', '7: data.delimiter: wrong length (got "", expected one character)'),
    ('columns = { target = "species" }', 'delimiter = 9', '7: data.delimiter: wrong type (got 9, expected one character)'),
    ('columns = { target = "species" }', 'target_kind = "class"', '7: data.target_kind: unknown value; did you mean "classes"? (got "class", expected "classes" or "values")'),
    ('columns = { target = "species" }', 'stratify = "yes"', '7: data.stratify: wrong type (got "yes", expected true or false)'),
    ('columns = { target = "species" }', 'missing = inf', '7: data.missing: not finite (got inf, expected "error", "mean" or a number)'),
    ('columns = { target = "species" }', 'missing_markers = "NA"', '7: data.missing_markers: wrong type (got "NA", expected a list of texts)'),
    ('columns = { target = "species" }', 'missing_markers = ["NA", -999]', '7: data.missing_markers.1: wrong type (got -999, expected text)'),
    ('units = 16', 'units = -16', '11: network.layers.0.units: out of range (got -16, expected an integer >= 1)'),
    ('units = 16', 'units = 1e3', '11: network.layers.0.units: wrong type (got 1000.0, expected an integer >= 1)'),
    ('units = 16', 'units = [16, 8]', '11: network.layers.0.units: wrong type (got [16, 8], expected an integer >= 1)'),
    ('units = 16', 'units = 16\nbias = "no"', '12: network.layers.0.bias: wrong type (got "no", expected true or false)'),
    ('units = 16', 'units = 16\nbias_initializer = nan', f'12: network.layers.0.bias_initializer: not finite (got nan, expected {INITIALIZERS})'),
    ('units = 16', 'units = 16\ninitializer = "he"', f'12: network.layers.0.initializer: unknown value (got "he", expected {INITIALIZERS})'),
    ('units = 16', 'units = 16\nname = 7', '12: network.layers.0.name: wrong type (got 7, expected text)'),
    ('units = 16', 'units = 16\nname = ""', '12: network.layers.0.name: not a name (got "", expected printable text without / and without blanks around it)'),
    ('units = 16', 'units = 16\ninputs = "input"', '12: network.layers.0.inputs: wrong type (got "input", expected a list of texts)'),
    ('"relu"', '"ReLU"', f'12: network.layers.0.activation: unknown value; did you mean "relu"? (got "ReLU", expected {FUNCTIONS})'),
    ('"relu"', '[]', f'12: network.layers.0.activation: unknown value (got [], expected {FUNCTIONS})'),
    ('"relu"', '""', f'12: network.layers.0.activation: unknown value (got "", expected {FUNCTIONS})'),
    ('"dropout"\nrate = 0.5', '"activation"', f'14: network.layers.1.function: missing (expected {FUNCTIONS})'),
    ('"dropout"\nrate = 0.5', '"standardise"\nper = "column"', '16: network.layers.1.per: unknown value (got "column", expected "feature" or "array")'),
    ('"dropout"\nrate = 0.5', '"standardise"\ndeviation = 0', '16: network.layers.1.deviation: out of range (got 0, expected a number > 0)'),
    ('"dropout"\nrate = 0.5', '"standardise"\nmean = "auto"', '16: network.layers.1.mean: wrong type (got "auto", expected a number)'),
    ('"dropout"\nrate = 0.5', '"conv2d"', f'15: network.layers.1.type: unknown value (got "conv2d", expected {LAYERS})'),
    ('"dropout"\nrate = 0.5', '"standardize"', f'15: network.layers.1.type: unknown value; did you mean "standardise"? (got "standardize", expected {LAYERS})'),
    ('"dropout"\nrate = 0.5', '"add"', '14: network.layers.1.inputs: missing (expected a list of texts)'),
    ('"dropout"\nrate = 0.5', '"concatenate"\ninputs = []', '16: network.layers.1.inputs: too few inputs (got [], expected at least 2 names of layers)'),
    ('rate = 0.5', 'rate = 1.5', '16: network.layers.1.rate: out of range (got 1.5, expected a number >= 0 and < 1)'),
    ('rate = 0.5', 'rate = "50%"', '16: network.layers.1.rate: wrong type (got "50%", expected a number >= 0 and < 1)'),
    ('"softmax_cross_entropy"', '"cross_entropy"', f'23: network.loss.type: unknown value; did you mean "binary_cross_entropy"? (got "cross_entropy", expected {LOSSES})'),
    ('"softmax_cross_entropy"', '"mse"', f'23: network.loss.type: unknown value (got "mse", expected {LOSSES})'),
    ('type = "softmax_cross_entropy"', '', f'22: network.loss.type: missing (expected {LOSSES})'),
    ('"softmax_cross_entropy"', '"softmax_cross_entropy"\nlabel_smoothing = 1', '24: network.loss.label_smoothing: out of range (got 1, expected a number >= 0 and < 1)'),
    ('"softmax_cross_entropy"', '"huber"\ndelta = 0.0', '24: network.loss.delta: out of range (got 0.0, expected a number > 0)'),
    ('"softmax_cross_entropy"', '"huber"\ndelta = -inf', '24: network.loss.delta: not finite (got -inf, expected a number > 0)'),
    ('"softmax_cross_entropy"', '"softmax_cross_entropy"\ndelta = 1.0', '24: network.loss.delta: unknown key (got "delta", expected one of class_weights, label_smoothing, type)'),
    ('"softmax_cross_entropy"', '"softmax_cross_entropy"\nclass_weights = { a = 1 }', '24: network.loss.class_weights: wrong type (got a table, expected "balanced" or a list of numbers > 0)'),
    ('"softmax_cross_entropy"', '"softmax_cross_entropy"\nclass_weights = []', '24: network.loss.class_weights: not one weight for each class (got [], expected 3 numbers, as many as the last layer has units)'),
    ('"momentum"', '"Adam"', f'26: optimizer.type: unknown value; did you mean "adam"? (got "Adam", expected {OPTIMIZERS})'),
    ('"momentum"', '"adma"', f'26: optimizer.type: unknown value; did you mean "adam"? (got "adma", expected {OPTIMIZERS})'),
    ('= 0.1', '= -0.1', '27: optimizer.learning_rate: out of range (got -0.1, expected a number > 0)'),
    ('= 0.1', '= "1e-3"', '27: optimizer.learning_rate: wrong type (got "1e-3", expected a number > 0)'),
    ('= 0.1', '= 1e-400', '27: optimizer.learning_rate: out of range (got 0.0, expected a number > 0)'),
    ('= 0.1', '= nan', '27: optimizer.learning_rate: not finite (got nan, expected a number > 0)'),
    ('= 0.1', '= 0.1\nmomentum = 1', '28: optimizer.momentum: out of range (got 1, expected a number >= 0 and < 1)'),
    ('= 0.1', '= 0.1\nl2 = -1e-4', '28: optimizer.l2: out of range (got -0.0001, expected a number >= 0)'),
    ('= 0.1', '= 0.1\nclip_norm = 0', '28: optimizer.clip_norm: out of range (got 0, expected a number > 0)'),
    ('= 0.1', '= 0.1\nclip_value = inf', '28: optimizer.clip_value: not finite (got inf, expected a number > 0)'),
    ('= 0.1', '= 0.1\nweight_decay = true', '28: optimizer.weight_decay: wrong type (got true, expected a number >= 0)'),
    ('"cosine"', '"linear"', '30: schedule.type: unknown value (got "linear", expected "constant", "step", "exponential", "cosine", "polynomial" or "plateau")'),
    ('"cosine"', '"step"', '29: schedule.every: missing (expected a number > 0)'),
    ('"cosine"', '"step"\nevery = 0', '31: schedule.every: out of range (got 0, expected a number > 0)'),
    ('"cosine"', '"exponential"\nfactor = 1.1', '31: schedule.factor: out of range (got 1.1, expected a number > 0 and <= 1)'),
    ('"cosine"', '"plateau"\npatience = 2.5', '31: schedule.patience: wrong type (got 2.5, expected an integer >= 0)'),
    ('"cosine"', '"cosine"\nfloor = 2', '31: schedule.floor: out of range (got 2, expected a number >= 0 and <= 1)'),
    ('"cosine"', '"cosine"\nwarmup = -1', '31: schedule.warmup: out of range (got -1, expected a number >= 0)'),
    ('batch_size = 20', 'batch_size = 0', '34: training.batch_size: out of range (got 0, expected an integer >= 1)'),
    ('batch_size = 20', 'batch_size = 20.5', '34: training.batch_size: wrong type (got 20.5, expected an integer >= 1)'),
    ('batch_size = 20', 'batch_size = 18446744073709551616', '34: training.batch_size: out of range (got 18446744073709551616, expected an integer of at most 64 bits)'),
    ('batch_size = 20', 'shards = "auto"', '34: training.shards: wrong type (got "auto", expected an integer >= 1)'),
    ('batch_size = 20', 'top_k = 1', '34: training.top_k: out of range (got 1, expected an integer >= 2)'),
    ('batch_size = 20', 'exchange = "orderd"', '34: training.exchange: unknown value; did you mean "ordered"? (got "orderd", expected "ordered" or "allreduce")'),
    ('batch_size = 20', 'monitor = "val_loss"', '34: training.monitor: unknown value; did you mean "validation_loss"? (got "val_loss", expected "auto", "loss", "validation_loss" or "validation_accuracy")'),
    ('batch_size = 20', 'monitor = "accuracy"', '34: training.monitor: unknown value (got "accuracy", expected "auto", "loss", "validation_loss" or "validation_accuracy")'),
    ('batch_size = 20', 'timeline = 0', '34: training.timeline: out of range (got 0, expected an integer >= 1)'),
    ('batch_size = 20', 'accumulate = -1', '34: training.accumulate: out of range (got -1, expected an integer >= 1)'),
    ('batch_size = 20', 'early_stopping = { patience = 3, delta = 0.1 }', '34: training.early_stopping.delta: unknown key; did you mean "min_delta"? (got "delta", expected one of min_delta, patience)'),
    ('[launch]', '[checkpoint]\nkeep = 1\n[launch]', '37: checkpoint.keep: out of range (got 1, expected an integer >= 2)'),
    ('[launch]', '[checkpoint]\nevery_seconds = "10m"\n[launch]', '37: checkpoint.every_seconds: unknown value (got "10m", expected "auto" or a number >= 0)'),
    ('[launch]', '[checkpoint]\nevery_seconds = -1\n[launch]', '37: checkpoint.every_seconds: out of range (got -1, expected "auto" or a number >= 0)'),
    ('[launch]', '[checkpoint]\non_error = "ignore"\n[launch]', '37: checkpoint.on_error: unknown value (got "ignore", expected "continue" or "stop")'),
    ('[launch]', '[checkpoint]\nevery_steps = 0\n[launch]', '37: checkpoint.every_steps: out of range (got 0, expected an integer >= 1)'),
    ('ranks = 2', 'ranks = 0', '37: launch.ranks: out of range (got 0, expected an integer >= 1)'),
    ('ranks = 2', 'ranks = "all"', '37: launch.ranks: wrong type (got "all", expected an integer >= 1)'),
    ('ranks = 2', 'hosts = ["a", "b"]', '37: launch.hosts: wrong type (got ["a", "b"], expected text)'),
    ('ranks = 2', 'hosts = ""', '37: launch.hosts: not a list of hosts (got "", expected name:ranks, with commas between, as a:2,b:2)'),
    ('ranks = 2', 'hostfile = ""', '37: launch.hostfile: is a folder (got "", expected a file)'),
    ('[optimizer]', '[[optimizer]]', '25: optimizer: wrong type (got [a table], expected a table)'),
    ('[network.loss]', '[[network.loss]]', '22: network.loss: wrong type (got [a table], expected a table)'),
    ('seed = 3', 'Seed = 3', f'1: Seed: unknown key; did you mean "seed"? (got "Seed", expected one of {TABLES})'),
    ('batch_size = 20', 'batchsize = 20', f'34: training.batchsize: unknown key; did you mean "batch_size"? (got "batchsize", expected one of {TRAINING})'),
    ('batch_size = 20', 'batch-size = 20', f'34: training.batch-size: unknown key; did you mean "batch_size"? (got "batch-size", expected one of {TRAINING})'),
    ('units = 16', 'unit = 16', '9: network.layers.0.units: missing (expected an integer >= 1)', f'11: network.layers.0.unit: unknown key; did you mean "units"? (got "unit", expected one of {DENSE})'),
    ('units = 16', 'units = 16\nsize = 16', f'12: network.layers.0.size: unknown key (got "size", expected one of {DENSE})'),
    ('rate = 0.5', 'p = 0.5', '14: network.layers.1.rate: missing (expected a number >= 0 and < 1)', '16: network.layers.1.p: unknown key (got "p", expected one of inputs, name, rate, type)'),
    ('train = "train.csv"', 'path = "train.csv"', '4: data.train: missing (expected text or a table)', '5: data.path: unknown key (got "path", expected one of columns, delimiter, missing, missing_markers, stratify, target_kind, train, validation, validation_fraction)'),
    ('[data]', '[dataset]', '1: data: missing (expected a table)', f'4: dataset: unknown key; did you mean "data"? (got "dataset", expected one of {TABLES})'),
    ('learning_rate = 0.1', 'lr = 0.1', f'27: optimizer.lr: unknown key (got "lr", expected one of {MOMENTUM})'),
    ('[training]', '[train]', f'32: train: unknown key; did you mean "training"? (got "train", expected one of {TABLES})'),
    ('ranks = 2', 'rank = 2', '37: launch.rank: unknown key; did you mean "ranks"? (got "rank", expected one of compile_seconds, hostfile, hosts, interface, max_restarts, min_ranks, ranks, save_seconds, silence_seconds, start_seconds, step_seconds)'),
    ('ranks = 2', 'ranks = 2\nseed = 4', '38: launch.seed: unknown key; "seed" goes to the top of the file, before the first [table] (got "seed", expected one of compile_seconds, hostfile, hosts, interface, max_restarts, min_ranks, ranks, save_seconds, silence_seconds, start_seconds, step_seconds)'),
    ('[schedule]', '[schedule]\nepochs = 3', '30: schedule.epochs: unknown key; it belongs to [training] (got "epochs", expected one of floor, type, warmup)'),
    ('"train.csv"', '"C:\\\\data\\\\train.csv"', '5: data.train: no such file (got "C:\\data\\train.csv", expected a path from the folder {folder})'),
    ('"train.csv"', '"https://example.org/train.csv"', '5: data.train: no such file (got "https://example.org/train.csv", expected a path from the folder {folder})'),
    ('"train.csv"', '{ features = "train.csv", targets = "y.npy" }', '5: data.train.features: a table is no array (got "train.csv", expected .npy or an IDX file; give the table itself as text)', '5: data.train.targets: no such file (got "y.npy", expected a path from the folder {folder})', '7: data.columns: arrays have no columns (expected no [data.columns], or a table as data)'),
    ('"train.csv"', '"loop.csv"', '5: data.train: no such file (got "loop.csv", expected a path from the folder {folder})'),
    ('"train.csv"', '"pipe.csv"', '5: data.train: is no ordinary file (got "pipe.csv", expected a file)'),
    ('"train.csv"', '"/dev/zero"', '5: data.train: unknown kind of file (got "/dev/zero", expected one of .csv, .csv.gz, .tsv, .parquet, .npz; or a table with features and targets)'),
    ('"train.csv"', '"/dev/zero.csv"', '5: data.train: no such file (got "/dev/zero.csv", expected a path from the folder {folder})'),
    ('validation_fraction = 0.25', 'validation = "nowhere.csv"', '6: data.validation: no such file (got "nowhere.csv", expected a path from the folder {folder})'),
    ('validation_fraction = 0.25', 'validation = "folder.csv"', '6: data.validation: is a folder (got "folder.csv", expected a file)'),
    ('validation_fraction = 0.25', 'validation = { features = "x.npy", targets = "y.npy" }', '6: data.validation.features: no such file (got "x.npy", expected a path from the folder {folder})', '6: data.validation.targets: no such file (got "y.npy", expected a path from the folder {folder})', '6: data.validation: not the same kind of source as train (expected two tables, or arrays for both)'),
    ('{ target = "species" }', '{ target = "a", categorical = ["b", "b"] }', '7: data.columns.categorical: is there twice (got "b", expected each column once)'),
    ('{ target = "species" }', '{ target = "a", categorical = ["a"] }', '7: data.columns.categorical: the target can\'t be a feature (got "a", expected other columns)'),
    ('{ target = "species" }', '{ weight = "w", features = ["w"] }', '7: data.columns.features: the weight can\'t be a feature (got "w", expected other columns)'),
    ('validation_fraction = 0.25', "delimiter = 'ä'", '6: data.delimiter: can\'t separate columns (got "ä", expected an ASCII character, not a quote)'),
    ('validation_fraction = 0.25', 'delimiter = "\\n"', '6: data.delimiter: can\'t separate columns (got "\\n", expected an ASCII character, not a quote)'),
    ('units = 3', 'units = 3\n[[network.layers]]\ntype = "add"\ninputs = ["dense_2", "dense_2", "nowhere"]', '23: network.layers.3.inputs: no such layer (got "nowhere", expected one of input, dense_1, dropout_1, dense_2)'),
    ('units = 3', 'units = 3\ninputs = ["dense_2"]', '14: network.layers.1: no layer reads the output of "dropout_1" (only the last may be unread)', '21: network.layers.2.inputs: a layer can only read layers before it (got "dense_2", expected one of input, dense_1, dropout_1)'),
    ('batch_size = 20', 'batch_size = 20\nshards = 32', '35: training.shards: more shards than samples (got 32, expected at most the batch_size, 20)'),
    ('ranks = 2', 'ranks = 9999999', '37: launch.ranks: more ranks than shards (got 9999999, expected at most 2, the shards of a minibatch; raise shards under [training] for more)'),
    ('ranks = 2', 'hosts = "a:0"', '37: launch.hosts: not a list of hosts (got "a:0", expected name:ranks, with commas between, as a:2,b:2)'),
    ('ranks = 2', 'hosts = "a b"', '37: launch.hosts: not a list of hosts (got "a b", expected name:ranks, with commas between, as a:2,b:2)'),
    ('ranks = 2', 'hostfile = "folder.csv"', '37: launch.hostfile: is a folder (got "folder.csv", expected a file)'),
    ('"softmax_cross_entropy"', '"mean_squared_error"\nclass_weights = [1, 2, 3]', '24: network.loss.class_weights: needs classes (got targets that are values, expected target_kind = "classes" under [data])'),
    ('[network.loss]', '[network.layers.loss]', '9: network.loss: missing (expected a table)', f'22: network.layers.2.loss: unknown key; it belongs to [network] (got "loss", expected one of {DENSE})'),
]  # fmt: skip

# Line, and the text that is shown: what lies between is the TOML reader's, which differs between versions of Python.
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
    ("ranks = 2", "ranks = " + "9" * 5000, "37: not valid TOML: an integer of thousands of digits (got "),
    ('"float64"', 'float', '2: not valid TOML: ', '(got "dtype = float")'),
    ('seed = 3', 'seed: 3', '1: not valid TOML: ', '(got "seed: 3")'),
    ('seed = 3', 'seed = 3;', '1: not valid TOML: ', '(got "seed = 3;")'),
    ('seed = 3', '// seed\nseed = 3', '1: not valid TOML: ', '(got "// seed")'),
    ('seed = 3', '{"seed": 3}', '1: not valid TOML: ', '(got "{"seed": 3}")'),
    ('seed = 3', 'seed = 0x', '1: not valid TOML: ', '(got "seed = 0x")'),
    ('seed = 3', 'seed = 1_', '1: not valid TOML: ', '(got "seed = 1_")'),
    ('seed = 3', 'seed = .5', '1: not valid TOML: ', '(got "seed = .5")'),
    ('seed = 3', 'seed = 3.', '1: not valid TOML: ', '(got "seed = 3.")'),
    ('seed = 3', 'seed = 3,', '1: not valid TOML: ', '(got "seed = 3,")'),
    ('"float64"', 'float64', '2: not valid TOML: ', '(got "dtype = float64")'),
    ('"float64"', '“float64”', '2: not valid TOML: ', '(got "dtype = “float64”")'),
    ('"float64"', '\'float64"', '2: not valid TOML: ', '(got "dtype = \'float64"")'),
    ('"float64"', '"flo\\qat64"', '2: not valid TOML: ', '(got "dtype = "flo\\qat64"")'),
    ('"float64"', '"""float64', '2: not valid TOML: ', '(got "dtype = """float64")'),
    ('"float64"', '"float\n64"', '2: not valid TOML: ', '(got "dtype = "float")'),
    ('epochs = 4', 'epochs = True', '33: not valid TOML: ', '(got "epochs = True")'),
    ('epochs = 4', 'epochs = None', '33: not valid TOML: ', '(got "epochs = None")'),
    ('epochs = 4', 'epochs = null', '33: not valid TOML: ', '(got "epochs = null")'),
    ('[training]', '[training]]', '32: not valid TOML: ', '(got "[training]]")'),
    ('[training]', 'training:', '32: not valid TOML: ', '(got "training:")'),
    ('[training]', '[data]', '32: not valid TOML: ', '(got "[data]")'),
    ('[training]', '[[data]]', '32: not valid TOML: ', '(got "[[data]]")'),
    ('[training]', '[seed]', '32: not valid TOML: ', '(got "[seed]")'),
    ('[training]', '[training.epochs]\n[training]', '34: not valid TOML: ', '(got "epochs = 4")'),
    ('columns = { target = "species" }', 'columns = { target = "species", }', '7: not valid TOML: ', '(got "columns = { target = "species", }")'),
    ('columns = { target = "species" }', 'columns = { target = "species"\n}', '7: not valid TOML: ', '(got "columns = { target = "species"")'),
    ('columns = { target = "species" }', 'columns = { target: "species" }', '7: not valid TOML: ', '(got "columns = { target: "species" }")'),
    ('columns = { target = "species" }', 'columns.target = "a"\ncolumns.target = "b"', '8: not valid TOML: ', '(got "columns.target = "b"")'),
    ('columns = { target = "species" }', 'columns = { target = "a", target = "b" }', '7: not valid TOML: ', '(got "columns = { target = "a", target = "b" }")'),
    ('units = 16', 'units = 16 activation2 = 3', '11: not valid TOML: ', '(got "units = 16 activation2 = 3")'),
    ('units = 16', 'units == 16', '11: not valid TOML: ', '(got "units == 16")'),
    ('units = 16', '= 16', '11: not valid TOML: ', '(got "= 16")'),
    ('units = 16', 'units', '11: not valid TOML: ', '(got "units")'),
    ('ranks = 2', '<<<<<<< HEAD\nranks = 2\n=======\nranks = 3\n>>>>>>> other', '37: not valid TOML: ', '(got "<<<<<<< HEAD")'),
    ('ranks = 2', 'ranks = ${RANKS}', '37: not valid TOML: ', '(got "ranks = ${RANKS}")'),
    ('ranks = 2', 'ranks = 2\x07', '37: not valid TOML: ', '(got "ranks = 2\\x07")'),
    ('ranks = 2', 'ranks = 2 # \x00', '37: not valid TOML: ', '(got "ranks = 2 # \\x00")'),
    ('ranks = 2', 'ranks = 2\rranks = 3', '37: not valid TOML: ', '(got "ranks = 2\\rranks = 3")'),
    ('[network.loss]', '[network.layers]', '22: not valid TOML: ', '(got "[network.layers]")'),
]  # fmt: skip


def test_the_sound_configuration_has_no_problems(problems: Problems, sound: str) -> None:
    assert problems(sound) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"), [(case[0], case[1], case[2:]) for case in VALUES + KEYS + RULES + MORE]
)
def test_a_broken_configuration_is_told_in_one_line_a_mistake(
    folder: Path, old: str, new: str, expected: tuple[str, ...], refused: Problems, edited: Edit
) -> None:
    assert refused(edited(old, new)) == [f"{folder}/run.toml:{line.format(folder=folder)}" for line in expected]


@pytest.mark.parametrize(("old", "new", "expected"), [(case[0], case[1], case[2:]) for case in SYNTAX])
def test_broken_syntax_is_one_line_with_its_place(
    folder: Path, old: str, new: str, expected: tuple[str, ...], refused: Problems, edited: Edit
) -> None:
    (line,) = refused(edited(old, new))
    assert line.startswith(f"{folder}/run.toml:{expected[0]}") and line.endswith("".join(expected[1:]))


def test_there_are_many_distinct_ones() -> None:
    cases = [case[:2] for case in VALUES + KEYS + RULES + MORE + SYNTAX]
    assert len(set(cases)) == len(cases) > 250


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
