"""The notebook of the documents: what is stored of it, and that it runs in a Jupyter kernel."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/first_study.ipynb"
SHORT = {'"epochs": 6': '"epochs": 1, "data": {"limit": 300}', "seeds=3": "seeds=2"}


def code(book):
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def kinds(cell):
    """Return what a cell shows at its end."""
    return sorted({kind for output in cell["outputs"][-1:] for kind in output.get("data", {"text": ""})})


def test_the_notebook_is_stored_with_its_outputs_and_nothing_of_the_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    book = json.loads(text)
    assert (len(book["cells"]), len(text) < 100_000) == (10, True)
    assert [cell["source"][0].partition("\n")[0] for cell in code(book) if not cell["outputs"]] == [
        "import bagoftricks as bot"
    ]
    assert [cell["execution_count"] for cell in code(book)] == list(range(1, len(code(book)) + 1))
    assert re.findall(r"/(?:tmp|home|root|work|Users)/|[Ww]arning|Traceback|\"error\"", text) == []
    assert "<svg" in json.dumps(code(book)[6]["outputs"])
    for long in SHORT:
        assert long in "".join(source for cell in code(book) for source in cell["source"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the packages of Jupyter
def test_the_notebook_runs_in_a_kernel(here):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(NOTEBOOK, 4)
    stored = [kinds(cell) for cell in code(book)]
    for cell in code(book):
        for long, short in SHORT.items():
            cell["source"] = cell["source"].replace(long, short)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(here)}}).execute()
    assert [kinds(cell) for cell in code(book)] == stored
    assert "study_runs" in [path.name for path in here.iterdir()]
    said = json.dumps(code(book)[1]["outputs"])
    assert "epoch   1" in said  # progress in the cell
    assert "Traceback" not in json.dumps(book)
