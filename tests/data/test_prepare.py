"""Preparation: arrays as an independent reader of the file would make them, made once, whoever asks."""

import csv
import gzip
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from distprop.config.data import Arrays, Columns, Data
from distprop.config.data import Source as SourcePath
from distprop.data import array_table, csv_table
from distprop.data.dataset import Dataset
from distprop.data.encoding import Encoding
from distprop.data.inspect import encoding_of, summary
from distprop.data.prepare import Prepared, encode_file, prepare
from distprop.errors import ConfigError, DataError

TABLE = '''age,city,"member, since",weight,target
30,Ulm,true,1.5,yes
,"Bad ""Tölz""",false,0,no
50.5,Ulm,true,2,no
41,,false,1,yes
-7e1,Aalen,true,0.5,no
'''
IMPORTS = """
import sys
from pathlib import Path
from distprop.config.data import Data
from distprop.data.prepare import prepare
import distprop.data.dataset, distprop.data.predictions, distprop.data.inspect
"""
COLUMNS = Columns(weight="weight")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(TABLE)
    return path


def arrays_of(data: Data, cache: Path, seed: int = 0) -> tuple[Dataset, Prepared]:
    prepared = prepare(data, seed, "float64", cache)
    return Dataset.open(prepared.training), prepared


def test_a_table_becomes_numbers_and_one_hot_categories_in_the_columns_order(table: Path, cache: Path) -> None:
    dataset, prepared = arrays_of(Data(train=str(table), columns=COLUMNS, missing="mean"), cache)
    mean = (30 + 50.5 + 41 - 70) / 4
    ages, members = [30, mean, 50.5, 41, -70], [1, 0, 1, 0, 1]
    # In the order of code points: Aalen, Bad "Tölz", Ulm.
    cities = [[0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    expected = [[age, *city, member] for age, city, member in zip(ages, cities, members, strict=True)]
    np.testing.assert_array_equal(dataset.features, expected)
    np.testing.assert_array_equal(dataset.labels, [1, 0, 0, 1, 0])
    np.testing.assert_array_equal(dataset.weights, [1.5, 0, 2, 1, 0.5])
    assert prepared.encoding.target.classes == ("no", "yes")
    assert [column.categories for column in prepared.encoding.columns] == [(), ("Aalen", 'Bad "Tölz"', "Ulm"), ()]
    assert prepared.encoding.columns[0].fill == (mean,)
    assert dataset.shape == (5,) and len(dataset) == 5 and prepared.validation is None


def test_a_number_stands_for_missing_values_if_one_is_given(table: Path, cache: Path) -> None:
    dataset, _ = arrays_of(Data(train=str(table), columns=COLUMNS, missing=-1.0), cache)
    assert dataset.features[:, 0].tolist() == [30, -1, 50.5, 41, -70]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.removesuffix("\n").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
        lambda text: gzip.compress(text.encode()),
    ],
    ids=["plain", "BOM", "CRLF", "no last line break", "empty lines", "gzip"],
)
def test_all_ways_to_write_the_same_table_give_the_same_digest(
    rewrite: Callable[[str], bytes], table: Path, cache: Path
) -> None:
    options: Any = {"columns": COLUMNS, "missing": "mean"}
    _, expected = arrays_of(Data(train=str(table), **options), cache)
    other = table.with_name("other.csv")
    other.write_bytes(rewrite(TABLE))
    _, prepared = arrays_of(Data(train=str(other), **options), cache)
    assert prepared.folder != expected.folder
    assert prepared.digest == expected.digest


