"""The same federated round, as each of the peers wants it written. Measured by ``peers.py``.

Each peer gets its data in the cheapest form that it accepts, and neither evaluates nor saves
models where that can be turned off.
"""

from __future__ import annotations

import copy
import functools
import importlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from peer_rounds import CLASSES, CLIENTS, RATE, SAMPLES, Task, build_model, system
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector


@functools.cache
def client_of(name: str) -> tuple[Task, nn.Module]:
    """Data and module of a process that serves clients, kept from round to round."""
    torch.set_num_threads(1)
    task = Task(name)
    return task, task.model()


def train_step(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """One step of SGD, as a client's own code."""
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def _flower(task: Task, rounds: int, poll: float | None) -> Tensor:
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0")
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    name, server, client, result = task.name, ServerApp(), ClientApp(), {}

    @client.train()
    def train(message, context):
        from peer_programs import client_of, train_step

        held, model = client_of(name)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        number = context.node_config["partition-id"]
        train_step(model, held.images[number], held.labels[number])
        reply = RecordDict(
            {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": SAMPLES})}
        )
        return Message(content=reply, reply_to=message)

    class Marked(FedAvg):
        def aggregate_train(self, server_round, replies):
            answer = super().aggregate_train(server_round, replies)
            task.mark()
            return answer

    @server.main()
    def main(grid, context):
        if poll is not None:
            grid.pull_interval = poll
        strategy = Marked(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)
        result.update(strategy.start(grid, ArrayRecord(task.model().state_dict()), rounds).arrays.to_torch_state_dict())

    cores = len(os.sched_getaffinity(0))
    resources = {"init_args": {"num_cpus": cores}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, client, CLIENTS, backend_config=resources)
    return torch.cat([value.flatten() for value in result.values()])


@system("Flower")
def flower(task: Task, rounds: int) -> Tensor:
    """Its simulation engine on Ray, one actor per core."""
    return _flower(task, rounds, None)


@system("Flower, polling at 1 ms")
def flower_polling(task: Task, rounds: int) -> Tensor:
    """The same, its server looking for replies every millisecond instead of every 0.1 s (no public option)."""
    return _flower(task, rounds, 0.001)


@system("FedLab")
def fedlab(task: Task, rounds: int) -> Tensor:
    """Its standalone pipeline, clients one after the other in one process."""
    held = _torchvision_without_kernels()  # noqa: F841
    from fedlab.contrib.algorithm.fedavg import (
        FedAvgSerialClientTrainer,
        FedAvgServerHandler,
    )
    from fedlab.core.standalone import StandalonePipeline

    class Held:
        def get_dataloader(self, number, batch_size):
            return [(task.images[number], task.labels[number])]

    class Marked(StandalonePipeline):
        def evaluate(self):
            task.mark()

    trainer = FedAvgSerialClientTrainer(task.model(), CLIENTS)
    trainer.setup_dataset(Held())
    trainer.setup_optim(1, SAMPLES, RATE)
    handler = FedAvgServerHandler(task.model(), rounds, 1.0)
    task.mark()
    Marked(handler, trainer).main()
    return handler.model_parameters


@system("pfl-research")
def pfl(task: Task, rounds: int) -> Tensor:
    """Its simulated backend in one process."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.hyperparam.base import NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = task.model()

        def loss(self, x, y, eval=False):
            return F.cross_entropy(self.inner(x), y)

        def metrics(self, x, y, eval=False):
            return {}

    class Marks(TrainingProcessCallback):
        def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
            task.mark()
            return False, Metrics()

    users = iter(int(n) for _ in range(rounds + 1) for n in range(CLIENTS))
    held = FederatedDataset(lambda n: Dataset((task.images[n], task.labels[n]), user_id=str(n)), lambda: next(users))
    module = Wrapped()
    server = torch.optim.SGD(module.parameters(), 1.0)
    model = PyTorchModel(module, lambda parameters, lr: torch.optim.SGD(parameters, lr), server)
    settings = NNAlgorithmParams(
        central_num_iterations=rounds, evaluation_frequency=10**9, train_cohort_size=CLIENTS, val_cohort_size=0
    )
    local = NNTrainHyperParams(local_num_epochs=1, local_learning_rate=RATE, local_batch_size=SAMPLES)
    FederatedAveraging().run(settings, SimulatedBackend(held, held), model, local, callbacks=[Marks()])
    return parameters_to_vector(module.parameters()).detach()


def _torchvision_without_kernels() -> torch.library.Library:
    """While it is held, torchvision can be imported where only its build for CUDA is published: the two
    operators that it asks for are named, and never run here."""
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return library


@system("fluke")
def fluke(task: Task, rounds: int) -> Tensor:
    """Its centralised federation in one process."""
    held = _torchvision_without_kernels()  # noqa: F841
    from fluke import FlukeENV
    from fluke.algorithms import CentralizedFL
    from fluke.client import Client
    from fluke.config import OptimizerConfigurator
    from fluke.data import FastDataLoader
    from fluke.server import Server
    from fluke.utils import ServerObserver

    FlukeENV().set_eval_cfg(server=False)
    descent = OptimizerConfigurator({"name": "SGD", "lr": RATE})
    clients = [
        Client(
            n, FastDataLoader(task.images[n], task.labels[n], num_labels=CLASSES, batch_size=SAMPLES),
            None, descent, nn.CrossEntropyLoss(), local_epochs=1,
        )
        for n in range(CLIENTS)
    ]  # fmt: skip
    server = Server(task.model(), None, clients)
    federation = CentralizedFL(CLIENTS, None, {}, clients, server)

    class Marks(ServerObserver):
        def end_round(self, round):
            task.mark()

    federation.attach(Marks())
    federation.run(rounds, 1.0)
    return parameters_to_vector(server.model.parameters()).detach()


@system("FedML")
def fedml(task: Task, rounds: int) -> Tensor:
    """Its single-process simulation."""
    held = _torchvision_without_kernels()  # noqa: F841
    from types import SimpleNamespace

    from fedml.simulation.sp.fedavg import fedavg_api

    class Silent:
        """For the reports to the vendor's service, which need an account."""

        def __getattr__(self, name):
            return Silent()

        def __call__(self, *_, **__):
            return None

    fedavg_api.mlops = Silent()

    class Marked(fedavg_api.FedAvgAPI):
        def _aggregate(self, local_models):
            answer = super()._aggregate(local_models)
            task.mark()
            return answer

        def _local_test_on_all_clients(self, number):
            """Evaluates after the first and the last round otherwise."""

    settings = SimpleNamespace(
        dataset="own", model="own", client_num_in_total=CLIENTS, client_num_per_round=CLIENTS, comm_round=rounds,
        epochs=1,
        batch_size=SAMPLES, client_optimizer="sgd", learning_rate=RATE, weight_decay=0.0, frequency_of_the_test=10**9,
        enable_wandb=False,
    )  # fmt: skip
    local = {n: [(task.images[n], task.labels[n])] for n in range(CLIENTS)}
    sizes = dict.fromkeys(range(CLIENTS), SAMPLES)
    everything = [CLIENTS * SAMPLES, 0, [], [], sizes, local, {n: [] for n in range(CLIENTS)}, CLASSES]
    federation = Marked(settings, torch.device("cpu"), everything, task.model())
    trainer = federation.model_trainer
    state_of = trainer.get_model_params

    def start_in_memory_of_its_own():
        trainer.get_model_params = state_of
        return copy.deepcopy(state_of())

    # The server's first state is otherwise the module's own tensors: in the first round, each
    # client would go on from where the one before it ended.
    trainer.get_model_params = start_in_memory_of_its_own
    federation.train()
    return parameters_to_vector(federation.model.parameters()).detach()


FLGO_BENCHMARK = """
import torch
from peer_rounds import Task
task = Task({name!r})
train_data = torch.utils.data.TensorDataset(task.images.flatten(0, 1), task.labels.flatten())
get_model = task.model
"""


@system("FLGo")
def flgo(task: Task, rounds: int) -> Tensor:
    """Its runner with a virtual clock, in one process."""
    held = _torchvision_without_kernels()  # noqa: F841
    import flgo
    import flgo.benchmark.partition
    import flgo.benchmark.toolkits.cv.classification as images
    from flgo.algorithm import fedavg

    # PyTorch refuses subsets with only one of the two.
    images.FromDatasetPipe.TaskDataset.__getitems__ = lambda self, places: [self[place] for place in places]

    class Server(fedavg.Server):
        def iterate(self):
            updated = super().iterate()
            task.mark()
            return updated

    method = type("Method", (), {"__name__": "fedavg", "Server": Server, "Client": fedavg.Client})
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        Path("settings.py").write_text(FLGO_BENCHMARK.format(name=task.name))
        benchmark = importlib.import_module(flgo.gen_benchmark_from_file("images", "settings.py", "."))
        flgo.gen_task_by_(benchmark, flgo.benchmark.partition.IIDPartitioner(num_clients=CLIENTS), "task")
        options = {
            "num_rounds": rounds, "proportion": 1.0, "sample": "full", "num_steps": 1, "batch_size": SAMPLES,
            "learning_rate": RATE, "learning_rate_decay": 1.0, "train_holdout": 0.0, "eval_interval": 0,
            "no_log_console": True, "no_tqdm": True,
        }  # fmt: skip
        runner = flgo.init("task", method, options)
        runner.run()
        os.chdir("/")
    return parameters_to_vector(runner.model.parameters()).detach()


@system("FedJAX")
def fedjax(task: Task, rounds: int) -> Tensor:
    """Its compiled client loop on JAX; the same network, written in JAX."""
    import fedjax
    import jax
    import jax.numpy as jnp
    from fedjax.algorithms import fed_avg

    layers = list(task.model())
    start = [jnp.asarray(p.detach().numpy()) for p in task.model().parameters()]

    def forward(parameters, x):
        parameters = iter(parameters)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                x = x @ next(parameters).T + next(parameters)
            elif isinstance(layer, nn.Conv2d):
                x = jax.lax.conv(x, next(parameters), (1, 1), "SAME") + next(parameters)[:, None, None]
            elif isinstance(layer, nn.MaxPool2d):
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            else:
                x = x.reshape(len(x), -1) if isinstance(layer, nn.Flatten) else jax.nn.relu(x)
        return x

    def loss(parameters, batch):
        logs = jax.nn.log_softmax(forward(parameters, batch["x"]))
        return -jnp.mean(jnp.take_along_axis(logs, batch["y"][:, None], 1))

    settings = fedjax.ShuffleRepeatBatchHParams(batch_size=SAMPLES, num_epochs=1)
    method = fed_avg.federated_averaging(
        lambda parameters, batch, key: jax.grad(loss)(parameters, batch),
        fedjax.optimizers.sgd(RATE), fedjax.optimizers.sgd(1.0), settings,
    )  # fmt: skip
    held = zip(task.images.numpy(), task.labels.numpy(), strict=True)
    clients = [
        (b"%d" % n, fedjax.ClientDataset({"x": x, "y": y}), jax.random.PRNGKey(n)) for n, (x, y) in enumerate(held)
    ]
    state = method.init(start)
    task.mark()
    for _ in range(rounds):
        state, _ = method.apply(state, clients)
        jax.block_until_ready(state.params)
        task.mark()
    return torch.cat([torch.from_numpy(np.array(p)).flatten() for p in state.params])


class Net(nn.Sequential):
    """The same network by a class path, which NVIDIA FLARE builds it from."""

    def __init__(self, name: str):
        super().__init__(*build_model(name))


NVFLARE_CLIENT = """
import sys, time
import nvflare.client as flare
import torch
from peer_programs import client_of, train_step
flare.init()
held, model = client_of({name!r})
number = int(flare.get_site_name().split("-")[1]) - 1
marks = open({folder!r} + f"/marks{{number}}", "a")
while flare.is_running():
    received = flare.receive()
    if received is None:
        break
    marks.write(f"{{time.time()}}\\n")
    marks.flush()
    model.load_state_dict({{name: torch.as_tensor(value) for name, value in received.params.items()}})
    if number == 0:
        torch.save(model.state_dict(), {folder!r} + "/server.pt")
    train_step(model, held.images[number], held.labels[number])
    flare.send(flare.FLModel(params=model.state_dict(), metrics={{"accuracy": 0.0}}))
"""


@system("NVIDIA FLARE")
def nvflare(task: Task, rounds: int) -> Tensor:
    """Its simulator, a process for each client; a round goes from one model received to the next."""
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
    from nvflare.recipe import SimEnv

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "client.py")
        script.write_text(NVFLARE_CLIENT.format(name=task.name, folder=folder))
        model = {"class_path": "peer_programs.Net", "args": {"name": task.name}}
        recipe = FedAvgRecipe(
            name="round", model=model, min_clients=CLIENTS, num_rounds=rounds + 1, train_script=str(script)
        )
        recipe.execute(SimEnv(num_clients=CLIENTS, num_threads=CLIENTS, workspace_root=folder + "/workspace"))
        task.marks = [float(line) for line in Path(folder, "marks0").read_text().split()]
        state = torch.load(Path(folder, "server.pt"))
    return torch.cat([value.flatten() for value in state.values()])
