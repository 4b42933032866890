"""What the chart renders to, by the real Helm engine, over a matrix of values."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart import helm
from tests.chart.helm import Refused, Release
from tests.chart.matrix import CONSORTIUM, DEALER, MATRIX, PARTY, TRACKED, member

PACKAGES = helm.CHART.parents[1] / "pipelines" / "compiled"
VERSIONS = ("1.25", "1.33")
WORKLOADS = {"Deployment", "Job"}


@pytest.fixture(scope="session")
def rendered() -> dict[str, Release]:
    return {case: helm.install(values) for case, values in MATRIX.items()}


@pytest.fixture(params=MATRIX)
def release(request: pytest.FixtureRequest, rendered: dict[str, Release]) -> Release:
    return rendered[request.param]


def pods(release: Release) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each pod's metadata and specification."""
    for thing in release.everything:
        if thing["kind"] == "Pod":
            yield thing["metadata"], thing["spec"]
        elif thing["kind"] in WORKLOADS:
            template = thing["spec"]["template"]
            yield template["metadata"], template["spec"]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def policies(release: Release, labels: dict[str, str]) -> list[dict[str, Any]]:
    """The policies that a pod is under."""
    return [
        policy
        for policy in release.of("NetworkPolicy")
        if selects(policy["spec"]["podSelector"].get("matchLabels", {}), labels)
    ]


def ports(release: Release, labels: dict[str, str], way: str) -> set[int]:
    """The ports that policies open to, or for, a pod."""
    return {
        port["port"]
        for policy in policies(release, labels)
        for rule in policy["spec"].get(way, ())
        for port in rule["ports"]
    }


def parameters(package: str) -> dict[str, Any]:
    """A package's parameters."""
    spec = next(yaml.safe_load_all((PACKAGES / f"{package}.yaml").read_text()))
    return dict(spec["root"]["inputDefinitions"]["parameters"])


RUN = {"app.kubernetes.io/name": "tallystick", "app.kubernetes.io/component": "party"}


@pytest.mark.parametrize("values", [PARTY, DEALER])
def test_helms_linter_finds_nothing(tmp_path: Path, values: dict[str, Any]) -> None:
    assert helm.lint(tmp_path, values) == []


def test_every_object_is_one_that_kubernetes_takes(release: Release) -> None:
    for thing in release.everything:
        if thing["apiVersion"].startswith("monitoring.coreos.com"):
            continue  # a kind of the Prometheus operator
        for version in VERSIONS:
            kubernetes_validate.validate(thing, version, strict=True)