def test_a_numeric_column_is_one_hot_if_it_is_listed_as_categorical(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("floor,target\n10,0\n9,1\n10.0,1\n")
    dataset, prepared = arrays_of(Data(train=str(path), columns=Columns(categorical=("floor",))), cache)
    assert prepared.encoding.columns[0].categories == ("9", "10")
    assert dataset.features.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_several_targets_are_values_under_their_names(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y,z\n1,2,3\n4,5,6\n7,8,10\n")
    data = Data(train=str(path), columns=Columns(target=("z", "y")), target_kind="values")
    dataset, prepared = arrays_of(data, cache)
    assert dataset.targets is not None and dataset.labels is None
    assert dataset.targets.tolist() == [[3, 2], [6, 5], [10, 8]]
    assert prepared.encoding.target.output_names == ("z", "y")
    assert prepared.encoding.statistics is not None
    assert prepared.encoding.statistics.target_mean == pytest.approx((19 / 3, 5), rel=1e-15)


def test_csv_parquet_and_npz_of_the_same_numbers_give_the_same_arrays(tmp_path: Path, cache: Path) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((37, 3)), rng.integers(0, 3, 37)
    columns = {**{f"x{n}": x[:, n] for n in range(3)}, "target": labels}
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=7)
    np.savez_compressed(tmp_path / "t.npz", **columns)
    found = [arrays_of(Data(train=str(tmp_path / name)), cache) for name in ("t.csv", "t.parquet", "t.npz")]
    for dataset, prepared in found:
        np.testing.assert_array_equal(dataset.features, x)
        np.testing.assert_array_equal(dataset.labels, labels)
        assert prepared.digest == found[0][1].digest


def test_parquet_takes_booleans_dictionaries_and_integers(tmp_path: Path, cache: Path) -> None:
    columns = {
        "flag": [True, None, False],
        "word": pa.array(["b", "a", "NA"]).dictionary_encode(),
        "count": pa.array([2**60, 1, None], pa.int64()),
        "target": [True, False, True],
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    dataset, prepared = arrays_of(Data(train=str(tmp_path / "t.parquet"), missing=7.0), cache)
    assert dataset.features.tolist() == [[1, 0, 1, 2.0**60], [7, 1, 0, 1], [0, 0, 0, 7]]
    assert prepared.encoding.target.classes == ("false", "true")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("ending", ["npy", "npy.gz"])
def test_uint8_images_stay_uint8_in_every_order_of_the_file(
    order: Any, ending: str, tmp_path: Path, cache: Path
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 7), np.uint8)
    np.save(tmp_path / "x.npy", np.asarray(images, order=order))
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
    np.save(tmp_path / "y.npy", np.array([7, 3, 7, 3, 3], np.int8))
    dataset, prepared = arrays_of(Data(train=Arrays(str(tmp_path / f"x.{ending}"), str(tmp_path / "y.npy"))), cache)
    assert dataset.features.dtype == np.uint8
    np.testing.assert_array_equal(dataset.features, images)
    assert prepared.encoding.target.classes == ("3", "7") and prepared.encoding.shape == (3, 7)


def test_missing_elements_of_an_array_take_the_mean_of_their_own_place(tmp_path: Path, cache: Path) -> None:
    x = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0]])
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.array([[1.0], [2.0], [3.0]]))
    source = Arrays(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    dataset, prepared = arrays_of(Data(train=source, target_kind="values", missing="mean"), cache)
    assert dataset.features.tolist() == [[1, 5], [3, 4], [2, 6]]
    again = encode_file(source, prepared.encoding, "float64", True, cache)
    assert again.features.tolist() == dataset.features.tolist()


def test_chunks_of_any_size_give_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    lines = [f'{a:.5f},{b:.3e},"c\n{n % 5}",{n % 3}' for n, (a, b) in enumerate(rng.standard_normal((9001, 2)))]
    (tmp_path / "t.csv").write_text("a,b,c,target\n" + "\n".join(lines))
    np.save(tmp_path / "x.npy", rng.standard_normal((9001, 3)))
    np.save(tmp_path / "y.npy", rng.integers(0, 4, 9001))
    sources: list[SourcePath] = [str(tmp_path / "t.csv"), Arrays(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))]

    def digests(folder: str) -> list[str]:
        options: Any = {"missing": "mean", "validation_fraction": 0.3}
        return [prepare(Data(train=source, **options), 5, "float32", tmp_path / folder).digest for source in sources]

    expected = digests("whole")
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 4001)
    monkeypatch.setattr(array_table, "CHUNK_BYTES", 1234)
    assert digests("pieces") == expected


def test_prepared_data_are_found_again_without_reading_the_file(table: Path, cache: Path) -> None:
    data = Data(train=str(table), columns=COLUMNS, missing=0.0)
    _, first = arrays_of(data, cache)
    stamp = (first.folder / "index.json").stat().st_mtime_ns
    _, second = arrays_of(data, cache)
    assert second == first and (second.folder / "index.json").stat().st_mtime_ns == stamp


def test_a_changed_file_or_option_is_prepared_anew(table: Path, cache: Path) -> None:
    options: Any = {"train": str(table), "columns": COLUMNS}
    folders = {arrays_of(Data(missing=value, **options), cache)[1].folder for value in (0.0, 1.0)}
    table.write_text(TABLE + "1,Ulm,true,1,no\n")
    dataset, prepared = arrays_of(Data(missing=0.0, **options), cache)
    assert len({*folders, prepared.folder}) == 3 and len(dataset) == 6


