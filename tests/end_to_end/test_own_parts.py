"""Data and models of the user's own, from a scenario file and from Python."""

import doctest
import re
import textwrap
import tomllib

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.utils.data import TensorDataset

import simgmc
from simgmc.cli import main
from simgmc.core.errors import SimgmcError
from simgmc.results import report
from simgmc.scenario import ScenarioFile
from tests.places import ROOT
from tests.small_runs import ON_A_STAR

SCENARIO = (
    """
seeds = [1]
[workload]
model = { name = "import", factory = "my_task:Net", width = 8 }
workers = 2
batch_per_worker = 8
epochs = 2
[workload.dataset]
name = "import"
train = "my_task:samples"
test = { factory = "my_task:samples", size = 40, seed = 1 }
mean = 0.5
[optimizer]
learning_rate = 0.5
"""
    + ON_A_STAR
)
TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def samples(size=200, seed=0):
    x = torch.randn(size, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > 0).long())


class Net(nn.Sequential):
    def __init__(self, width, sample_shape, classes):
        super().__init__(nn.Linear(*sample_shape, width), nn.Tanh(), nn.Linear(width, classes))


def crooked():
    return nn.Linear(4, 2)


def breaks():
    raise RuntimeError("not today")


no_function = 3


def plain(width, classes):
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, classes))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.toml").write_text(SCENARIO)
    (tmp_path / "my_task.py").write_text(TASK)
    return tmp_path


def run(folder, *settings):
    arguments = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(
        main, ["run", str(folder / "mine.toml"), "--out", str(folder / "run"), "--overwrite", *arguments]
    )


def test_data_and_model_by_import_path_relative_to_the_scenario(folder):
    done = run(folder)
    assert done.exit_code == 0, done.output
    assert ": 1 method x 1 seed x 1 grid point\n" in done.output
    assert "my_task:Net (66 parameters) on my_task:samples, iid" in done.output
    assert (folder / "run/partition.csv").read_text().splitlines()[1].startswith('"my_task:samples, iid, 2 workers",')
    rows = (folder / "run/metrics.csv").read_text().splitlines()
    accuracy = rows[0].split(",").index("test_accuracy")
    assert float(rows[-1].split(",")[accuracy]) > 0.8
    file = ScenarioFile.read(folder / "run/scenario.toml")
    resolved = file.points[0].scenario
    assert file.code.used["my_task"].file == str(folder / "my_task.py")
    assert resolved.workload.model.options == {"factory": "my_task:Net", "folder": None, "width": 8}
    assert resolved.workload.dataset.options["test"] == {"factory": "my_task:samples", "size": 40, "seed": 1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "workload.model.factory='my_tusk:Net'",
            "workload.model: my_tusk:Net: there is no module 'my_tusk' in {folder} or among Python's",
        ),
        (
            "workload.model.factory='my_task:Nut'",
            "workload.model: my_task:Nut: my_task ({folder}/my_task.py) has no 'Nut'; did you mean \"Net\"?",
        ),
        ("workload.model.factory='my_task'", 'must be an import path, "package.module:name"'),
        ("workload.model.factory='my_task:no_function'", "my_task:no_function is int, not a function or class to call"),
        (
            "workload.model.widht=8",
            "my_task:Net(width, sample_shape, classes) does not take width = 8, widht = 8: got an unexpected keyword "
            "argument 'widht'",
        ),
        (
            "workload.model={ name = 'import', factory = 'my_task:Net' }",
            "does not take no arguments: missing a required argument: 'width'",
        ),
        ("workload.model={ name = 'import', factory = 'my_task:samples' }", "(TensorDataset) is not a torch.nn.Module"),
        (
            "workload.model={ name = 'import', factory = 'my_task:breaks' }",
            "my_task:breaks failed: RuntimeError: not today ({folder}/my_task.py, line 22, in breaks)",
        ),
        (
            "workload.model={ name = 'import', factory = 'my_task:crooked' }",
            "model Linear: does not take a batch of shape (8, 5) (float32): RuntimeError: mat1 and mat2",
        ),
        (
            "workload.dataset.train='my_task:breaks'",
            "workload.dataset.train: my_task:breaks failed: RuntimeError: not today",
        ),
        (
            "workload.dataset.train='my_task:Net'",
            "workload.dataset.train: my_task:Net(width, sample_shape, classes) does not take no arguments",
        ),
        ("workload.dataset.mean='x'", "must be a number, or a list of one for each channel"),
        ("workload.augment=true", "augmentation needs images"),
    ],
)
def test_mistakes_are_one_clear_line_and_never_a_traceback(folder, setting, message):
    done = run(folder, setting)
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit)
    errors = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert any(message.format(folder=folder) in line for line in errors), done.output
    assert "Traceback" not in done.output and not (folder / "run").exists()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nothing_here\n", "No module named 'nothing_here'"),
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported_shows_its_own_error_and_line(folder, code, says):
    (folder / "my_task.py").write_text(code)
    done = run(folder)
    assert says in done.output and f"({folder}/my_task.py, line 1" in done.output and "Traceback" not in done.output


