"""A real PostgreSQL of the test's own, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from servers import free_port


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class Postgres:
    """A server on a folder of its own; `stop` ends it and removes the folder."""

    def __init__(self, bin_folder: Path) -> None:
        self.port = free_port()
        # Not a folder of pytest's, through which another user may not pass.
        self._root = folder = Path(tempfile.mkdtemp(prefix="forecast_kit-postgres-"))
        self._folder, self._bin = folder / "cluster", bin_folder
        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(folder, self._user)
        self._call("initdb", "-D", str(self._folder), "-U", "owner", "--auth=trust", "--encoding=UTF8", "--no-sync")
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
        self._call("pg_ctl", "-D", str(self._folder), "-o", settings, "-l", str(folder / "log"), "-w", "start")

    def database(self, name: str) -> str:
        """The address of a new, empty database."""
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "owner", name)
        return f"postgresql://owner@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._folder), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._root)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments], user=self._user, check=False, text=True, cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"
