"""Rules for the layers of a network: names, and which layer reads which."""

from collections.abc import Iterator, Sequence

from distprop.config.defaults import INPUT, named_layers
from distprop.config.layers import Add, Concatenate, Dense, Layer
from distprop.config.losses import SoftmaxCrossEntropy
from distprop.config.problems import Problem, did_you_mean, wrong
from distprop.config.run import Network
from distprop.config.toml import printable, shown

_LAYERS = ("network", "layers")


def network_problems(network: Network) -> Iterator[Problem]:
    layers = named_layers(network.layers)
    yield from _name_problems(layers)
    for number in range(len(layers)):
        yield from _input_problems(layers, number, network.layers[number].inputs)
    yield from _dead_ends(layers)
    if not any(isinstance(layer, Dense) for layer in layers):
        yield Problem(_LAYERS, "nothing to train (expected at least one dense layer)")
    yield from _output_problems(network)


def _name_problems(layers: Sequence[Layer]) -> Iterator[Problem]:
    taken: dict[str, int] = {}
    for number, layer in enumerate(layers):
        name = str(layer.name)
        path = (*_LAYERS, number, "name")
        if name == INPUT:
            yield Problem(path, f'"{INPUT}" is the network\'s own input (expected another name)')
        elif not name or not name.isprintable() or name != name.strip() or "/" in name:
            yield Problem(path, wrong("not a name", name, "printable text without / and without blanks around it"))
        elif name in taken:
            yield Problem(path, wrong(f"layer {taken[name]} has this name", name, "another name"))
        taken.setdefault(name, number)


def _input_problems(layers: Sequence[Layer], number: int, given: Sequence[str]) -> Iterator[Problem]:
    layer = layers[number]
    path = (*_LAYERS, number, "inputs")
    if isinstance(layer, Add | Concatenate):
        if len(given) < 2:
            yield Problem(path, wrong("too few inputs", list(given), "at least 2 names of layers"))
    elif len(layer.inputs) > 1:
        expected = 'one name; put an "add" or "concatenate" layer before it'
        yield Problem(path, wrong("too many inputs", list(layer.inputs), expected))
    before = [INPUT, *(str(other.name) for other in layers[:number])]
    after = [str(other.name) for other in layers[number:]]
    for name in (name for name in dict.fromkeys(layer.inputs) if name not in before):
        problem = (
            "a layer can only read layers before it" if name in after else "no such layer" + did_you_mean(name, before)
        )
        yield Problem(path, wrong(problem, name, f"one of {', '.join(map(printable, before))}"))


def _dead_ends(layers: Sequence[Layer]) -> Iterator[Problem]:
    read = {name for layer in layers for name in layer.inputs}
    for number, layer in enumerate(layers[:-1]):
        if layer.name not in read:
            yield Problem(
                (*_LAYERS, number),
                f"no layer reads the output of {shown(str(layer.name))} (only the last may be unread)",
            )


def _output_problems(network: Network) -> Iterator[Problem]:
    last, loss = network.layers[-1], network.loss
    if not isinstance(last, Dense) or not isinstance(loss, SoftmaxCrossEntropy):
        return
    if last.units == 1:
        expected = 'a unit for each class, or the loss "binary_cross_entropy"'
        yield Problem(
            (*_LAYERS, len(network.layers) - 1, "units"), wrong("one output leaves nothing to choose", 1, expected)
        )
    weights = loss.class_weights
    if isinstance(weights, tuple) and len(weights) != last.units:
        text = wrong(
            "not one weight for each class", list(weights), f"{last.units} numbers, as many as the last layer has units"
        )
        yield Problem(("network", "loss", "class_weights"), text)
