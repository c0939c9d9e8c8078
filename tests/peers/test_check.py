"""The production checklist against real components: engine, PostgreSQL, NATS, TLS, kubectl, Helm, a running agent."""

import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time

import junitparser
import jsonschema
import pytest
import requests
import yaml
from conftest import BINARY, ENGINE, ENGINE_DIR, ROOT, SHIPPED, FakeKubernetes, Process, free_port, wait_for

TOKEN = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
NEEDS_ENGINE = pytest.mark.skipif(not ENGINE.exists(), reason="the engine's package is not installed")
NEEDS_KUBECTL = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")


def check(*args, config=None, stdin=None, expect=None, env=None):
    """Runs `rivetwatch check`; `config` becomes a file."""
    command = [str(BINARY), "check", *[str(a) for a in args]]
    with tempfile.TemporaryDirectory() as folder:
        if config is not None:
            path = pathlib.Path(folder) / "rivetwatch.yaml"
            path.write_text(json.dumps(config))  # JSON is YAML.
            command += ["--config", str(path)]
        clean = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "RIVETWATCH_AGENT", "RIVETWATCH_CONFIG")}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, env={**clean, **(env or {})})
    assert done.returncode == expect if expect is not None else done.returncode in (0, 1), (command, done)
    return done


def findings(*args, **kwargs):
    """Findings by item."""
    report = json.loads(check(*args, "-o", "json", **kwargs).stdout)
    return {f["item"]: f for f in report["findings"]}


def statuses(*args, **kwargs):
    return {item: f["status"] for item, f in findings(*args, **kwargs).items()}


class Engine(Process):
    """A single node on free ports, with a token or open."""

    def __init__(self, folder, token):
        folder.mkdir(parents=True, exist_ok=True)
        self.guard, self.peer = free_port(), free_port()
        env = {
            "RIVET__file_system__path": str(folder / "db"),
            "RIVET__guard__port": str(self.guard),
            "RIVET__api_peer__port": str(self.peer),
            "RIVET__metrics__port": str(free_port()),
            "RIVET__runtime__worker_cpu_max": "1000000",
            **({"RIVET__AUTH__ADMIN_TOKEN": token} if token else {}),
        }
        super().__init__([ENGINE, "start"], folder / "engine.log", env)
        health = f"http://127.0.0.1:{self.peer}/health"
        wait_for("the engine", lambda: self.alive() and requests.get(health, timeout=2).ok, 60)
        self.flags = ["--no-kubernetes", "--engine-url", f"http://127.0.0.1:{self.guard}", "--peer-url", f"http://127.0.0.1:{self.peer}"]

    def put_pool(self, name, pool):
        url = f"http://127.0.0.1:{self.guard}/runner-configs/{name}?namespace=default"
        body = {"datacenters": {"default": pool}}
        wait_for("the pool", lambda: requests.put(url, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5).ok)

    def stop(self, how=signal.SIGKILL, patience=20):
        return super().stop(how, patience)


class Node(Process):
    """A script of the actor hosts."""

    def __init__(self, folder, name, script, *args, env=None):
        super().__init__(["node", script, *args], folder / f"{name}.log", env, cwd=ENGINE_DIR)

    def stop(self, how=signal.SIGKILL, patience=20):
        return super().stop(how, patience)


