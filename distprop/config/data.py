"""Where the data are and how they become arrays, as declarations."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, Strict

from distprop.config.declaration import Fraction, Names, declaration


@declaration
class Arrays:
    """One file an array (.npy, IDX, IDX gzipped): row n of each belongs to sample n."""

    features: str
    targets: str
    weights: str | None = None


Source: TypeAlias = str | Arrays  # a string is a table: .csv, .csv.gz, .parquet, or .npz with an array for a column


@declaration
class Columns:
    """Which columns of a table are what (for .npz: which arrays)."""

    features: Names = ()  # (): every column that is neither target nor weight
    target: str | Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] = "target"
    weight: str | None = None
    categorical: Names = ()  # one-hot although they hold numbers; columns of text are always categorical


@declaration
class Data:
    """The [data] table. Paths are relative to the configuration file."""

    train: Source
    validation: Source | None = None
    validation_fraction: Fraction = 0.0
    stratify: bool = False
    columns: Columns = Columns()
    target_kind: Literal["classes", "values"] | None = None  # None: classes for cross-entropies, values otherwise
    missing: Literal["error", "mean"] | float = "error"
    missing_markers: Names = ("", "NA", "NaN", "nan", "null")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