@pytest.mark.parametrize("damage", ["index gone", "index cut", "array gone", "array cut", "half written"])
def test_a_damaged_entry_of_the_cache_is_made_again(damage: str, table: Path, cache: Path) -> None:
    data = Data(train=str(table), columns=COLUMNS, missing=0.0)
    _, first = arrays_of(data, cache)
    index, array = first.folder / "index.json", first.folder / "features.npy"
    if damage.endswith("gone"):
        (index if damage.startswith("index") else array).unlink()
    elif damage == "half written":
        first.folder.rename(first.folder.with_name(first.folder.name + ".partial"))
    else:
        path = index if damage.startswith("index") else array
        path.write_bytes(path.read_bytes()[:-9])
    _, again = arrays_of(data, cache)
    assert again == first
    assert again.training.features.shape == (5, 5)
    assert not list(cache.glob("*.partial"))


def test_the_index_holds_the_checksum_of_every_array(table: Path, cache: Path) -> None:
    _, prepared = arrays_of(Data(train=str(table), columns=COLUMNS, missing=0.0), cache)
    index = json.loads((prepared.folder / "index.json").read_text())
    assert set(index["arrays"]) == {"features.npy", "labels.npy", "weights.npy"}
    for name, array in index["arrays"].items():
        assert array["sha256"] == hashlib.sha256((prepared.folder / name).read_bytes()).hexdigest()


def test_processes_that_come_together_prepare_once(table: Path, cache: Path) -> None:
    program = f"""{IMPORTS}
p = prepare(Data(train=sys.argv[1], missing=0.0), 0, 'float32', Path(sys.argv[2]))
print(p.digest, (p.folder / 'index.json').stat().st_ino, 'numba' in sys.modules, 'mpi4py' in sys.modules)"""
    command = [sys.executable, "-c", program, str(table), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate(timeout=100)[0] for process in processes}
    assert len(answers) == 1 and answers.pop().endswith("False False\n")


