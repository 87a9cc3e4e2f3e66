"""A registered model as a web service: MLflow's own server, with a version that stays the same and fitting workers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from joblib import cpu_count
from ruamel.yaml import YAML

from forecast_kit import errors
from forecast_kit.errors import ArgumentError, ArtifactError
from forecast_kit.mlflow.flavor import FLAVOR_NAME, fetch_model, pinned

_CORES_A_NETWORK = 2  # TensorFlow calculates with several threads, and each worker holds a copy of it
_GRACE_S = 10.0  # for requests that are being answered when the service ends


@dataclass(frozen=True)
class Service:
    """What will be served, and how.

    Attributes:
        model: its URI, with the number of the version.
        folder: of its copy on this machine.
        forecaster: the class.
        network: whether it takes TensorFlow.
        host, port: where it listens.
        workers: processes that answer.
        timeout: seconds for a request.
    """

    model: str
    folder: Path
    forecaster: str
    network: bool
    host: str
    port: int
    workers: int
    timeout: int

    @property
    def address(self) -> str:
        """Where this machine reaches it."""
        here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{here}:{self.port}"


def serve(
    model_uri: str,
    *,
    tell: Callable[[Service], None],
    host: str = "127.0.0.1",
    port: int = 5001,
    workers: int | None = None,
    timeout: int = 60,
) -> int:
    """Serves a model until it is told to end, by Ctrl-C or SIGTERM; the exit code: 0 then, else that of the server.

    An alias stands for the version that it names at the start: workers that start later serve the same one.

    Args:
        model_uri: any MLflow model URI.
        tell: called with what will be served, before it is.
        host, port: where to listen.
        workers: processes; by default as many as fit the machine, see `fitting_workers`.
        timeout: seconds for a request.

    Raises:
        StoreError: there is no such model.
        ArtifactError: it is not of this package, is another one than was registered, or cannot be loaded, such as for a
            class that nobody has imported.
        ConfigError: a module that `FORECAST_KIT_IMPORTS` names cannot be imported.
        ArgumentError: somebody else listens there already.
    """
    _check_free(host, port)
    with tempfile.TemporaryDirectory(prefix="forecast_kit-serve-") as scratch:
        # Pinned first: the alias may go to another version before the workers have loaded theirs.
        uri = pinned(model_uri)
        folder, _ = fetch_model(uri, scratch)
        about = read_about(folder, model_uri)
        service = Service(
            model=uri, folder=folder, forecaster=str(about["flavors"][FLAVOR_NAME]["forecaster"]),
            network=is_network(folder), host=host, port=port,
            workers=workers or fitting_workers(is_network(folder), cpu_count()), timeout=timeout,
        )  # fmt: skip
        check_loading(service)
        tell(service)
        return _run(command(service), environment(service))


def check_loading(service: Service) -> None:
    """Loads the model once, in a process whose memory is free again afterwards; a server would fail with a traceback.

    Raises:
        ForecastKitError: what loading it raised.
    """
    done = subprocess.run(
        [sys.executable, "-c", "from forecast_kit.jobs.serving import load_once; load_once()", str(service.folder)],
        env=environment(service), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        told = json.loads(done.stdout) if done.stdout else {"kind": "ArtifactError", "error": "see above"}
        raise getattr(errors, told["kind"])(f"{service.model} cannot be loaded: {told['error']}")


def load_once() -> None:
    """What the process of `check_loading` does: it loads a folder, and tells the error that it meets as JSON."""
    from forecast_kit.mlflow import load_served

    try:
        load_served(sys.argv[1])
    except errors.ForecastKitError as error:
        print(json.dumps({"kind": type(error).__name__, "error": str(error)}))
        raise SystemExit(1) from None


def read_about(folder: Path, model: str) -> dict[str, Any]:
    """What a model's `MLmodel` says.

    Raises:
        ArtifactError: it is no model of this package.
    """
    file = folder / "MLmodel"
    about = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")) if file.exists() else {}
    if FLAVOR_NAME not in about.get("flavors", {}):
        raise ArtifactError(f"{model} is no forecast_kit model; serve it with 'mlflow models serve'")
    return dict(about)


def is_network(folder: Path) -> bool:
    """Whether the model needs TensorFlow."""
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return any(line.startswith("tensorflow") for line in lines)


def fitting_workers(network: bool, cores: int) -> int:
    """How many processes answer requests: one for each core, of a network one for two.

    Args:
        network: whether each of them holds TensorFlow.
        cores: that this process may use.

    >>> [(fitting_workers(True, cores), fitting_workers(False, cores)) for cores in (1, 2, 8)]
    [(1, 1), (1, 2), (4, 8)]
    """
    return max(1, cores // _CORES_A_NETWORK) if network else max(1, cores)


def command(service: Service) -> list[str]:
    """MLflow's command for the service."""
    return [
        sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(service.folder), "--env-manager", "local",
        "--host", service.host, "--port", str(service.port), "--workers", str(service.workers),
        "--timeout", str(service.timeout),
    ]  # fmt: skip


def environment(service: Service) -> dict[str, str]:
    """The variables of the service's processes."""
    # MLflow starts `uvicorn` by its bare name, and a scheduler's PATH does not have this environment's programs.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    threads = {}
    if service.network and service.workers > 1:  # otherwise every worker takes all cores, and they stand in line
        threads = {f"TF_NUM_{kind}_THREADS": str(_CORES_A_NETWORK) for kind in ("INTRAOP", "INTEROP")}
    return {**threads, **os.environ, "PATH": programs, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}


def example(service: Service) -> str | None:
    """A curl command that the service answers, None if the model was logged without an example.

    A model that keeps its history is asked for the forecast from its end, another one for that of the series in its
    example, whose values nobody observed.
    """
    about = read_about(service.folder, service.model)
    ours, request = about["flavors"][FLAVOR_NAME], service.folder / "serving_input_example.json"
    if ours["has_history"]:
        columns = [column["name"] for column in json.loads(about["signature"]["inputs"])]
        asked = {"horizon": ours["horizon"], "levels": ours["levels"]}
        data = json.dumps({"dataframe_split": {"columns": columns, "data": []}, "params": asked})
    elif request.exists():
        data = f"@{request}"
    else:
        return None
    return shlex.join(
        ["curl", "-sS", "-H", "Content-Type: application/json", "-d", data, f"{service.address}/invocations"]
    )


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ArgumentError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or "
                                f"--host") from error  # fmt: skip


def _run(words: list[str], variables: dict[str, str]) -> int:
    """The exit code of a command, which ends with all that it has started when this process is told to."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    # Of SIGINT too: what a shell starts in the background ignores it otherwise.
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    # In a group of its own: MLflow starts the server, and that one its workers, and nobody tells them of the end.
    process = subprocess.Popen(words, env=variables, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number in before:  # it ends already
            signal.signal(number, signal.SIG_IGN)
        _end_group(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends all processes of a group, by force if they take too long."""
    with suppress(ProcessLookupError):  # all of them have ended by themselves
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