@NEEDS_ENGINE
def test_the_real_engine_with_and_without_a_token(start, tmp_path):
    opened = start(Engine, tmp_path / "open", None)
    seen = findings(*opened.flags, expect=1)
    assert seen["admin-token-set"]["status"] == "fail", seen["admin-token-set"]
    assert seen["health-answers"]["status"] == "pass" and "2.3.19" in str(seen["health-answers"]["evidence"])
    opened.stop()

    closed = start(Engine, tmp_path / "closed", TOKEN)
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    flags = [*closed.flags, "--admin-token-file", token]
    seen = statuses(*flags)
    assert (seen["admin-token-set"], seen["admin-token-strong"]) == ("pass", "pass"), seen
    # The peer API listens on every address of the machine and asks for no token.
    assert seen["peer-port-closed"] in ("warn", "unknown"), seen
    token.write_text("another-token-that-is-not-the-engines")
    assert findings(*flags)["admin-token-strong"]["status"] == "unknown", "it is not the engine's"
    token.write_text(TOKEN)

    # Long-lived hosts without a version, and with one.
    endpoint = {"RIVET_ENDPOINT": f"http://default:{TOKEN}@127.0.0.1:{closed.guard}"}
    closed.put_pool("default", {"normal": {}})
    host = start(Node, tmp_path, "host", "host.mjs", env=endpoint)
    wait_for("a host", lambda: statuses(*flags)["runner-version"] == "warn", 60, 2)
    assert statuses(*flags)["actor-eviction"] == "info"
    host.stop()

    # A serverless host that hands the admin token to every client.
    port = free_port()
    closed.put_pool("sl", {"serverless": {"url": f"http://127.0.0.1:{port}/api/rivet", "request_lifespan": 600, "drain_grace_period": 60}})
    serverless = {"RIVETKIT_RUNTIME_MODE": "serverless", "RIVET_ENVOY_VERSION": "7", **endpoint}
    leaking = {**serverless, "RIVET_PUBLIC_ENDPOINT": endpoint["RIVET_ENDPOINT"]}
    host = start(Node, tmp_path, "leaking", "serverless.mjs", port, env=leaking)
    metadata = f"http://127.0.0.1:{port}/api/rivet/metadata"
    wait_for("its metadata", lambda: requests.get(metadata, timeout=2).json().get("clientToken") == TOKEN, 60)
    for known in ([], ["--admin-token-file", token]):
        leak = findings(*closed.flags, *known)["admin-token-not-public"]
        assert leak["status"] == "fail" and "clientToken" in leak["reason"], leak
    assert statuses(*flags)["request-lifespan"] == "pass"
    host.stop()
    public = {**serverless, "RIVET_PUBLIC_ENDPOINT": f"http://default:pk_public@127.0.0.1:{closed.guard}"}
    host = start(Node, tmp_path, "public", "serverless.mjs", port, env=public)
    wait_for("its metadata", lambda: requests.get(metadata, timeout=2).json().get("clientToken") == "pk_public", 60)
    wait_for("the public token", lambda: statuses(*flags)["admin-token-not-public"] == "pass", 30, 1)

    for form in ("table", "short", "json", "yaml", "junit", "sarif"):
        done = check(*flags, "-v", "-o", form)
        assert TOKEN not in done.stdout + done.stderr, form


def as_postgres():
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


def bin_dir():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


PG = bin_dir()
NEEDS_POSTGRES = pytest.mark.skipif(PG is None, reason="PostgreSQL is not installed")


