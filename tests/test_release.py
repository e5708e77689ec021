"""What is released: versions and dates agree, the files of packagers and hosts say what pyproject.toml says."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

import bagoftricks

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s#]+)[^)]*\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
CONDA_NAMES = {"torch": "pytorch", "pyDOE3": "pydoe3", "typing-extensions": "typing_extensions"}
RELEASED = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE)
USED = re.compile(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_newest_released_version_is_that_of_the_package_and_of_the_citation():
    versions = RELEASED.findall(text_of("CHANGELOG.md"))
    assert text_of("CHANGELOG.md").index("## [Unreleased]") < text_of("CHANGELOG.md").index(f"## [{versions[0][0]}]")
    assert versions[0] == (bagoftricks.__version__, CITATION["date-released"]) == (CITATION["version"], versions[0][1])
    assert [version for version, _ in versions] == ["0.2.0", "0.1.0"][-len(versions) :]


def test_the_citation_keeps_to_its_schema():
    cffconvert = pytest.importorskip("cffconvert")
    cffconvert.Citation(text_of("CITATION.cff")).validate()


def test_the_citation_has_what_is_required_and_the_licence_of_the_project():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert (CITATION["cff-version"], CITATION["license"]) == ("1.2.0", PROJECT["license"])


def test_classifiers_name_the_versions_of_python_from_the_oldest_on():
    minors = [int(c.rpartition(".")[2]) for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))
    tested = yaml.safe_load(text_of(".github/workflows/checks.yml"))["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert [job["python"] for job in tested] == [f"3.{minor}" for minor in minors]


def long_description():
    found = importlib.util.spec_from_file_location("long_description", ROOT / "packaging" / "long_description.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_links_to_files_become_their_names_and_code_stays():
    page = "# Title\n\nsee [the page](docs/a.md#b), [`docs/a.md`](docs/a.md), [us](https://a.org)\n![A plot](x.svg)\n"
    made = long_description().without_relative_links(page + "```sh\necho [a](b)\n```\n")
    assert "see the page (`docs/a.md`), `docs/a.md`, [us](https://a.org)\n*Picture: A plot.*\n" in made
    assert made.endswith("```sh\necho [a](b)\n```\n")


def test_the_long_description_has_no_relative_link():
    made = long_description().without_relative_links(text_of("README.md"))
    assert LINK.findall(CODE.sub("", made)) == []


def test_the_recipe_of_conda_has_the_dependencies_and_commands_of_the_project():
    jinja2 = pytest.importorskip("jinja2")
    recipe = yaml.safe_load(jinja2.Template(text_of("packaging/conda/meta.yaml")).render(PYTHON="python"))
    assert recipe["package"]["version"] == bagoftricks.__version__
    split = [re.match(r"([\w-]+)(.*)", requirement).groups() for requirement in PROJECT["dependencies"]]
    wanted = [f"{CONDA_NAMES.get(name, name)} {versions}" for name, versions in split]
    assert recipe["requirements"]["run"] == [f"python {PROJECT['requires-python']}", *wanted]
    assert recipe["build"]["entry_points"] == [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]
    assert recipe["about"]["summary"] == PROJECT["description"]


def test_workflows_have_least_rights_and_run_scripts_that_exist_with_pinned_actions():
    text = text_of(".github/workflows/checks.yml")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    targets = re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE)
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                name = step["run"].removeprefix("make ")
                assert name in targets if name != step["run"] else (ROOT / name).is_file(), step
    assert all(USED.search(line) for line in text.splitlines() if "uses:" in line)


def test_hooks_before_a_commit_are_the_checks_of_ci_in_the_environment_of_the_project():
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    commands = [" ".join(hook["entry"].split()[:2]) for hook in repository["hooks"]]
    checks = [line.split(" --")[0].removesuffix(" .") for line in text_of("scripts/check").splitlines()[-3:]]
    assert commands == checks


def test_the_image_has_two_targets_that_run_as_a_user_and_copies_what_is_sent_to_its_builder():
    stages = re.split(r"^FROM ", text_of("Dockerfile"), flags=re.MULTILINE)[1:]
    named = {stage.split("\n", 1)[0].split(" AS ")[1]: stage for stage in stages}
    assert list(named) == ["wheel", "base", "cpu", "cuda"]
    for target in ("cpu", "cuda"):
        lines = [line for line in named[target].splitlines() if line and not line.startswith("#")]
        assert lines[0] == f"base AS {target}"
        assert lines[-2:] == ["USER 1000", 'CMD ["bagoftricks"]']
        assert "--constraint /opt/constraints.txt" in named[target]
    sent = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    built = tomllib.loads(text_of("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*built["packages"], *built["force-include"], "pyproject.toml", "README.md", "constraints.txt"} <= sent
    assert all((ROOT / name).exists() for name in sent)


def test_forms_of_issues_have_what_hosts_require():
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
            assert all({"type", "attributes"} <= set(part) for part in form["body"])


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    build = (sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT))
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.mark.slow
def test_every_link_of_a_document_in_the_source_distribution_leads_to_a_file_in_it(source):
    pages = sorted(source.rglob("*.md"))
    assert {source / "README.md", source / "docs" / "platforms.md", source / "results" / "README.md"} <= set(pages)
    links = [(page, link) for page in pages for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))]
    assert [(str(p.relative_to(source)), link) for p, link in links if not (p.parent / link).exists()] == []
    assert len(links) > 100


@pytest.mark.slow
def test_an_index_shows_a_description_without_links_to_files(source):
    about = (source / "PKG-INFO").read_text(encoding="utf-8")
    assert f"\nVersion: {bagoftricks.__version__}\n" in about
    assert LINK.findall(CODE.sub("", about)) == []
    assert "Description-Content-Type: text/markdown" in about


@pytest.mark.slow
def test_tests_and_results_run_from_the_source_distribution(source):
    alone = {"PATH": os.environ["PATH"]}
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_rng.py", "tests/test_release.py")
    done = subprocess.run(command, cwd=source, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    table = (sys.executable, "-m", "bagoftricks.cli.table", "store=results/laptop/refinements/runs", "format=json")
    done = subprocess.run(table, cwd=source, env=alone, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) > 10
