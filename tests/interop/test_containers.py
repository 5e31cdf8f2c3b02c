"""``docs/deployment-sidecar.md``: the Containerfile, and what runs its image, by the schemas and by each other.

There is no registry to take images from here: the build's commands run in directories, and its entry point with the rights
that the image's user would have.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from attrs import frozen

from tests.support.certificates import Authority, Issued
from tests.support.processes import Program, free_port, free_ports, run
from tests.support.programs import require, require_root, unavailable
from tlsproxy.config.model import Configuration
from tlsproxy.config.parse import parse

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"
COMPOSE = ROOT / "etc/container/compose.yaml"
KUBERNETES = ROOT / "etc/kubernetes/tlsproxy.yaml"

OLDEST_KUBERNETES = "1.33"
"""The first in which an init container with restartPolicy Always is no experiment."""


def module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        unavailable(f"no module {name} (pip install -e '.[samples]')")


def tool(name: str) -> str:
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        unavailable(f"{name} isn't installed (pip install -e '.[samples]')")
    return str(path)


# The Containerfile.


@frozen
class Instruction:
    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Of the exec form, which is JSON, or of a line."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)


def stages() -> list[list[Instruction]]:
    """What each ``FROM`` begins."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    found: list[list[Instruction]] = []
    for line in filter(None, lines):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Instruction(word, rest.strip()))
    return found


def final(word: str) -> list[str]:
    """The words of the image's own instruction of this name."""
    [found] = [each for each in stages()[-1] if each.word == word]
    return found.words


def test_hadolint_has_no_objection() -> None:
    status, output = run([tool("hadolint"), CONTAINERFILE], timeout=60)
    assert (status, output) == (0, "")


def test_hadolint_would_have_one(tmp_path: Path) -> None:
    careless = tmp_path / "Containerfile"
    careless.write_text(CONTAINERFILE.read_text().replace("WORKDIR /src", "WORKDIR src"))
    assert "DL3000" in run([tool("hadolint"), careless], timeout=60)[1]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build leaves at ``/opt/tlsproxy``: its instructions carried out, in directories of their own."""
    root = tmp_path_factory.mktemp("image")
    root.chmod(0o755)
    for parent in takewhile(lambda each: each.name.startswith(("pytest-", "popen-")), root.parents):
        parent.chmod(0o711)  # the image's user comes through here
    source, installed = root / "src", root / "opt"
    source.mkdir()
    for instruction in stages()[0]:
        if instruction.word == "COPY":
            *names, target = instruction.words
            for name in names:
                copy(ROOT / name, source / target, into=target.endswith("/"))
        elif instruction.word == "RUN":
            command = instruction.rest.replace("/opt/tlsproxy", str(installed))
            command = command.replace("python3 -m venv", f"{sys.executable} -m venv")
            environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            shell = ["sh", "-c", command]
            result = subprocess.run(
                shell, cwd=source, env=environ, capture_output=True, text=True, timeout=110
            )
            assert result.returncode == 0, result.stderr
    return installed


def copy(origin: Path, target: Path, *, into: bool) -> None:
    if origin.is_dir():
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    else:
        shutil.copy(origin, target / origin.name if into else target)


def test_the_image_copies_what_was_built() -> None:
    assert final("COPY") == ["--from=build", "/opt/tlsproxy", "/opt/tlsproxy"]
    assert stages()[0][0].rest.endswith(" AS build")


@frozen
class Running:
    """The image's entry point at work, as in the pod."""

    program: Program
    tls: Path
    """Where the Secret is mounted."""
    ports: Mapping[str, int]