def test_modules_of_the_same_name_in_two_folders_are_two_modules(folder, tmp_path_factory):
    assert run(folder).exit_code == 0
    other = tmp_path_factory.mktemp("other")
    (other / "mine.toml").write_text(SCENARIO)
    (other / "my_task.py").write_text(
        TASK.replace("nn.Linear(*sample_shape, width)", "nn.Linear(*sample_shape, width, bias=False)")
    )
    assert "my_task:Net (58 parameters)" in run(other).output


def python_scenario():
    content = tomllib.loads(SCENARIO)
    del content["workload"]["dataset"], content["workload"]["model"]
    return content


def task(size, seed):
    x = torch.randn(size, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > 0).long())


def test_objects_from_python_give_the_same_run_as_the_same_ones_by_import(folder):
    assert run(folder, "workload.dataset.mean=0", "workload.model.factory='my_task:plain'").exit_code == 0
    out = simgmc.run(
        python_scenario(),
        out=folder / "python",
        train=task(200, 0),
        test=task(40, 1),
        mean=0,
        model=lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)),
    )
    assert (out / "metrics.csv").read_text() == (folder / "run/metrics.csv").read_text()


def test_other_data_from_python_are_another_scenario(tmp_path):
    options = {"out": tmp_path / "run", "test": task(40, 1), "model": nn.Linear(5, 2)}
    simgmc.run(python_scenario(), train=task(200, 0), **options)
    with pytest.raises(SimgmcError, match="another scenario|differ"):
        simgmc.run(python_scenario(), train=task(200, 3), **options)
    with pytest.raises(SimgmcError, match="data were given from Python; give them again"):
        simgmc.run(tmp_path / "run/scenario.toml", out=tmp_path / "again")


def test_half_of_what_is_needed_from_python_is_refused(tmp_path):
    with pytest.raises(SimgmcError, match="give both train and test"):
        simgmc.run(python_scenario(), out=tmp_path, train=task(9, 0))
    with pytest.raises(SimgmcError, match="model: int is neither"):
        simgmc.run(python_scenario(), out=tmp_path, train=task(9, 0), test=task(9, 0), model=3)
    with pytest.raises(SimgmcError, match="workload.dataset"):
        simgmc.run(python_scenario(), out=tmp_path)


def test_the_pages_python_examples_run_as_printed(tmp_path, monkeypatch, capsys):
    """A run with data and a model of one's own; and what is done with a run's results, of the quickstart in small."""
    text = "".join((ROOT / "scenarios" / page).read_text() for page in ("OWN.md", "RESULTS.md"))
    blocks = list(map(textwrap.dedent, re.findall(r"```python\n(.*?)```", text, re.DOTALL)))
    (running,) = (block for block in blocks if "train=samples" in block)
    (reading,) = (block for block in blocks if "simgmc.load(" in block)
    monkeypatch.chdir(tmp_path)
    exec(compile(running, "OWN.md", "exec"), {})
    assert (tmp_path / "runs/own/summary.csv").is_file()
    assert capsys.readouterr().out.endswith("runs/own/summary.csv\n")
    small = {"seeds": [1], "workload.epochs": 2, "report.target": 0.3}
    quickstart = ROOT / "scenarios/quickstart.toml"
    monkeypatch.setattr(report, "draw_plots", lambda *arguments, **options: {})  # what runs draw of themselves
    simgmc.run(quickstart, out="runs/quickstart", settings=small, device="cpu", quiet=True)
    exec(compile(reading, "RESULTS.md", "exec"), {})
    assert (tmp_path / "runs/both.pdf").is_file() and r"\toprule" in capsys.readouterr().out
    simgmc.replay("runs/quickstart", set={"cluster.latency": "20 ms"}, quiet=True)
    documented = [simgmc.api, simgmc.plot, simgmc.load, simgmc.compare, simgmc.Run.table, simgmc.Run.model]
    for one in documented:
        examples = doctest.DocTestParser().get_examples(one.__doc__)
        assert examples
        names = {"simgmc": simgmc, "run": simgmc.load("runs/quickstart"), "Net": Digits}
        for example in examples:
            source = example.source.replace("scenarios/quickstart.toml", str(quickstart))
            exec(
                compile(source.replace('out="runs/quickstart")', f'out="runs/again", settings={small})'), "", "exec"),
                names,
            )


class Digits(nn.Sequential):
    """The quickstart's model."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
