"""Where a number that isn't finite came from: layers, samples and ranks, as the step's buffers still show it.

All ranks have decided alike that the step can't be used; each looks at its own rows and partial gradients, and all
learn what the others have found.    Shapes: N rows of a rank's last pass.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Communicator
from distprop.comm.texts import everyones
from distprop.kernels.dense import dense_backward_params, dense_backward_weights
from distprop.network.graph import INPUT
from distprop.network.layout import Parameter
from distprop.network.program import Array
from distprop.training.guards import ranks_text
from distprop.training.step import Leftovers, Step

ARRAYS = {dense_backward_params: slice(2, 4), dense_backward_weights: slice(1, 3)}  # the arguments x and d
MOST = 3  # layers, samples or ranks that are named
FEATURES, SUM = "the features", "the sum of all ranks' gradients"
CURE = "lower optimizer.learning_rate, set optimizer.clip_norm, or standardise the features"
CURE_OF_DATA = "mend or remove these rows"

Named = Callable[[Sequence[int]], str]  # rows of the training data, from 0, as the user knows them


@dataclass(frozen=True)
class Finding:
    """The first thing on a rank that isn't finite, and for which samples; and the layers whose gradients aren't."""

    what: str = ""
    samples: int = 0
    rows: Sequence[int] = ()  # of the training data; of the first few samples
    gradients: Sequence[str] = ()

    def text(self, named: Named) -> str:
        more = f" and {self.samples - len(self.rows)} more" if self.samples > len(self.rows) else ""
        what = f"{self.what} for {named(self.rows)}{more}" if self.rows else self.what
        return ", ".join([*([what] if what else []), *(f"the gradient of {layer}" for layer in self.gradients)])


def explanation(step: Step, samples: int, comm: Communicator, named: Named) -> str:
    """What isn't finite, where, and what to do: a collective; the same text on all ranks.

    samples: of the minibatch, of which all buffers still are.
    """
    texts = everyones(comm, json.dumps(asdict(_find(step, samples))))
    findings = [Finding(**json.loads(text)) for text in texts]
    kinds = (
        [finding for finding in findings if finding.what not in ("", SUM)],
        [finding for finding in findings if finding.what == "" and finding.gradients],
        [finding for finding in findings if finding.what == SUM],
    )
    origins = next(filter(None, kinds), [])  # the others are its consequences
    told = [([rank for rank, other in enumerate(findings) if other == one], one) for one in _distinct(origins)]
    parts = [f"{ranks_text(some)}: {finding.text(named)}" for some, finding in told[:MOST]]
    parts += [f"and more on {len(told) - MOST} other ranks"] * (len(told) > MOST)
    parts = parts or ["each number by itself is finite, but their sum overflows"]
    return "; ".join([*parts, CURE_OF_DATA if any(finding.what == FEATURES for finding in origins) else CURE])


def _distinct(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for number, finding in enumerate(findings) if finding not in findings[:number]]


def _find(step: Step, samples: int) -> Finding:
    """This rank's finding."""
    left = step.leftovers(samples)
    gradients = _layers_of_partials(step)
    found = next(((what, faulty) for what, faulty in _faulty(left) if faulty.any()), None)
    if found is None and any(_faulty_rows(matrix).any() for _, kind, matrix in left.all_matrices if kind != "mask"):
        return Finding()  # the rank that has these rows will tell
    if found is None:
        rows = left.earlier[_faulty_rows(step.minibatches.data.matrix[left.earlier])]
        what = FEATURES if rows.size else ""
    else:
        what, rows = found[0], left.indices[found[1]]
    if not what and gradients:
        what, rows = _largest_terms(step, left, samples, gradients[0])
    if not what and not gradients:
        gradients = _layers_of_sum(step)
        what = SUM if gradients else ""
    return Finding(what, rows.size, rows[:MOST].tolist(), gradients[:MOST])


def _faulty(left: Leftovers) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """In the order in which they are computed: names of matrices, and which of their rows (N,) aren't finite."""
    matrices = [(name, kind, _faulty_rows(matrix)) for name, kind, matrix in left.matrices if kind != "mask"]
    forward = [(name, faulty) for name, kind, faulty in matrices if kind in ("value", "z")]
    yield from ((FEATURES if name == INPUT else f"the output of {name}", faulty) for name, faulty in forward)
    yield "the loss", ~np.isfinite(left.losses)
    backward = [(name, faulty) for name, kind, faulty in matrices if kind not in ("value", "z")]
    yield from ((f"the gradient at the output of {name}", faulty) for name, faulty in backward)


def _faulty_rows(matrix: Array) -> npt.NDArray[np.bool_]:
    return np.array([not np.isfinite(row).all() for row in matrix], np.bool_)


def _layers_of_partials(step: Step) -> list[str]:
    """The layers of which a partial gradient of this rank isn't finite, the last one first, as they are computed."""
    return _layers(step, lambda p: all(np.isfinite(p.view(partial)).all() for partial in step.exchange.partials))


def _layers_of_sum(step: Step) -> list[str]:
    """The same for this rank's slices of the gradient of all."""
    faulty = [own.start + np.flatnonzero(~np.isfinite(gradient)) for own, gradient in step.reduced()]
    places = np.concatenate(faulty)
    return _layers(step, lambda p: not ((places >= p.offset) & (places < p.stop)).any())


def _layers(step: Step, is_fine: Callable[[Parameter], bool]) -> list[str]:
    bad = [p.name.rpartition(".")[0] for p in reversed(step.layout.parameters) if not is_fine(p)]
    return list(dict.fromkeys(bad))


def _largest_terms(step: Step, left: Leftovers, samples: int, layer: str) -> tuple[str, npt.NDArray[np.int64]]:
    """The samples whose terms x d in the gradient of a layer's weights are so large that their sum can overflow.

    Those of this rank, or of all ranks where it has computed its part of the gradient from all rows.
    """
    indices = step.minibatches.indices[:samples] if left.program.gradient else left.indices
    for call in (*left.program.backward, *left.program.gradient):
        if call.kernel in ARRAYS and f"d({layer}.weight)" in call.text:
            x, d = (array[: len(indices)] for array in call.arguments[ARRAYS[call.kernel]])
            terms = np.abs(x).max(axis=1).astype(np.float64) * np.abs(d).max(axis=1)
            order = np.argsort(-terms, kind="stable")
            large = order[terms[order] >= np.finfo(x.dtype).max / len(terms)]
            return (f"the terms of the gradient of {layer}", indices[large]) if large.size else ("", large)
    return "", np.zeros(0, np.int64)