@pytest.fixture(scope="module")
def running(image: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """As the image's user, with no capability, and with a Secret for the pod's group."""
    require_root("becoming the image's user")
    setpriv = require("setpriv", package="util-linux")
    directory = tmp_path_factory.mktemp("pod")
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o711)
    user, group = final("USER")[0].split(":")
    tls = directory / "tls"
    renew(tls, authority.issue("mx.example.org"))
    ports = dict(zip(("10025", "10465", "9465", "9466"), free_ports(4), strict=True))
    toml = config_map()
    assert "/run/tls/" in toml
    toml = toml.replace("/run/tls/", f"{tls}/")
    for written, port in ports.items():
        assert f'"0.0.0.0:{written}"' in toml
        toml = toml.replace(f'"0.0.0.0:{written}"', f'"127.0.0.1:{port}"')
    config = directory / "tlsproxy.toml"
    config.write_text(toml)
    entry, *arguments = final("ENTRYPOINT")
    start = [
        *(setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        *(image / "bin" / entry, *arguments),
        *(each.replace("/etc/tlsproxy/tlsproxy.toml", str(config)) for each in final("CMD")),
    ]
    with Program(start, env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}, cwd=Path("/")) as program:
        program.wait_for_output('"event": ?"started"')
        program.wait_for_port(*ports.values())
        yield Running(program, tls, ports)


def renew(directory: Path, issued: Issued) -> None:
    """Write a Secret as the kubelet does: names lead through the link ``..data``, which is replaced as a whole."""
    [volume] = [each for each in pod()["volumes"] if "secret" in each]
    version = directory / f"..{issued.certificate.serial_number}"
    version.mkdir(parents=True)
    for name, content in {"tls.crt": issued.chain_path.read_bytes(), "tls.key": issued.key_pem}.items():
        file = version / name
        file.write_bytes(content)
        file.chmod(volume["secret"]["defaultMode"])
        os.chown(file, 0, pod()["securityContext"]["fsGroup"])
        with contextlib.suppress(FileExistsError):
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data_tmp").symlink_to(version.name)
    (directory / "..data_tmp").rename(directory / "..data")


def test_the_image_s_program_serves_without_any_right(running: Running) -> None:
    """The probes of the pod, and Compose's."""
    for probe in ("livenessProbe", "readinessProbe"):
        path = proxy_container()[probe]["httpGet"]["path"]
        with urlopen(f"http://127.0.0.1:{running.ports['9466']}{path}", timeout=10) as answer:
            assert answer.status == 200
    assert run(healthcheck(running.ports["9466"]))[0] == 0


def test_a_secret_that_is_renewed_is_served(running: Running, authority: Authority) -> None:
    where = ("127.0.0.1", running.ports["10465"])
    before = ssl.get_server_certificate(where, timeout=10)
    renewed = authority.issue("mx.example.org")
    renew(running.tls, renewed)
    running.program.wait_until(
        lambda: ssl.get_server_certificate(where, timeout=10) != before, "it isn't served"
    )
    assert ssl.get_server_certificate(where, timeout=10) == renewed.pem.decode()


def test_the_health_check_fails_where_nothing_answers() -> None:
    assert run(healthcheck(free_port()))[0] != 0


def healthcheck(port: int) -> list[str]:
    """Compose's."""
    words = compose()["services"]["tlsproxy"]["healthcheck"]["test"]
    assert words[0] == "CMD"
    python = {"python3": sys.executable}
    return [python.get(word, word).replace("127.0.0.1:9466", f"127.0.0.1:{port}") for word in words[1:]]


# Compose.


def compose() -> Any:
    return module("yaml").safe_load(COMPOSE.read_text())


def compose_configuration() -> Configuration:
    return parse((ROOT / "etc/container/tlsproxy.toml").read_text(), "/etc/tlsproxy/tlsproxy.toml")


def test_the_compose_file_is_one() -> None:
    status, output = run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE], timeout=60
    )
    assert status == 0, output