def test_names_are_unique_and_labelled(release: Release) -> None:
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in release.everything]
    assert len(names) == len(set(names))
    for thing in release.everything:
        labels = thing["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "tallystick"
        assert labels["app.kubernetes.io/instance"] == "tallystick"
        assert "namespace" not in thing["metadata"], "Helm says where"


def test_every_pod_is_restricted(release: Release) -> None:
    for _, pod in pods(release):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {
            "configMap",
            "emptyDir",
            "persistentVolumeClaim",
            "secret",
        }
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_nobody_has_rights_but_the_job_that_makes_the_key(release: Release) -> None:
    made = {hook["metadata"]["name"] for hook in release.hooks if hook["kind"] == "Role"}
    assert (
        {role["metadata"]["name"] for role in release.of("Role")} == made <= {"tallystick-keygen"}
    )
    for role in release.of("Role"):
        assert all(rule["resources"] == ["secrets"] for rule in role["rules"])
        assert [(rule["verbs"], rule.get("resourceNames")) for rule in role["rules"]] == [
            (["get"], ["tallystick-identity"]),
            (["create"], None),
        ]
    for metadata, pod in pods(release):
        keygen = metadata["labels"].get("app.kubernetes.io/component") == "keygen"
        assert pod["automountServiceAccountToken"] is keygen
    for account in release.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not release.of("Secret"), "a key in Helm's record of a release is a key in two places"


def test_everything_is_denied_that_is_not_needed(release: Release) -> None:
    everything = release.of("NetworkPolicy")
    if not everything:
        return
    deny = release.find("NetworkPolicy", "tallystick-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny.keys()
    for metadata, _ in pods(release):
        assert selects(deny["podSelector"]["matchLabels"], metadata["labels"])
    for policy in everything:
        for way, far in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(way, ()):
                assert rule["ports"], "no rule opens every port"
                assert far not in rule or rule[far], "an empty list would mean anybody"


def test_the_pods_of_a_run_are_reached_at_one_port_alone(rendered: dict[str, Release]) -> None:
    assert ports(rendered["party"], RUN, "ingress") == {7700}
    assert ports(rendered["other-port"], RUN, "ingress") == {8800}
    assert ports(rendered["other-port"], RUN, "egress") >= {7700, 8800}
    assert 443 in ports(rendered["ingress"], RUN, "egress")


def test_the_dealer_is_reached_by_peers_and_prometheus_and_dials_nobody(
    rendered: dict[str, Release],
) -> None:
    (labels,) = (
        metadata["labels"]
        for metadata, pod in pods(rendered["dealer"])
        if pod["containers"][0]["name"] == "dealer"
    )
    assert ports(rendered["dealer"], labels, "ingress") == {7700, 9700}
    assert ports(rendered["dealer"], labels, "egress") == set()
    policy = rendered["dealer"].find("NetworkPolicy", "tallystick-metrics")["spec"]
    assert policy["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }


def test_known_peers_alone_may_connect(rendered: dict[str, Release]) -> None:
    (rule,) = rendered["peers-known"].find("NetworkPolicy", "tallystick-peers")["spec"]["ingress"]
    assert [next(iter(far)) for far in rule["from"]] == [
        "ipBlock",
        "ipBlock",
        "namespaceSelector",
        "namespaceSelector",
        "podSelector",
    ]
    labels = {**RUN, "app.kubernetes.io/instance": "tallystick"}
    assert 443 in ports(rendered["peers-known"], labels, "egress")


def test_the_labels_of_a_runs_pods_are_what_services_and_policies_look_for(
    rendered: dict[str, Release],
) -> None:
    # They are compiled into the packages, which know no release.
    _, platform = yaml.safe_load_all((PACKAGES / "training.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for pod in executors.values():
        labels = pod["podMetadata"]["labels"]
        service = rendered["party"].find("Service", "tallystick-party")
        assert selects(service["spec"]["selector"], labels)
        assert len(policies(rendered["party"], labels)) == 3


def test_the_packages_defaults_are_the_names_of_a_release_called_tallystick(
    rendered: dict[str, Release],
) -> None:
    inputs = parameters("training")
    release = rendered["party"]
    release.find("ConfigMap", inputs["consortium_config"]["defaultValue"])
    release.find("PersistentVolumeClaim", inputs["data_claim"]["defaultValue"])
    release.find("PersistentVolumeClaim", inputs["checkpoint_claim"]["defaultValue"])
    job = release.find("Job", "tallystick-keygen")["spec"]["template"]["spec"]["containers"][0]
    assert job["command"][-1] == inputs["identity_secret"]["defaultValue"]
    # And in a trial with a release for each party.
    inputs = parameters("consortium-training")
    alice = helm.install(PARTY, name=inputs["party_1"]["defaultValue"])
    alice.find("ConfigMap", inputs["consortium_config_1"]["defaultValue"])
    alice.find("PersistentVolumeClaim", inputs["data_claim_1"]["defaultValue"])


def test_the_doctor_finds_what_a_runs_pod_finds(rendered: dict[str, Release]) -> None:
    doctor = rendered["party"].find("Pod", "tallystick-doctor")
    assert doctor["metadata"]["annotations"]["helm.sh/hook"] == "test"
    service = rendered["party"].find("Service", "tallystick-party")
    assert selects(service["spec"]["selector"], doctor["metadata"]["labels"])
    command = doctor["spec"]["containers"][0]["command"]
    inputs = parameters("training")
    for name in ("consortium", "identity"):
        assert f"--{name}={inputs[name]['defaultValue']}" in command
    assert "Pod" not in {thing["kind"] for thing in rendered["first-party"].everything}


def test_there_is_one_dealer_and_it_is_kept_up(rendered: dict[str, Release]) -> None:
    deployment = rendered["dealer"].find("Deployment", "tallystick-dealer")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    container = deployment["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    budget = rendered["dealer"].find("PodDisruptionBudget", "tallystick-dealer")["spec"]
    assert selects(budget["selector"]["matchLabels"], deployment["template"]["metadata"]["labels"])
    other = helm.install(
        {
            **DEALER,
            "consortium": {
                **CONSORTIUM,
                "parties": [member("alice"), member("bob"), member("carol")],
            },
        }
    )
    annotations = [
        r.find("Deployment", "tallystick-dealer")["spec"]["template"]["metadata"]["annotations"]
        for r in (rendered["dealer"], other)
    ]
    assert annotations[0] != annotations[1], "a changed consortium must be another dealer"
    assert not rendered["first-dealer"].of("Deployment")


def test_the_consortium_file_is_what_was_given(rendered: dict[str, Release]) -> None:
    data = rendered["tracked"].find("ConfigMap", "tallystick-consortium")["data"]
    assert yaml.safe_load(data["consortium.yaml"]) == CONSORTIUM
    assert data["mlflow-tracking-uri"] == "http://tallystick-mlflow.risk.svc:5000"
    elsewhere = rendered["tracked-elsewhere"].find("ConfigMap", "tallystick-consortium")["data"]
    assert elsewhere["mlflow-tracking-uri"] == "https://mlflow.example"
    plain = rendered["party"].find("ConfigMap", "tallystick-consortium")["data"]
    assert "mlflow-tracking-uri" not in plain


def test_what_is_kept_outlives_the_release(rendered: dict[str, Release]) -> None:
    claims = rendered["tracked"].of("PersistentVolumeClaim")
    assert {claim["metadata"]["name"] for claim in claims} == {
        "tallystick-data",
        "tallystick-checkpoints",
        "tallystick-mlflow",
    }
    for claim in claims:
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not rendered["own-objects"].of("PersistentVolumeClaim")


def test_what_one_made_oneself_is_used_and_not_made_again(rendered: dict[str, Release]) -> None:
    release = rendered["own-objects"]
    assert not release.of("Role") + release.of("ServiceAccount")
    (claims,) = release.of("Job")
    mounted = claims["spec"]["template"]["spec"]["volumes"][1:]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in mounted] == [
        "my-tables",
        "my-checkpoints",
    ]
    doctor = release.find("Pod", "tallystick-doctor")["spec"]
    assert doctor["serviceAccountName"] == "my-account"
    assert doctor["volumes"][1]["configMap"]["name"] == "my-consortium"
    assert doctor["volumes"][2]["secret"]["secretName"] == "my-key"


def test_a_platform_that_chooses_groups_is_left_to(rendered: dict[str, Release]) -> None:
    assert all("fsGroup" not in pod["securityContext"] for _, pod in pods(rendered["openshift"]))
    assert all(pod["securityContext"]["fsGroup"] for _, pod in pods(rendered["tracked"]))


def test_a_digest_comes_before_the_tag(rendered: dict[str, Release]) -> None:
    (image,) = {c["image"] for _, pod in pods(rendered["mirrored"]) for c in pod["containers"]}
    assert image == f"registry.example/party@sha256:{'0' * 64}"
    version = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())["appVersion"]
    (image,) = {c["image"] for _, pod in pods(rendered["party"]) for c in pod["containers"]}
    assert image == f"ghcr.io/tallystick/party:{version}"


def test_peers_outside_come_in_where_it_is_asked_for(rendered: dict[str, Release]) -> None:
    assert rendered["party"].of("Service")[0]["spec"]["clusterIP"] == "None"
    balanced = rendered["full-dealer"].find("Service", "tallystick-dealer-outside")["spec"]
    assert balanced["type"] == "LoadBalancer"
    assert balanced["loadBalancerSourceRanges"] == ["203.0.113.0/24"]
    ingress = rendered["ingress"].find("Ingress", "tallystick-party")
    assert (
        ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/ssl-passthrough"] == "true"
    )
    assert "tls" not in ingress["spec"], "what the controller ends, it can read"


def test_the_notes_say_the_next_step(rendered: dict[str, Release]) -> None:
    for case, words in (
        ("first-party", r"get secret tallystick-identity .*base64 -d"),
        ("party", r"helm -n risk test tallystick --logs"),
        ("dealer", r"rollout status deployment/tallystick-dealer"),
        ("tracked", r"Runs are tracked at http://tallystick-mlflow"),
    ):
        assert re.search(words, rendered[case].notes), rendered[case].notes
    # What the form has to be told: everything of a party's own that a package has a default for.
    own = {"identity_secret", "consortium_config", "data_claim", "checkpoint_claim", "image"}
    told = helm.install(
        {**PARTY, "image": {"repository": "registry.example/party"}}, name="a"
    ).notes
    said = dict(re.findall(r"^  (\w+): +(\S+)$", told, re.M))
    assert said.keys() == own
    assert said["image"].startswith("registry.example/party:")
    assert {name: value for name, value in said.items() if name != "image"} == {
        name: parameters("training")[name]["defaultValue"].replace("tallystick", "a")
        for name in own - {"image"}
    }


def test_the_dashboard_asks_for_figures_that_the_dealer_gives(
    rendered: dict[str, Release],
) -> None:
    config = rendered["full-dealer"].find("ConfigMap", "tallystick-dealer-dashboard")
    board = json.loads(config["data"]["tallystick-dealer.json"])
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"tallystick_\w+", target["expr"])
    }
    code = (
        helm.CHART.parents[1] / "components/tallystick/runtime/dealer/exposition.py"
    ).read_text()
    given = set(re.findall(r'"(tallystick_\w+)"', code))
    ends = re.compile("_(total|bucket)$")
    assert {ends.sub("", name) for name in asked} == given


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "missing property 'name'"),
        ({**PARTY, "nmae": "alice"}, "additional properties 'nmae' not allowed"),
        (
            {**PARTY, "networkPolicy": {"enable": True}},
            "additional properties 'enable' not allowed",
        ),
        ({**PARTY, "role": "notary"}, "value must be one of 'party', 'dealer'"),
        ({**PARTY, "port": 80}, "'/port': minimum: got 80, want 1,024"),
        ({**PARTY, "port": "7700"}, "'/port': got string, want integer"),
        (
            {**PARTY, "name": "carol"},
            '"carol" is none of the consortium\'s parties, which are alice, bob',
        ),
        ({**DEALER, "name": "alice"}, 'whom the consortium calls "notary", not "alice"'),
        (
            {**PARTY, "consortium": {**CONSORTIUM, "dealer": member("bob")}},
            '"bob" is a party too; together with any one party the dealer could see everything',
        ),
        (
            {**PARTY, "consortium": {"parties": CONSORTIUM["parties"]}},
            "give both the parties and the dealer",
        ),
        ({**PARTY, "port": 8800}, '"alice" listens at 7700, and this release opens 8800'),
        (
            {**PARTY, "exposure": {"type": "ingress"}},
            "exposure.host: an ingress passes TLS through",
        ),
        (
            {**TRACKED, "mlflow": {"server": {"enabled": True}, "trackingUri": "http://m"}},
            "give trackingUri, or enable the server, not both",
        ),
        ({**PARTY, "mlflow": {"trackingUri": "http://me:secret@m"}}, "/mlflow/trackingUri"),
        ({**PARTY, "image": {"digest": "latest"}}, "/image/digest"),
        ({**PARTY, "data": {"size": "10 GB"}}, "/data/size"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wrong(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        helm.install(values)
    assert said in str(refused.value)


def test_every_value_is_in_the_schema_and_explained() -> None:
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    text = (helm.CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    assert set(schema["properties"]) - {"name", "global"} == set(values)
    lines = text.splitlines()
    for key in values:
        line = next(n for n, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert lines[line - 1].startswith("#"), f"{key} is not explained"


def test_the_chart_is_the_projects_version() -> None:
    project = (helm.CHART.parents[1] / "pyproject.toml").read_text()
    chart = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())
    (version,) = re.findall(r'^version = "(.*)"', project, re.M)
    assert chart["version"] == chart["appVersion"] == version
