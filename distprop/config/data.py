"""Where the data are and how they become arrays, as declarations."""

from typing import Annotated, Literal, TypeAlias

from distprop.config.declaration import Bounds, Fraction, Listed, Names, declaration


@declaration
class Arrays:
    """One file an array (.npy, IDX, IDX gzipped): row n of each belongs to sample n."""

    features: str
    """File of the features: its first axis counts the samples."""
    targets: str
    """File of the labels or values."""
    weights: str | None = None
    """File with a weight for each sample."""


Source: TypeAlias = str | Arrays  # a string is a table: .csv, .csv.gz, .parquet, or .npz with an array for a column


@declaration
class Columns:
    """Which columns of a table are what (for .npz: which arrays)."""

    features: Names = ()
    """Columns that the network reads. None named: every column that is neither target nor weight."""
    target: str | Annotated[tuple[str, ...], Listed(), Bounds(min_length=1)] = "target"
    """Column with the class label or the value; for several values, a list of columns."""
    weight: str | None = None
    """Column with a weight for each sample."""
    categorical: Names = ()
    """Columns of numbers that mean categories, for one unit a category; columns of text always do."""


@declaration
class Data:
    """The [data] table. Paths are relative to the configuration file."""

    train: Source
    """Training data: a table (.csv, .csv.gz, .tsv, .parquet, .npz), or arrays (.npy, IDX, IDX gzipped) as a table with
    features and targets.
    """
    validation: Source | None = None
    """Validation data, in the same form as the training data."""
    validation_fraction: Fraction = 0.0
    """Part of the training data that is set aside for validation, if there is no validation file."""
    stratify: bool = False
    """Set the same part of each class aside."""
    columns: Columns = Columns()
    """Which columns are what, for tables."""
    target_kind: Literal["classes", "values"] | None = None
    """Whether targets are class labels or values. Not given: classes for the cross-entropies, values otherwise."""
    missing: Literal["error", "mean"] | float = "error"
    """What a missing feature is: an error, the mean of the training data, or this number."""
    missing_markers: Names = ("", "NA", "NaN", "nan", "null")
    """Texts that mean a missing value."""
    delimiter: Annotated[str, Bounds(min_length=1, max_length=1)] = ","
    """What separates the columns of a CSV file."""