def test_a_cache_folder_that_cannot_be_made_is_a_plain_error(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set DISTPROP_CACHE") as caught:
        prepare(Data(train=str(table), missing=0.0), 0, "float32", tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_a_plain_error_and_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((999, 9)))
    np.save(tmp_path / "y.npy", np.arange(999) % 2)
    program = f"""{IMPORTS}
import resource
from distprop.config.data import Arrays
from distprop.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    prepare(Data(train=Arrays("x.npy", "y.npy")), 0, "float64", Path("cache"))
except DataError as error:
    print(error)"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100).stdout
    assert output == "cache: File too large; set DISTPROP_CACHE to a folder with room to write\n"
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_statistics_see_the_training_rows_only(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [(n * n / 7, n % 3) for n in range(50)]
    path.write_text("x,target\n" + "".join(f"{x!r},{label}\n" for x, label in rows))
    dataset, prepared = arrays_of(Data(train=str(path), validation_fraction=0.3, stratify=True), cache, seed=9)
    assert dataset.rows is not None and prepared.validation is not None and prepared.validation.rows is not None
    assert sorted([*dataset.rows, *prepared.validation.rows]) == list(range(50))
    assert len(prepared.validation) == 15 and len(dataset) == 35
    used = [rows[n] for n in dataset.rows]
    statistics = prepared.encoding.statistics
    assert statistics is not None
    mean = math.fsum(x for x, _ in used) / 35
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x, _ in used) / 35)
    assert statistics.mean[0] == pytest.approx(mean, rel=1e-14)
    assert statistics.deviation[0] == pytest.approx(deviation, rel=1e-14)
    assert statistics.class_counts == tuple(sum(label == n for _, label in used) for n in range(3))
    assert statistics.rows == 35


def test_the_mean_for_missing_values_is_that_of_the_training_rows(tmp_path: Path, cache: Path) -> None:
    values = [None if n % 5 == 0 else n * n for n in range(30)]
    path = tmp_path / "t.csv"
    path.write_text("x,target\n" + "".join(f"{'' if x is None else x},{n % 2}\n" for n, x in enumerate(values)))
    dataset, prepared = arrays_of(Data(train=str(path), validation_fraction=0.4, missing="mean"), cache)
    present = [values[n] for n in np.asarray(dataset.rows) if values[n] is not None]
    mean = sum(present) / len(present)
    assert prepared.encoding.columns[0].fill == pytest.approx((mean,), rel=1e-15)
    filled = [mean if x is None else x for x in values]
    np.testing.assert_allclose(dataset.features[:, 0], filled, rtol=1e-15)


def test_the_seed_decides_the_validation_rows_and_nothing_else_does(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,target\n" + "".join(f"{n},{n % 2}\n" for n in range(40)))
    data = Data(train=str(path), validation_fraction=0.25)
    chosen = [np.asarray(arrays_of(data, cache, seed)[0].rows).tolist() for seed in (1, 2, 1)]
    assert chosen[0] == chosen[2] != chosen[1]


def test_a_validation_file_is_encoded_as_the_training_file_whatever_its_columns_order(table: Path, cache: Path) -> None:
    other = table.with_name("validation.csv")
    other.write_text('target,extra,"member, since",city,age\nno,?,false,Ulm,\nyes,?,true,Aalen,8\n')
    _, prepared = arrays_of(Data(train=str(table), validation=str(other), columns=COLUMNS, missing="mean"), cache)
    assert prepared.validation is not None
    assert prepared.validation.features.tolist() == [[12.875, 0, 0, 1, 0], [8, 1, 0, 0, 1]]
    assert prepared.validation.labels is not None and prepared.validation.labels.tolist() == [0, 1]
    assert prepared.validation.weights is None


def test_a_new_file_needs_no_target_to_be_predicted_but_known_categories(table: Path, cache: Path) -> None:
    _, prepared = arrays_of(Data(train=str(table), columns=COLUMNS, missing="mean"), cache)
    encoding = Encoding.from_json(prepared.encoding.to_json())
    new = table.with_name("new.csv")
    new.write_text('city,age,"member, since"\nUlm,1,true\nBerlin,2,true\n')
    with pytest.raises(DataError, match=r'line 3, column "city": category "Berlin" .*known: Aalen, Bad "Tölz", Ulm'):
        encode_file(str(new), encoding, "float64", False, cache)
    new.write_text('city,age,"member, since"\nUlm,1,true\n')
    split = encode_file(str(new), encoding, "float64", False, cache)
    assert split.features.tolist() == [[1, 0, 0, 1, 1]] and split.labels is None and len(split) == 1
    with pytest.raises(DataError, match='no column "target"'):
        encode_file(str(new), encoding, "float64", True, cache)


def test_a_class_that_training_never_saw_is_an_error_with_its_line(table: Path, cache: Path) -> None:
    _, prepared = arrays_of(Data(train=str(table), columns=COLUMNS, missing="mean"), cache)
    new = table.with_name("new.csv")
    new.write_text('city,age,"member, since",target\nUlm,1,true,maybe\n')
    with pytest.raises(DataError, match=r'line 2, column "target": class "maybe" .*known: no, yes'):
        encode_file(str(new), prepared.encoding, "float64", True, cache)


def test_features_of_another_shape_are_refused(tmp_path: Path, cache: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 3)))
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1]))
    np.save(tmp_path / "new.npy", np.ones((4, 5)))
    _, prepared = arrays_of(Data(train=Arrays(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))), cache)
    assert len(encode_file(str(tmp_path / "x.npy"), prepared.encoding, "float32", False, cache)) == 4
    with pytest.raises(DataError, match=r"shape \(5,\), but the training data had shape \(3,\)"):
        encode_file(str(tmp_path / "new.npy"), prepared.encoding, "float32", False, cache)


def test_weights_given_with_arrays_count_even_if_training_had_none(tmp_path: Path, cache: Path) -> None:
    for name, array in {"x": np.ones((3, 2)), "y": np.array([0, 1, 0]), "w": np.array([1, 2, 3])}.items():
        np.save(tmp_path / f"{name}.npy", array)
    x, y, w = (str(tmp_path / f"{name}.npy") for name in "xyw")
    _, prepared = arrays_of(Data(train=Arrays(x, y), validation=Arrays(x, y, w)), cache)
    assert prepared.training.weights is None and prepared.validation is not None
    assert np.asarray(prepared.validation.weights).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"validation": "v.csv", "validation_fraction": 0.1},
        {"stratify": True},
        {"stratify": True, "validation_fraction": 0.1, "target_kind": "values"},
    ],
)
def test_options_that_exclude_each_other_are_a_configuration_error(options: Any, table: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.(validation_fraction|stratify): "):
        prepare(Data(train=str(table), **options), 0, "float32", cache)


def test_the_summary_says_what_the_columns_are_without_preparing(table: Path) -> None:
    encoding = encoding_of(Data(train=str(table), columns=COLUMNS, missing="mean"))
    assert encoding.statistics is None
    assert summary(encoding) == [
        "features: 5 (2 number columns: age, member, since; 1 category column: city)",
        "target: 2 classes from target: no, yes",
        "weights: column weight",
    ]


def test_arrow_is_not_imported_where_the_data_are_found_prepared(table: Path, cache: Path) -> None:
    arrays_of(Data(train=str(table), missing=0.0), cache)
    program = f"""{IMPORTS}
prepare(Data(train=sys.argv[1], missing=0.0), 0, 'float64', Path(sys.argv[2]))
print(sorted({{'numba', 'mpi4py', 'pyarrow'}} & set(sys.modules)))"""
    command = [sys.executable, "-c", program, str(table), str(cache)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=100).stdout == "[]\n"
