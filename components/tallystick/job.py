"""The job file of ``tallystick run``: who takes part on this machine, and in which pipeline."""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from tallystick.package import Package, kind, names, suggestion
from tallystick.runtime.configuration import JSON
from tallystick.runtime.errors import ConfigError

EXAMPLE = """\
session: credit-1
pipeline: training          # or the path of a compiled pipeline package
parties:                    # in rank order, each with its own parameters
  alice: {data: guest.csv}  # a path is relative to this file
  bob:   {data: host.csv}
dealer: notary
params:                     # the parameters common to all
  id_columns: [id]
  label: y
  model: logistic_regression
  epochs: 10
"""
# The file of ``tallystick serve``, which side.py reads.
SIDE_EXAMPLE = """\
party: clinic
session: serve-1            # agreed by the parties before they start
consortium: consortium.yaml # a path is relative to this file
identity: clinic            # the folder with tls.key and tls.crt
receiver: clinic            # who asks; the others say the same name
output: probability
trained: trained            # this party's share of the model, and how it prepared
prepared: prepared          # its columns; or model_owner and model_file
listen: 127.0.0.1:8080      # these two at the receiver alone
token: token                # made by `openssl rand -hex 32`, mode 0600
"""

KEYS = ("session", "pipeline", "parties", "dealer", "params")
# What the supervisor itself says to each party.
SUPERVISED = frozenset({"party", "session", "consortium", "identity"})
# The parameters that hold a path, which a job file gives relative to itself; and the mappings that
# hold some.
PATHS = frozenset(
    {"data", "checkpoints", "trained", "prepared", "model_file", "class_names", "warm_start"}
)
PATHS_WITHIN = {"images": frozenset({"labels", "folder"})}
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Where a pod finds its party's tables.
CLAIM = "/data"
# Names become folders and certificates, so they are plain.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A checked job: nothing was started yet, and nothing in it is known to be wrong."""

    session: str
    """The name of the joint run."""
    package: Package
    """The compiled pipeline that every party runs."""
    parties: Mapping[str, Mapping[str, JSON]]
    """Each party's own parameters, by name, in rank order."""
    dealer: str
    """The name of the dealer."""
    params: Mapping[str, JSON]
    """The parameters common to all parties."""

    @classmethod
    def load(cls, path: Path, *, alone: str | None = None) -> Self:
        """Read and check a job file.

        Args:
            path: the file.
            alone: the one party that submits its side to its own cluster. Of the others it need
                not know everything, and relative paths are those of its claim.

        Raises:
            ConfigError: the file cannot be read, or a key or value in it is wrong; names which.
        """
        document = read(path)
        for key in document:
            if key not in KEYS:
                raise ConfigError(
                    f"{path}: unknown key {key!r}{suggestion(key, KEYS)} "
                    f"A job file holds {names(KEYS)}"
                )
        folder = path.resolve().parent
        tables = Path(CLAIM) if alone else folder
        session = _name(path, "session", document.get("session"))
        dealer = _name(path, "dealer", document.get("dealer"))
        package = Package.find(_text(path, "pipeline", document.get("pipeline")), folder)
        if missing := SUPERVISED - package.inputs.keys():
            raise ConfigError(
                f"pipeline: {package.path} is no party pipeline: "
                f"it takes no parameter {names(missing)}"
            )

        parties = _mapping(path, "parties", document.get("parties"))
        if len(parties) < 2:
            raise ConfigError(f"{path}: parties must name at least two, not {len(parties)}")
        if dealer in parties:
            raise ConfigError(
                f"{path}: {dealer!r} cannot be both a party and the dealer, who would see "
                "everything; give the dealer a name of its own"
            )
        job = cls(
            session=session,
            package=package,
            parties={
                _name(path, "a party's name", party): _parameters(
                    path, package, f"parties.{party}", own, tables
                )
                for party, own in parties.items()
            },
            dealer=dealer,
            params=_parameters(path, package, "params", document.get("params"), tables),
        )
        if alone and alone not in job.parties:
            raise ConfigError(f"{path}: party {alone!r} is none of {names(job.parties)}")
        for party in [alone] if alone else job.parties:
            if missing := package.required - SUPERVISED - job.arguments(party).keys():
                raise ConfigError(
                    f"{path}: party {party!r} lacks the parameter {names(missing)} of the pipeline "
                    f"{package.name!r}; give it under params, or under parties.{party}"
                )
        return job

    def arguments(self, party: str) -> dict[str, JSON]:
        """Return the pipeline parameters that the job gives to a party; its own come first."""
        return {**self.params, **self.parties[party]}


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys, of which PyYAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be plain text", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[Any, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: it cannot be read, is no YAML, or holds something else.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the job file cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: no valid YAML: {error.problem}") from None
    return _mapping(path, "the job", document)


def _mapping(path: Path, key: str, value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key} must be a mapping, not {kind(value)}")
    return value


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path}: {key} must be text, not {kind(value)}")
    return value


def _name(path: Path, key: str, value: object) -> str:
    name = _text(path, key, value)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: {key} must be up to 63 letters, digits, '-', '_' or '.', and begin with a "
            f"letter or digit, not {name!r}"
        )
    return name


def _parameters(
    path: Path, package: Package, where: str, value: object, folder: Path
) -> dict[str, JSON]:
    parameters = {} if value is None else _mapping(path, where, value)
    if taken := SUPERVISED & parameters.keys():
        raise ConfigError(f"{path}: {where}: {names(taken)} is set by tallystick run; leave it out")
    package.check(f"{path}: {where}", parameters)
    return {
        name: placed(folder, name, package.typed(name, entry), PATHS)
        for name, entry in parameters.items()
    }


def placed(folder: Path, name: str, entry: JSON, paths: Set[str]) -> JSON:
    """Return a parameter with what is relative to the job file placed."""
    if isinstance(entry, dict):
        within = PATHS_WITHIN.get(name, frozenset())
        return {key: placed(folder, key, value, within) for key, value in entry.items()}
    if isinstance(entry, str) and _is_path(name, entry, paths):
        return str(folder / entry)
    return entry


def paths(
    arguments: Mapping[str, JSON], within: Set[str] | None = None
) -> Iterator[tuple[str, Path]]:
    """Find the files and folders that a party's parameters name, with the parameter of each."""
    for name, entry in arguments.items():
        if isinstance(entry, dict):
            yield from paths(entry, PATHS_WITHIN.get(name, frozenset()))
        elif isinstance(entry, str) and _is_path(name, entry, PATHS if within is None else within):
            # A class of a user's own stands behind the file that has it.
            file, of_a_class, _ = entry.partition(".py:")
            yield name, Path(f"{file}.py" if of_a_class else entry)


def _is_path(name: str, entry: str, paths: Set[str]) -> bool:
    """Say whether a parameter holds a path: a model may be a name, and anything an address."""
    if name in ("model", "architecture"):
        return ".py:" in entry
    return name in paths and bool(entry) and not ADDRESS.match(entry)
