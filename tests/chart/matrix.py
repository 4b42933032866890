"""The values that the chart is rendered with: each on its own, and together."""

from typing import Any

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def member(name: str, **more: str) -> dict[str, str]:
    return {
        "name": name,
        "address": f"{name}.example:7700",
        "certificate": CERTIFICATE.replace("MIIB", f"MIIB{name}"),
        **more,
    }


CONSORTIUM = {"parties": [member("alice"), member("bob")], "dealer": member("notary")}
FIRST: dict[str, Any] = {"name": "alice"}
PARTY: dict[str, Any] = {"name": "alice", "consortium": CONSORTIUM}
DEALER: dict[str, Any] = {"name": "notary", "role": "dealer", "consortium": CONSORTIUM}
TRACKED = {**PARTY, "mlflow": {"server": {"enabled": True}}}
FULL_DEALER = {
    **DEALER,
    "metrics": {"serviceMonitor": True, "dashboard": True},
    "dealer": {"nodeSelector": {"pool": "safe"}, "tolerations": [{"operator": "Exists"}]},
    "exposure": {"type": "loadBalancer", "sourceRanges": ["203.0.113.0/24"]},
}

MATRIX: dict[str, dict[str, Any]] = {
    "first-party": FIRST,
    "first-dealer": {"name": "notary", "role": "dealer"},
    "party": PARTY,
    "dealer": DEALER,
    "full-dealer": FULL_DEALER,
    "tracked": TRACKED,
    "tracked-elsewhere": {**PARTY, "mlflow": {"trackingUri": "https://mlflow.example"}},
    "load-balancer": {
        **PARTY,
        "exposure": {"type": "loadBalancer", "annotations": {"cloud/internal": "true"}},
    },
    "ingress": {
        **PARTY,
        "exposure": {"type": "ingress", "host": "alice.example"},
        "consortium": {
            **CONSORTIUM,
            "parties": [
                member("alice", address="alice.example:443", listen="7700"),
                member("bob"),
            ],
        },
    },
    "own-objects": {
        "name": "alice",
        "identity": {"existingSecret": "my-key"},
        "consortium": {"existingConfigMap": "my-consortium"},
        "data": {"existingClaim": "my-tables"},
        "checkpoints": {"existingClaim": "my-checkpoints"},
        "serviceAccount": {"existingName": "my-account"},
    },
    "peers-known": {
        **TRACKED,
        "networkPolicy": {
            "peerCidrs": ["203.0.113.0/24", "2001:db8::/32"],
            "peerNamespaces": ["bob", "notary"],
            "extraEgress": [{"cidr": "198.51.100.7/32", "port": 443}],
        },
    },
    "no-policies": {**PARTY, "networkPolicy": {"enabled": False}},
    "openshift": {**TRACKED, "fsGroup": None},
    "mirrored": {
        **DEALER,
        "image": {
            "repository": "registry.example/party",
            "digest": "sha256:" + "0" * 64,
            "pullSecrets": ["registry"],
        },
    },
    "other-port": {
        **PARTY,
        "port": 8800,
        "consortium": {
            **CONSORTIUM,
            "parties": [member("alice", address="alice.example:8800"), member("bob")],
        },
    },
}
