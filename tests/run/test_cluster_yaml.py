"""cluster.yaml and .cluster/aws.yaml without a cloud: Ray's own checks, moto's AWS, and a pretended
spot notice.

That `ray up` works on a real cloud is not tested.  test_cluster.py starts the cluster's machines as
processes.
"""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster.yaml").read_text()
CLUSTER = yaml.safe_load(TEXT)
TEMPLATE = (ROOT / ".cluster" / "aws.yaml").read_text()
HEAD, GPU = (
    CLUSTER["available_node_types"][name]["node_config"] for name in ("ray.head.default", "gpu")
)
LISTS = (
    "initialization",
    "setup",
    "head_setup",
    "worker_setup",
    "head_start_ray",
    "worker_start_ray",
)
README = (ROOT / "README.md").read_text()
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.M))


class _Short(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Ref x` as {"Ref": "x"}."""


_Short.add_multi_constructor("!", lambda loader, suffix, node: {suffix: node.value})
RESOURCES = yaml.load(TEMPLATE, Loader=_Short)["Resources"]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [r["Properties"] for r in RESOURCES.values() if r["Type"] == f"AWS::{kind}"]


# ---- cluster.yaml --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    """As Ray completes it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(TEXT))
    validate_config(config)
    return config


def test_ray_accepts_it_and_adds_no_default_of_its_own(prepared: dict[str, Any]) -> None:
    for name in LISTS:
        assert isinstance(CLUSTER[f"{name}_commands"], list), f"Ray would fill in {name}_commands"
    said = str(prepared)
    assert not re.search(
        r"0\.0\.0\.0|::/0|nightly|3\.0\.0\.dev|latest['\"]?[,}]|:latest|ray-ml", said
    )
    assert prepared["max_workers"] == prepared["available_node_types"]["gpu"]["max_workers"] == 4


def test_the_head_is_on_demand_and_empty_the_workers_are_spot_from_zero() -> None:
    head, gpu = CLUSTER["available_node_types"].values()
    assert CLUSTER["head_node_type"] == "ray.head.default" and head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in HEAD and GPU["InstanceMarketOptions"] == {
        "MarketType": "spot"
    }
    assert gpu["min_workers"] == 0 and 0 < CLUSTER["idle_timeout_minutes"] <= 15


@pytest.mark.parametrize("node", [HEAD, GPU], ids=["head", "gpu"])
def test_credentials_of_a_machine_need_a_session_and_stay_on_it(node: dict[str, Any]) -> None:
    wanted = {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert node["MetadataOptions"] == wanted
    assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])
    assert {"Key": "project", "Value": "ouroboros"} in node["TagSpecifications"][0]["Tags"]


def test_hop_limit_one_holds_because_ray_starts_containers_on_the_hosts_network() -> None:
    from ray.autoscaler._private.docker import docker_start_cmds

    started = docker_start_cmds(
        "ubuntu", "image", {}, "ray", CLUSTER["docker"]["run_options"], "ouroboros", "/h", "docker"
    )
    assert "--net=host" in started and "-e RAY_AUTH_MODE=token" in started


def test_versions_are_the_tested_ones() -> None:
    images = {v for k, v in CLUSTER["docker"].items() if k.endswith("image")}
    assert images == {f"rayproject/ray:{PINS['ray']}-py311-{kind}" for kind in ("cpu", "gpu")}
    install = [c for c in CLUSTER["setup_commands"] if "pip install" in c]
    pip = "pip install -q -r requirements.txt -c requirements-test.txt -e '.[s3,cluster]'"
    assert (
        install == [f"cp -r /opt/ouroboros ~ && cd ~/ouroboros && {pip}"] and f"\n{pip}\n" in README
    )
    named = (ROOT / "requirements-test.txt").read_text()
    assert all(
        re.search(rf"^{name}==", named, re.M)
        for name in ("s3fs", "aiobotocore", "botocore", "boto3")
    )


def test_what_travels_is_there_and_is_all_that_an_installation_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    mounts = {
        remote.removeprefix("/opt/ouroboros/"): local
        for remote, local in CLUSTER["file_mounts"].items()
    }
    assert mounts.pop("/opt/ouroboros-token").startswith("~")
    assert all((ROOT / local).exists() for local in mounts.values())
    packages = {p.rstrip("*") for p in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages | {
        project["project"]["readme"],
        "pyproject.toml",
        "requirements.txt",
        "requirements-test.txt",
    } < set(mounts)
    started = " ".join(CLUSTER["worker_start_ray_commands"])
    assert (
        "/opt/ouroboros/cluster/drain.sh" in started
        and (ROOT / mounts["cluster"] / "drain.sh").exists()
    )


def test_no_door_is_open_and_the_token_is_there_before_ray_starts() -> None:
    head = " ".join(CLUSTER["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head and "mlflow server --host 127.0.0.1" in head
    assert CLUSTER["file_mounts"]["/opt/ouroboros-token"] == "~/.ray/auth_token"
    assert CLUSTER["setup_commands"][0] == "chmod 600 /opt/ouroboros-token"
    assert "(umask 077 && ray get-auth-token --generate" in (ROOT / "README.md").read_text()
    assert {"-e RAY_AUTH_MODE=token", "-e RAY_AUTH_TOKEN_PATH=/opt/ouroboros-token"} < set(
        CLUSTER["docker"]["run_options"]
    )
    assert (
        "sqlite:////mlflow/" in head
        and "-v /mlflow:/mlflow" in CLUSTER["docker"]["head_run_options"]
    )


@pytest.mark.parametrize(
    "name", ["cluster.yaml", ".cluster/aws.yaml", ".cluster/gcp.md", ".cluster/drain.sh"]
)
def test_no_secret_and_no_identifier_of_an_account_is_written_down(name: str) -> None:
    looks = (
        r"AKIA[0-9A-Z]{16}|BEGIN [A-Z "
        r"]*PRIVATE|\b(sg|subnet|vpc|ami|vol)-[0-9a-f]{8,}|\b\d{12}\b|[0-9a-f]{32,}"
    )
    assert not re.search(looks + r"|(?i:password|secret)\w*\s*[:=]", (ROOT / name).read_text())


# ---- .cluster/aws.yaml ---------------------------------------------------------------------------


def test_it_is_a_cloudformation_template() -> None:
    """By the resource schemas that AWS publishes, which cfn-lint brings along."""
    lint = pytest.importorskip("cfnlint.api")
    assert not [str(m) for m in lint.lint(TEMPLATE)]


def test_from_outside_only_ssh_from_one_address() -> None:
    (group,) = of_kind("EC2::SecurityGroup")
    (ssh,) = group["SecurityGroupIngress"]
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"]) == ("tcp", 22, 22)
    assert ssh["CidrIp"] == {"Ref": "MyAddress"} and "CidrIpv6" not in ssh
    (among,) = of_kind("EC2::SecurityGroupIngress")
    assert among["SourceSecurityGroupId"] == among["GroupId"] == {"GetAtt": "Group.GroupId"}
    assert not {"CidrIp", "CidrIpv6", "SourcePrefixListId"} & set(among)
    pattern = yaml.load(TEMPLATE, Loader=_Short)["Parameters"]["MyAddress"]["AllowedPattern"]
    assert re.match(pattern, "203.0.113.7/32")
    assert not any(
        re.match(pattern, text) for text in ("0.0.0.0/0", "203.0.113.0/24", "0.0.0.0/32", "")
    )


def test_the_bucket_is_private_and_outlives_the_stack() -> None:
    (bucket,) = of_kind("S3::Bucket")
    assert (
        all(bucket["PublicAccessBlockConfiguration"].values())
        and len(bucket["PublicAccessBlockConfiguration"]) == 4
    )
    assert "BucketEncryption" in bucket and RESOURCES["Bucket"]["DeletionPolicy"] == "Retain"
    (policy,) = of_kind("S3::BucketPolicy")
    assert all(s["Effect"] == "Deny" for s in policy["PolicyDocument"]["Statement"])
    conditions = [s.get("Condition") for s in policy["PolicyDocument"]["Statement"]]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert (
        RESOURCES["Volume"]["DeletionPolicy"] == "Snapshot"
        and RESOURCES["Volume"]["Properties"]["Encrypted"]
    )


def test_workers_may_use_the_bucket_and_nothing_else() -> None:
    assert "Policies" not in RESOURCES["WorkerRole"]["Properties"]
    assert len(RESOURCES["WorkerRole"]["Properties"]["ManagedPolicyArns"]) == 1
    (store,) = of_kind("IAM::ManagedPolicy")
    assert all(
        a.startswith("s3:") for s in store["PolicyDocument"]["Statement"] for a in s["Action"]
    )
    (own,) = RESOURCES["HeadRole"]["Properties"]["Policies"]
    passes = [
        s["Resource"]
        for s in own["PolicyDocument"]["Statement"]
        if "iam:PassRole" in str(s["Action"])
    ]
    assert passes == [{"GetAtt": "WorkerRole.Arn"}]
    ends = [s for s in own["PolicyDocument"]["Statement"] if "Terminate" in str(s["Action"])]
    assert ends and all("ResourceTag" in str(s["Condition"]) for s in ends)


# ---- both together, on moto's AWS ----------------------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The stack, made; gives the EC2 client."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its key pair there
    with moto.mock_aws():
        region = CLUSTER["provider"]["region"]
        ec2 = boto3.client("ec2", region)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        boto3.client("ssm", region).put_parameter(Name="/test/image", Value=image, Type="String")
        published = yaml.load(TEMPLATE, Loader=_Short)["Parameters"]["Image"][
            "Default"
        ]  # moto does not know it
        boto3.client("cloudformation", region).create_stack(
            StackName="ouroboros",
            TemplateBody=TEMPLATE.replace(published, "/test/image"),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": "MyAddress", "ParameterValue": "203.0.113.7/32"}],
        )
        yield ec2


@pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")  # moto leaves it out
def test_ray_finds_what_the_stack_made_and_makes_no_group_of_its_own(
    aws: Any, prepared: dict[str, Any]
) -> None:
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    groups = {g["GroupId"] for g in aws.describe_security_groups()["SecurityGroups"]}
    ready = bootstrap_aws(prepared)
    assert {g["GroupId"] for g in aws.describe_security_groups()["SecurityGroups"]} == groups
    nodes = {name: node["node_config"] for name, node in ready["available_node_types"].items()}
    (mine,) = {g for node in nodes.values() for g in node["SecurityGroupIds"]}
    (group,) = aws.describe_security_groups(GroupIds=[mine])["SecurityGroups"]
    outside = [
        (rule["FromPort"], r["CidrIp"]) for rule in group["IpPermissions"] for r in rule["IpRanges"]
    ]
    assert outside == [(22, "203.0.113.7/32")]
    assert len({node["IamInstanceProfile"]["Arn"] for node in nodes.values()}) == 2
    assert (
        "IamInstanceProfile" not in ready["head_node"]
    )  # Ray would have made one with full access to EC2 and S3
    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    for node in nodes.values():  # the request that AWS would get, checked by botocore
        provider.create_node(node, {"ray-node-type": "worker"}, 1)
    started = [i for r in aws.describe_instances()["Reservations"] for i in r["Instances"]]
    assert len(started) == 2 and {g["GroupId"] for i in started for g in i["SecurityGroups"]} == {
        mine
    }
    assert {i["Placement"]["AvailabilityZone"] for i in started} == {
        CLUSTER["provider"]["availability_zone"]
    }


# ---- the spot notice -----------------------------------------------------------------------------


class _Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2 of a spot machine that gets its notice at the third question."""

    asked = 0

    def do_PUT(self) -> None:
        self._say(
            200 if "X-aws-ec2-metadata-token-ttl-seconds" in self.headers else 400, b"session"
        )

    def do_GET(self) -> None:
        type(self).asked += 1
        known = self.headers.get("X-aws-ec2-metadata-token") == "session"
        self._say(401 if not known else 200 if self.asked > 2 else 404, b'{"action": "terminate"}')

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_spot_notice_drains_the_machine(tmp_path: Path) -> None:
    ray = tmp_path / "ray"
    ray.write_text(f'#!/bin/sh\necho "$RAY_ADDRESS $@" > {tmp_path}/said\n')
    ray.chmod(0o755)
    with http.server.HTTPServer(("127.0.0.1", 0), _Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {"METADATA": f"http://127.0.0.1:{server.server_port}", "EVERY": "0.01"}
        own = {**os.environ, **settings, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(
            ["bash", ROOT / ".cluster" / "drain.sh", "10.0.0.1:6379"],
            env=own,
            check=True,
            timeout=60,
        )
        server.shutdown()
    said = (tmp_path / "said").read_text().split()
    assert _Metadata.asked == 3 and said[:4] == [
        "10.0.0.1:6379",
        "drain-node",
        "--address",
        "10.0.0.1:6379",
    ]
    assert "DRAIN_NODE_REASON_PREEMPTION" in said
