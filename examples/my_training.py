"""Trains a network from Python, on one rank or several: which points of a square lie in a disc.

    python examples/my_training.py
    mpirun -n 2 python examples/my_training.py

Both print the same digest: the model doesn't depend on how many ranks made it.
"""

import numpy as np

import distprop as dp


def points(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points x (samples, 2) of the square from -1 to 1; y (samples,): 1 for those in the disc, 0 for the others."""
    x = np.random.Generator(np.random.Philox(key=seed)).uniform(-1, 1, (samples, 2))
    return x, (x[:, 0] * x[:, 0] + x[:, 1] * x[:, 1] < 0.6).astype(int)


def main() -> None:
    x, y = points(2000, seed=1)
    x_test, y_test = points(500, seed=2)
    network = dp.Network([dp.Dense(32, "relu"), dp.Dense(16, "relu"), dp.Dense(1)], loss=dp.BinaryCrossEntropy())
    result = dp.train(
        network,
        dp.Dataset(x, y),
        validation=dp.Dataset(x_test, y_test),
        optimizer=dp.Adam(0.02),
        schedule=dp.Cosine(),
        epochs=20,
        batch_size=64,
        seed=1,
    )
    if result.rank == 0:
        right = (result.model.predict(x_test) == y_test).mean()
        print(f"accuracy {right:.3f}")
        print(f"digest {result.model.digest()}")


if __name__ == "__main__":
    main()