def test_the_compose_schema_would_object(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", wrong]
    assert run(command, timeout=60)[0] == 1


def test_compose_builds_the_containerfile_and_mounts_what_is_there() -> None:
    service = compose()["services"]["tlsproxy"]
    build = service["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == CONTAINERFILE
    mounts = [volume.split(":") for volume in service["volumes"]]
    assert (COMPOSE.parent / mounts[0][0]).is_file()
    assert mounts[0][1] == final("CMD")[-1]
    assert mounts[1][1] == "/run/tls"


def test_compose_and_its_configuration_agree() -> None:
    service, configuration = compose()["services"]["tlsproxy"], compose_configuration()
    assert configuration.warnings == ()
    assert [port.split(":")[1] for port in service["ports"]] == ports(configuration)
    assert seconds(service["stop_grace_period"]) >= time_to_stop(configuration)
    [server] = configuration.backends["server"].servers
    assert str(server.address) == "server:25"
    assert "server" in compose()["services"]


def test_only_the_proxy_can_be_reached_in_compose() -> None:
    document = compose()
    [published] = [name for name, service in document["services"].items() if "ports" in service]
    assert published == "tlsproxy"
    assert document["services"]["server"]["networks"] == ["inside"]
    assert document["networks"]["inside"] == {"internal": True}


# Kubernetes.


def manifests() -> dict[str, Any]:
    return {each["kind"]: each for each in module("yaml").safe_load_all(KUBERNETES.read_text())}


def pod() -> Any:
    return manifests()["Deployment"]["spec"]["template"]["spec"]


def proxy_container() -> Any:
    [container] = pod()["containers"]
    return container


def config_map() -> str:
    text = manifests()["ConfigMap"]["data"]["tlsproxy.toml"]
    assert isinstance(text, str)
    return text


def kubernetes_configuration() -> Configuration:
    return parse(config_map(), "/etc/tlsproxy/tlsproxy.toml")


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, "latest"])
def test_the_manifests_are_valid(version: str) -> None:
    kubernetes = module("kubernetes_validate")
    wanted = kubernetes.latest_version() if version == "latest" else version
    assert len(manifests()) == 5
    for document in manifests().values():
        kubernetes.validate(document, wanted, strict=True)


def test_the_schemas_would_object() -> None:
    kubernetes = module("kubernetes_validate")
    document = manifests()["Deployment"]
    document["spec"]["template"]["spec"]["terminationGraceSeconds"] = 90
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(document, OLDEST_KUBERNETES, strict=True)


def test_the_pod_and_its_configuration_agree() -> None:
    configuration, container = kubernetes_configuration(), proxy_container()
    assert configuration.warnings == ()
    named = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert [named["smtp"], named["smtps"]] == ports(configuration)
    assert named["metrics"] == str(configuration.metrics_listen).rpartition(":")[2]
    assert named["status"] == str(configuration.status_listen).rpartition(":")[2]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert 'tls_certificate = "{}/tls.crt"'.format(mounted["tls"]) in config_map()
    assert "{}/tlsproxy.toml".format(mounted["config"]) == final("CMD")[-1]
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_the_pod_gives_the_proxy_time_to_drain() -> None:
    before = int(proxy_container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod()["terminationGracePeriodSeconds"] > before + time_to_stop(kubernetes_configuration())


def test_the_server_ends_after_the_proxy() -> None:
    [server] = pod()["initContainers"]
    assert server["restartPolicy"] == "Always"


def test_the_pod_s_user_is_the_image_s_and_may_read_the_key() -> None:
    user, group = final("USER")[0].split(":")
    context = proxy_container()["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    assert pod()["securityContext"]["fsGroup"] == int(group)


def test_everything_that_is_named_is_there() -> None:
    documents = manifests()
    labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in proxy_container()["ports"]}
    assert documents["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert documents["Service"]["spec"]["selector"] == labels
    assert documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert {port["targetPort"] for port in documents["Service"]["spec"]["ports"]} <= ports
    allowed = {
        port["port"] for rule in documents["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]
    }
    assert allowed == {"smtp", "smtps", "metrics"}
    claimed = {
        each["persistentVolumeClaim"]["claimName"]
        for each in pod()["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert claimed == {documents["PersistentVolumeClaim"]["metadata"]["name"]}


# Of both.


def ports(configuration: Configuration) -> list[str]:
    """That are listened on; every one without a privilege, and in the image."""
    found = [
        str(listen.address).rpartition(":")[2] for each in configuration.listeners for listen in each.listens
    ]
    assert found == final("EXPOSE")
    assert all(int(port) >= 1024 for port in found)
    return found


def time_to_stop(configuration: Configuration) -> float:
    """As ``docs/deployment.md`` has it, with the default of ``close_timeout``."""
    return configuration.drain_timeout + 2 * 2 + 1


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])
