"""PyTorch's part in steps.py: python steps_torch.py eager|compile|ddp FOLDER CONVERSATION

One thread a process. ddp: two processes, DistributedDataParallel over gloo, half of each minibatch each.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from conversation import Conversation
from steps_task import BETA1, BETA2, EPSILON, MOMENTUM, Start, Task, load_start, load_task, take_turns
from torch import nn


def network(task: Task, start: Start) -> nn.Sequential:
    layers = [nn.Linear(inputs, outputs) for inputs, outputs in task.layers]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, start.params[::2], start.params[1::2], strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def optimizer(task: Task, model: nn.Module) -> torch.optim.Optimizer:
    if task.optimizer == "momentum":
        return torch.optim.SGD(model.parameters(), task.rate, momentum=MOMENTUM, fused=True)
    return torch.optim.Adam(model.parameters(), task.rate, (BETA1, BETA2), EPSILON, fused=True)


def part(form: str, folder: Path, conversation: Path, rank: int = 0, size: int = 1) -> None:
    talk, task = Conversation(conversation, rank), load_task(folder)
    start = load_start(folder, task)
    torch.set_num_threads(1)
    model = network(task, start)
    if size > 1:
        model = nn.parallel.DistributedDataParallel(model)
    descent, criterion = optimizer(task, model), nn.CrossEntropyLoss()
    x, y = map(torch.from_numpy, task.data())
    mine = slice(rank * task.batch // size, (rank + 1) * task.batch // size)

    def loss_of(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return criterion(model(features), labels)

    if form == "compile":
        loss_of = torch.compile(loss_of)

    def train(rows: np.ndarray) -> list[float]:
        losses = []
        for indices in torch.from_numpy(rows)[:, mine]:
            loss = loss_of(x[indices], y[indices])
            descent.zero_grad(set_to_none=True)
            loss.backward()
            descent.step()
            losses.append(loss.detach())
        numbers = torch.stack(losses)
        if size > 1:
            dist.all_reduce(numbers)
        return (numbers / size).tolist()

    take_turns(task, talk, start, train)


def worker(rank: int, folder: Path, conversation: Path) -> None:
    """One of DDP's two processes."""
    dist.init_process_group("gloo", init_method=f"file://{conversation}/meeting", rank=rank, world_size=2)
    part("ddp", folder, conversation, rank, 2)
    dist.destroy_process_group()


if __name__ == "__main__":
    form, folder, conversation = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if form == "ddp":
        torch.multiprocessing.spawn(worker, (folder, conversation), nprocs=2)
    else:
        part(form, folder, conversation)