@pytest.fixture
def pg_folder():
    """A folder that the user postgres can reach."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rivetwatch-pg-", dir="/tmp"))
    if as_postgres():
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Postgres(Process):
    """A server on loopback; `settings` are lines of its configuration."""

    def __init__(self, folder, name, log, settings=(), primary=None):
        self.port, self.folder = free_port(), folder / name
        data = str(self.folder)
        if primary is None:
            self.run([PG / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"])
        else:
            self.run([PG / "pg_basebackup", "-D", data, "-R", "-X", "stream", "-d", f"postgres://postgres@127.0.0.1:{primary.port}/postgres?application_name=standby-1"])
        options = [f"-c{s}" for s in (f"port={self.port}", "listen_addresses=127.0.0.1", "fsync=off", f"unix_socket_directories={folder}", *settings)]
        super().__init__([*as_postgres(), PG / "postgres", "-D", data, *options], log)
        ready = [PG / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(name, lambda: self.alive() and subprocess.run(ready).returncode == 0, 60)

    def run(self, command):
        subprocess.run([*as_postgres(), *map(str, command)], check=True, capture_output=True, cwd="/tmp")

    def sql(self, text):
        done = subprocess.run(["psql", "-AtX", f"postgres://postgres@127.0.0.1:{self.port}/postgres", "-c", text], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self, how=signal.SIGINT, patience=20):
        """Fast shutdown."""
        return super().stop(how, patience)


def of_postgres(port, folder, user="rivetwatch", **told):
    url = folder / "url"
    url.write_text(f"postgres://{user}:pg-passw0rd@127.0.0.1:{port}/postgres")
    config = {"engine": {"backend": "postgres", "expected_instances": 2}, "check": {"postgres": {"url_file": str(url), **told}}}
    done = check("--no-kubernetes", "-o", "json", "-v", config=config)
    assert "pg-passw0rd" not in done.stdout + done.stderr
    return {f["item"]: f for f in json.loads(done.stdout)["findings"]}


@NEEDS_POSTGRES
def test_postgres_with_a_standby_and_archiving_on_and_off(start, tmp_path, pg_folder):
    archived = pg_folder / "archived"
    primary = start(Postgres, pg_folder, "primary", tmp_path / "primary.log", [
        "archive_mode=on", f"archive_command=mkdir -p {archived} && cp %p {archived}/%f", "wal_level=replica", "max_connections=300"])
    primary.sql("CREATE ROLE rivetwatch LOGIN PASSWORD 'pg-passw0rd'; GRANT pg_monitor TO rivetwatch; CREATE ROLE nobody LOGIN")

    alone = of_postgres(primary.port, tmp_path)
    assert alone["postgres-standby"]["status"] == "fail", alone["postgres-standby"]
    assert alone["postgres-failover"]["status"] == "skipped", alone["postgres-failover"]
    assert alone["postgres-backups"]["status"] == "fail", "nothing was archived yet"
    assert alone["postgres-no-pooler"]["status"] == "pass", alone["postgres-no-pooler"]
    # 2 x 128 of 297.
    assert alone["postgres-connections"]["status"] == "pass", alone["postgres-connections"]

    standby = start(Postgres, pg_folder, "standby", tmp_path / "standby.log", ["max_connections=300"], primary)
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; SELECT pg_switch_wal()")
    wait_for("a segment", lambda: primary.sql("SELECT archived_count FROM pg_stat_archiver WHERE archived_count > 0"))
    wait_for("a standby", lambda: of_postgres(primary.port, tmp_path)["postgres-standby"]["status"] == "pass", 30, 1)
    both = of_postgres(primary.port, tmp_path)
    assert both["postgres-backups"]["status"] == "pass", both["postgres-backups"]
    assert both["postgres-failover"]["status"] == "unknown", "nobody sees from the database who promotes"
    assert "standby" in str(both["postgres-standby"]["evidence"])
    asked_standby = of_postgres(standby.port, tmp_path)
    assert asked_standby["postgres-standby"]["status"] == "unknown", asked_standby["postgres-standby"]

    # Without the right there is no answer, and no pass.
    blind = of_postgres(primary.port, tmp_path, user="nobody")
    assert blind["postgres-standby"]["status"] == "unknown" and "pg_monitor" in blind["postgres-standby"]["reason"]

    # The archive breaks.
    shutil.rmtree(archived)
    archived.write_text("in the way")
    primary.sql("INSERT INTO t VALUES (1); SELECT pg_switch_wal()")
    wait_for("a failure", lambda: of_postgres(primary.port, tmp_path)["postgres-backups"]["status"] == "fail", 60, 1)
    standby.stop()
    wait_for("no standby", lambda: of_postgres(primary.port, tmp_path)["postgres-standby"]["status"] == "fail", 30, 1)
    assert primary.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rivetwatch%'") == "0", "no session stays"


@NEEDS_POSTGRES
def test_postgres_without_archiving_has_a_marker_or_an_attestation(start, tmp_path, pg_folder):
    server = start(Postgres, pg_folder, "plain", tmp_path / "plain.log")
    server.sql("CREATE ROLE rivetwatch LOGIN; GRANT pg_monitor TO rivetwatch")
    off = of_postgres(server.port, tmp_path)["postgres-backups"]
    assert off["status"] == "fail" and "archive_mode" in off["reason"], off
    marker = tmp_path / "backup-done"
    marker.touch()
    assert of_postgres(server.port, tmp_path, backup_marker=str(marker))["postgres-backups"]["status"] == "pass"
    old = time.time() - 27 * 3600
    os.utime(marker, (old, old))
    assert of_postgres(server.port, tmp_path, backup_marker=str(marker))["postgres-backups"]["status"] == "fail"

    def attested(until):
        attest = [{"item": "postgres-backups", "reason": "snapshots of the volume", "evidence": "OPS-12", "until": until}]
        config = {"engine": {"backend": "postgres"}, "check": {"postgres": {"url_file": str(tmp_path / "url")}, "attest": attest}}
        return findings("--no-kubernetes", config=config)["postgres-backups"]

    tomorrow = (datetime.date.today() + datetime.timedelta(days=1)).isoformat()
    assert attested(tomorrow)["status"] == "attested" and "OPS-12" in attested(tomorrow)["reason"]
    assert attested("2026-01-31")["status"] == "fail" and "ended with 2026-01-31" in attested("2026-01-31")["reason"]


@NEEDS_POSTGRES
@pytest.mark.skipif(not shutil.which("pgbouncer"), reason="PgBouncer is not installed")
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_gives_itself_away(start, tmp_path, pg_folder, mode):
    server = start(Postgres, pg_folder, "behind", tmp_path / "behind.log")
    server.sql("CREATE ROLE rivetwatch LOGIN PASSWORD 'pg-passw0rd'; GRANT pg_monitor TO rivetwatch")
    port = free_port()
    config = pg_folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = any\nunix_socket_dir =\npool_mode = {mode}\n[databases]\npostgres = host=127.0.0.1 port={server.port} user=rivetwatch\n"
    )
    config.chmod(0o644)
    start(Process, [*as_postgres(), "pgbouncer", config], tmp_path / "pgbouncer.log")
    wait_for("PgBouncer", lambda: subprocess.run([PG / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0)
    pooled = of_postgres(port, tmp_path)["postgres-no-pooler"]
    assert pooled["status"] == "fail" and "backend" in pooled["reason"], pooled
    assert of_postgres(server.port, tmp_path)["postgres-no-pooler"]["status"] == "pass"
    # Nothing of our session stays in the pooled one.
    through = ["psql", "-AtX", f"postgres://rivetwatch@127.0.0.1:{port}/postgres", "-c", "SHOW default_transaction_read_only", "-c", "SHOW statement_timeout"]
    assert subprocess.run(through, capture_output=True, text=True, check=True).stdout.split() == ["off", "0"]


class Nats(Process):
    def __init__(self, folder, name, cluster_port=None, route=None):
        self.port, self.monitor = free_port(), free_port()
        command = ["nats-server", "-a", "127.0.0.1", "-p", self.port, "-m", self.monitor, "-n", name]
        if cluster_port:
            command += ["--cluster_name", "rivet", "--cluster", f"nats://127.0.0.1:{cluster_port}", "--routes", f"nats://127.0.0.1:{route}"]
        super().__init__(command, folder / f"{name}.log")
        wait_for(name, lambda: self.alive() and requests.get(f"http://127.0.0.1:{self.monitor}/healthz", timeout=2).ok, 30)


def of_nats(servers):
    config = {"check": {"nats": {
        "servers": [f"127.0.0.1:{s.port}" for s in servers],
        "monitor_urls": [f"http://127.0.0.1:{s.monitor}" for s in servers],
    }}}
    return findings("--no-kubernetes", "--only", "nats", config=config)


@pytest.mark.skipif(not shutil.which("nats-server"), reason="nats-server is not installed")
def test_two_nats_servers_then_one(start, tmp_path):
    a, b = free_port(), free_port()
    first, second = start(Nats, tmp_path, "nats-0", a, b), start(Nats, tmp_path, "nats-1", b, a)
    wait_for("the route", lambda: of_nats([first])["nats-servers"]["status"] == "pass", 30, 0.5)
    both = of_nats([first, second])
    assert both["nats-servers"]["status"] == "pass" and both["nats-slow-consumers"]["status"] == "pass", both
    assert both["nats-jetstream"]["status"] == "pass", both["nats-jetstream"]
    second.stop()
    wait_for("one left", lambda: of_nats([first])["nats-servers"]["status"] == "fail", 30, 0.5)
    half = of_nats([first, second])["nats-servers"]
    assert half["status"] == "fail" and "one NATS server" in half["reason"], half
    first.stop()
    alone = start(Nats, tmp_path, "alone")
    assert of_nats([alone])["nats-servers"]["status"] == "fail"


def own_address():
    """The address others reach this machine at; None where there is only loopback."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            address = s.getsockname()[0]
        except OSError:
            return None
    return None if ipaddress.ip_address(address).is_loopback else address


