"""The layout of the flat vectors: named views at cache lines."""

import numpy as np

from distprop.config.layers import Dense, Flatten
from distprop.network.graph import build_graph
from distprop.network.layout import ALIGNMENT, make_layout


def layout():
    layers = [Flatten(), Dense(7, name="a"), Dense(3, bias=False, name="b"), Dense(1, name="c", initializer=0.5)]
    return make_layout(build_graph(layers, (3, 5)))


def test_parameters_start_at_cache_lines_and_do_not_overlap():
    made, end = layout(), 0
    for parameter in made.parameters:
        assert parameter.offset % ALIGNMENT == 0 and parameter.offset >= end
        assert parameter.stop - parameter.offset == np.prod(parameter.shape)
        end = parameter.stop
    assert end <= made.length < end + ALIGNMENT and made.length % ALIGNMENT == 0


def test_names_shapes_and_what_is_regularised():
    described = [(p.name, p.shape, p.is_weight, p.initializer) for p in layout().parameters]
    assert described == [
        ("a.weight", (15, 7), True, "glorot_uniform"),
        ("a.bias", (7,), False, "zeros"),
        ("b.weight", (7, 3), True, "glorot_uniform"),
        ("c.weight", (3, 1), True, 0.5),
        ("c.bias", (1,), False, "zeros"),
    ]
    assert layout().count == 15 * 7 + 7 + 7 * 3 + 3 + 1


def test_views_share_the_vector_and_leave_the_gaps_alone():
    made = layout()
    vector = np.full(made.length, np.nan)
    for view in made.views(vector).values():
        view[...] = 1
    assert np.nansum(vector) == made.count and np.isnan(vector).sum() == made.length - made.count


def test_every_parameter_has_a_key_of_its_own():
    keys = [parameter.key for parameter in layout().parameters]
    assert len(set(keys)) == len(keys)


def test_a_network_without_parameters_has_an_empty_layout():
    assert make_layout(build_graph([Flatten()], (2, 2))).length == 0


def test_a_part_of_the_vectors_gives_the_whole_rows_that_hold_it():
    made = layout()
    for start in range(made.length + 1):
        for stop in range(start, made.length + 1, 3):
            vector = np.zeros(made.length)
            for name, begin, view in made.views_of(slice(start, stop), vector):
                assert view.size and np.shares_memory(view, made.views(vector)[name][begin : begin + len(view)])
                view[...] += 1
            assert vector.max(initial=0) <= 1
            wanted = np.zeros(made.length)
            for view in made.views(wanted).values():
                view[...] = 1
            assert (vector[start:stop] == wanted[start:stop]).all()
            longest = max(parameter.shape[-1] for parameter in made.parameters)
            assert vector[: max(0, start - longest)].sum() == 0 == vector[stop + longest :].sum()