class TlsProxy:
    """Ends TLS with a certificate and passes GET requests on."""

    def __init__(self, certificate, key, upstream, host="127.0.0.1"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                answer = requests.get(upstream + self.path, timeout=10)
                self.send_response(answer.status_code)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that goes away after its handshake is what is looked for."""

        self.server = Server((host, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path):
    """A root, and certificates by it: good for 60 days, expiring in 5, for another name, and one that signed itself."""
    names = f"subjectAltName=DNS:localhost,IP:127.0.0.1{',IP:' + own_address() if own_address() else ''}"
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca = tmp_path / "ca"
    openssl(*new, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", "/CN=Test Root", "-days", 3650)
    made = {"ca": f"{ca}.pem"}
    for name, days, subject in [("good", 60, names), ("expiring", 5, names), ("other", 60, "subjectAltName=DNS:other.example.com")]:
        at = tmp_path / name
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{at}.key", "-out", f"{at}.csr", "-subj", f"/CN={name}")
        extensions = tmp_path / f"{name}.ext"
        extensions.write_text(subject)
        openssl("x509", "-req", "-in", f"{at}.csr", "-CA", made["ca"], "-CAkey", f"{ca}.key", "-CAcreateserial", "-out", f"{at}.pem", "-days", days, "-extfile", extensions)
        made[name] = (f"{at}.pem", f"{at}.key")
    at = tmp_path / "self"
    openssl(*new, "-keyout", f"{at}.key", "-out", f"{at}.pem", "-subj", "/CN=localhost", "-days", 60, "-addext", names)
    made["self"] = (f"{at}.pem", f"{at}.key")
    return made


@NEEDS_ENGINE
def test_tls_in_front_of_the_engine(start, tmp_path, certificates):
    engine = start(Engine, tmp_path / "engine", TOKEN)
    upstream = f"http://127.0.0.1:{engine.guard}"
    expected = {
        "good": ("pass", "pass"),
        "expiring": ("pass", "warn"),
        "other": ("fail", "pass"),
        "self": ("fail", "pass"),
    }
    for name, (chain, expiry) in expected.items():
        proxy = TlsProxy(*certificates[name], upstream)
        flags = ["--no-kubernetes", "--only", "security", "--public-url", f"https://localhost:{proxy.port}"]
        config = {"check": {"tls": {"ca_file": certificates["ca"]}}}
        seen = findings(*flags, config=config)
        assert (seen["tls-handshake"]["status"], seen["tls-chain"]["status"], seen["tls-expiry"]["status"]) == ("pass", chain, expiry), (name, seen)
        # The engine's own door through TLS: its token is asked for there as well.
        through = findings(*flags, "--engine-url", f"https://localhost:{proxy.port}", config=config)["admin-token-set"]
        assert through["status"] == ("pass" if chain == "pass" else "unknown"), (name, through)
        proxy.stop()
    own = own_address()
    if own:
        proxy = TlsProxy(*certificates["good"], upstream, host="0.0.0.0")
        seen = findings("--no-kubernetes", "--only", "security", "--public-url", f"https://{own}:{proxy.port}", config={"check": {"tls": {"ca_file": certificates["ca"]}}})
        assert seen["tls-chain"]["status"] == "pass", seen["tls-chain"]
        proxy.stop()
        # The guard itself listens on every address, without TLS.
        plain = findings("--no-kubernetes", "--only", "security", "--public-url", f"http://{own}:{engine.guard}", expect=1)
        assert plain["tls-handshake"]["status"] == "fail" and plain["plain-http-closed"]["status"] == "fail", plain


def kustomize(folder):
    return subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def overlay(tmp_path):
    """The shipped manifests as a base that kustomize builds."""
    base = tmp_path / "base"
    shutil.copytree(SHIPPED, base)
    names = sorted(p.name for p in base.glob("*.yaml"))
    (base / "kustomization.yaml").write_text(json.dumps({"resources": names}))
    return base


@NEEDS_KUBECTL
def test_kustomize_output_has_the_findings_of_the_shipped_manifests(overlay):
    built = kustomize(overlay)
    of_files = statuses("--manifests", SHIPPED, expect=1)
    assert statuses("--manifests", "-", stdin=built, expect=1) == of_files
    for item, status in {
        "peer-port-closed": "fail", "readiness-probe": "warn", "image-pinned": "fail", "grace-period": "fail", "autoscaler-cpu": "info",
        "postgres-standby": "fail", "postgres-connections": "fail", "metrics-port-declared": "warn", "otel-enabled": "fail",
    }.items():
        assert of_files[item] == status, item
    # An overlay alone is not the whole: what is not in it is not absent.
    assert statuses("--manifests", overlay)["autoscaler"] in ("pass", "unknown")


@NEEDS_KUBECTL
def test_the_patch_is_built_valid_and_brings_its_items_about(overlay, tmp_path):
    fix = tmp_path / "fix"
    flags = ["--fix", "kustomize", "--fix-dir", fix, "--image-tag", "2.3.19", "--otlp-endpoint", "http://rivetwatch-gateway:4317"]
    done = check("--manifests", SHIPPED, *flags, expect=0)
    assert done.stdout == "" and "The patch is valid" in done.stderr, done
    items = re.search(r"these items are met: (.*)\.", done.stderr)[1].split(", ")
    assert {"peer-port-closed", "readiness-probe", "image-pinned", "grace-period", "postgres-connections", "otel-enabled"} <= set(items), items
    (tmp_path / "kustomization.yaml").write_text(json.dumps({"resources": ["base"], "components": ["fix"], "namespace": "elsewhere"}))
    built = kustomize(tmp_path)
    after = statuses("--manifests", "-", stdin=built)
    assert all(after[item] == "pass" for item in items), {i: after[i] for i in items}
    path = tmp_path / "built.yaml"
    path.write_text(built)
    validate = pathlib.Path(shutil.which("kubernetes-validate") or ROOT / "target/peers/venv/bin/kubernetes-validate")
    for version in ("1.29", "1.33"):
        subprocess.run([validate, "--strict", "-k", version, path], check=True)
    # A tag that is none: the tool's word is not enough, the items decide.
    refused = check("--manifests", SHIPPED, "--fix", "kustomize", "--only", "image-pinned", "--image-tag", "latest", expect=1)
    assert refused.stdout == "", "a patch that does not help is not shown"


HELM = """#!{python}
import sys
import yaml
import helm_python as helm
assert sys.argv[1] == "template" and sys.argv[4] == "-f", sys.argv
with open(sys.argv[5]) as f:
    values = yaml.safe_load(f)
with helm.Chart.load(sys.argv[3]) as chart:
    for text in chart.render(values, name=sys.argv[2]).values():
        print("---")
        print(text)
"""


def test_helm_values_are_rendered_and_judged(tmp_path):
    helm = pytest.importorskip("helm_python")
    import sys

    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "helm").write_text(HELM.format(python=sys.executable))
    (tools / "helm").chmod(0o755)
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: rivet\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text(
        "image: {repository: rivetdev/engine, tag: latest}\nreplicaCount: 2\nresources: {}\nterminationGracePeriodSeconds: 25\n"
        "autoscaling: {maxReplicas: 4, targetCPUUtilizationPercentage: 90}\nserviceType: NodePort\npodDisruptionBudget: {enabled: false}\n"
    )
    deployment = yaml.safe_load_all((SHIPPED / "engine.yaml").read_text())
    deployment = next(d for d in deployment if d["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = "GRACE"
    pod["containers"][0].update(image="IMAGE", resources="RESOURCES")
    text = yaml.safe_dump(deployment)
    text = text.replace("GRACE", "{{ .Values.terminationGracePeriodSeconds }}").replace("IMAGE", '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"')
    text = text.replace("RESOURCES", "{{ toYaml .Values.resources | nindent 10 }}")
    (chart / "templates/deployment.yaml").write_text(text)
    scaler = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "rivet-engine"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "rivet-engine"}, "minReplicas": 2, "maxReplicas": 4,
                 "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": "PERCENT"}}}]},
    }
    (chart / "templates/hpa.yaml").write_text(yaml.safe_dump(scaler).replace("PERCENT", "{{ .Values.autoscaling.targetCPUUtilizationPercentage }}"))
    with helm.Chart.load(str(chart)) as loaded:
        rendered = "\n---\n".join(loaded.render({}, name="rivet").values())
    env = {"PATH": f"{tools}:{os.environ['PATH']}"}
    flags = ["--manifests", "-", "--fix", "helm", "--chart", chart, "--image-tag", "2.3.19"]
    done = check(*flags, stdin=rendered, env=env, expect=0)
    values = yaml.safe_load(done.stdout)
    assert values["image"]["tag"] == "2.3.19" and values["terminationGracePeriodSeconds"] == 645, values
    assert values["autoscaling"]["targetCPUUtilizationPercentage"] == 70 and values["resources"]["requests"]["memory"] == "2Gi", values
    # The chart has a key for a budget and no template that reads it.
    assert "podDisruptionBudget" not in values and "disruption-budget: the chart does not follow" in done.stderr, done.stderr
    missing = check(*flags, stdin=rendered, env={"PATH": "/nowhere"}, expect=1)
    assert missing.stdout == "" and "`helm` is not on the PATH" in missing.stderr


def test_reports_are_what_their_readers_expect(tmp_path):
    junit = tmp_path / "junit.xml"
    junit.write_text(check("--manifests", SHIPPED, "-o", "junit", expect=1).stdout)
    suites = junitparser.JUnitXml.fromfile(str(junit))
    cases = [case for suite in suites for case in suite]
    report = json.loads(check("--manifests", SHIPPED, "-o", "json").stdout)
    assert len(cases) == len(report["findings"])
    failed = {c.name.split(":")[0] for c in cases if any(isinstance(r, junitparser.Failure) for r in c.result)}
    assert failed == {f["item"] for f in report["findings"] if f["status"] == "fail"}

    sarif = json.loads(check("--manifests", SHIPPED, "-o", "sarif").stdout)
    schema = next(ENGINE_DIR.glob("node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0*.json"), None)
    assert schema is not None, "the schema's package is not installed"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(sarif)
    levels = {r["ruleId"]: r["level"] for r in sarif["runs"][0]["results"]}
    assert levels["peer-port-closed"] == "error" and levels["readiness-probe"] == "warning", levels
    assert yaml.safe_load(check("--manifests", SHIPPED, "-o", "yaml").stdout)["counts"] == report["counts"]


def test_exit_codes_and_looks(tmp_path):
    only = ["--manifests", SHIPPED, "--only"]
    assert check(*only, "liveness-probe").returncode == 0
    assert check(*only, "readiness-probe").returncode == 0
    assert check(*only, "readiness-probe", "--deny-warnings").returncode == 1
    assert check(*only, "tls-chain").returncode == 0
    assert check(*only, "tls-chain", "--deny-unknown").returncode == 1
    assert check(*only, "image-pinned").returncode == 1
    assert check(*only, "image-pinned", "--skip", "image-pinned").returncode == 0
    typo = check(*only, "image-pined", expect=2)
    assert "is it `image-pinned`?" in typo.stderr and typo.stdout == ""
    assert "unexpected argument" in check("--manifest", SHIPPED, expect=2).stderr
    nowhere = check("--manifests", tmp_path / "nowhere", expect=2)
    assert "nowhere" in nowhere.stderr and nowhere.stdout == ""
    bad = check(config={"check": {"attest": [{"item": "x", "reason": "r", "evidence": "e", "until": "2027-01-01"}]}}, expect=2)
    assert "check.attest[0].item" in bad.stderr
    plain = check(*only, "security", env={"LANG": "C", "LC_ALL": "C"}).stdout
    assert plain.isascii() and "\x1b" not in plain and "x the peer API" in plain
    assert "× the peer API" in check(*only, "security", env={"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}).stdout
    assert check("--list").stdout.count("\n") == 1 + len(json.loads(check("--manifests", SHIPPED, "-o", "json").stdout)["findings"])


def test_watch_shows_what_changed(start, tmp_path):
    folder = tmp_path / "manifests"
    shutil.copytree(SHIPPED, folder)
    log = tmp_path / "watch.log"
    command = [BINARY, "check", "--manifests", folder, "--only", "image-pinned", "-o", "json", "--watch", "1s"]
    watch = start(Process, command, log)
    wait_for("the failure", lambda: watch.alive() and '"result": "fail"' in log.read_text(), 20)
    engine = folder / "engine.yaml"
    engine.write_text(engine.read_text().replace("engine:latest", "engine:2.3.19"))
    wait_for("it is met", lambda: watch.alive() and '"result": "pass"' in log.read_text(), 20)
    time.sleep(2.5)
    assert log.read_text().count('"result"') == 2, "what did not change is not shown again"


def test_a_kubeconfig_leads_to_the_cluster(tmp_path):
    api = FakeKubernetes()
    config = {"receive": {"engine_api": {"enabled": False}}}
    # No agent that happens to run on this machine has a say.
    nobody = ["--telemetry", f"http://127.0.0.1:{free_port()}"]
    seen = statuses("--kubeconfig", api.kubeconfig(tmp_path), *nobody, config=config, expect=1)
    assert (seen["peer-port-closed"], seen["image-pinned"], seen["postgres-connections"]) == ("fail", "fail", "fail"), seen
    assert all("/namespaces/rivet-engine/" in path for path in api.asked), "where the shipped manifests put it"
    blind = FakeKubernetes(forbidden=list(FakeKubernetes.KINDS))
    seen = findings("--kubeconfig", blind.kubeconfig(tmp_path), *nobody, config=config, expect=0)
    assert not [f for f in seen.values() if f["status"] in ("pass", "fail", "warn")], seen
    assert "no right to list" in seen["image-pinned"]["reason"], seen["image-pinned"]


def test_a_running_agent_goes_through_the_checklist(agent, pagerduty, tmp_path):
    attest = [{"item": "dashboards", "reason": "in the company's Grafana", "evidence": "wiki", "until": "2099-12-31"}]
    a = agent(
        pager=pagerduty,
        check={"interval": "1m", "kubernetes": {"mode": "off"}, "attest": attest, "skip": {"tls-chain": "a test machine"}},
        rules={"interval": "5s", "override": {"RivetCheckFailing": {"for": "5s"}}},
    )
    first = requests.get(f"{a.url}/api/v1/check", timeout=5).json()
    assert first["status"] == "error" and "not ended yet" in first["error"], first
    wait_for("a run", lambda: requests.get(f"{a.url}/api/v1/check", timeout=5).json()["status"] == "success", 100, 2)
    seen = findings("--agent", a.url, expect=1)
    assert seen["dashboards"]["status"] == "attested" and seen["tls-chain"]["status"] == "skipped", seen
    assert seen["metrics-arriving"]["status"] == "fail", "no engine sends anything"
    assert seen["alerts-reach-somebody"]["status"] == "unknown", "nothing was accepted yet"
    # A variable that other commands read does not stand in the way.
    assert findings("--agent", a.url, env={"RIVETWATCH_AGENT": a.url}, expect=1) == seen
    assert list(findings("--agent", a.url, "--only", "monitoring")) == [i for i, f in seen.items() if f["category"] == "monitoring"]
    assert a.own("rivetwatch_check_item_bool", item="metrics-arriving", status="fail") == 1
    assert a.own("rivetwatch_check_item_bool", item="metrics-arriving", status="pass") == 0
    # What the dashboard shows: how old each status is, and how many there are.
    board = json.loads((ROOT / "dashboards/rivetwatch-checklist.json").read_text())
    panels = {p["title"]: p for row in board["panels"] for p in [row, *(row.get("panels") or [])]}

    def drawn(title):
        expr = panels[title]["targets"][0]["expr"]
        for name, value in {"$cluster": ".*", "$job": ".+", "$instance": ".+"}.items():
            expr = expr.replace(f'"{name}"', f'"{value}"')
        return a.query(expr)

    table = wait_for("the table of open items", lambda: drawn("Items that are not met, not seen or attested"))
    shown = {row["metric"]["item"]: row["metric"]["status"] for row in table}
    assert shown == {item: f["status"] for item, f in seen.items() if f["status"] in ("fail", "warn", "unknown", "attested")}
    assert all(0 <= float(row["value"][1]) < 120 for row in table), table
    assert len(drawn("Every item")) == len(seen)
    for title, status in (("Not met", "fail"), ("Not seen", "unknown"), ("Attested", "attested"), ("Met", "pass")):
        assert float(drawn(title)[0]["value"][1]) == sum(f["status"] == status for f in seen.values()), title
    firing = wait_for("the alert", lambda: [x for x in a.alerts() if x["labels"]["alertname"] == "RivetCheckFailing" and x["state"] == "firing"], 60)
    assert "metrics-arriving" in {x["labels"]["item"] for x in firing}, firing
    assert pagerduty.events() == [], "a checklist wakes nobody"
    # The command reads the same series through the agent.
    live = findings("--no-kubernetes", "--telemetry", a.url)
    assert live["metrics-arriving"]["status"] == "fail" and live["alerts-reach-somebody"]["status"] == "unknown", live
    page = requests.get(f"{a.url}/runbooks/RivetCheckFailing", timeout=5).text
    assert re.search(r'<h3 id="metrics-arriving">', page)
