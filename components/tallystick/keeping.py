"""A member's key made in the cluster where it is used, and kept as a Kubernetes Secret there.

The key is never anywhere else: not on an operator's machine, and not in Helm's record of a release.
"""

import base64
import tempfile
from pathlib import Path

from tallystick.runtime.errors import ConfigError
from tallystick.runtime.identity import CERTIFICATE_FILE, KEY_FILE, keygen

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409


def keygen_in_cluster(member: str, secret: str) -> str:
    """Make a key and a certificate for a member, unless its Secret exists already.

    Args:
        member: its name in the consortium file.
        secret: the name of the Secret, of this pod's namespace.

    Returns:
        The certificate, PEM; that of the Secret which was found, if there was one.

    Raises:
        ConfigError: this is no pod, or its service account may not read and create the Secret.
    """
    from kubernetes import client, config

    try:
        config.load_incluster_config()
        namespace = NAMESPACE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError):
        raise ConfigError(
            "--secret is for a pod with a service account's token; elsewhere make a folder with "
            "--out, and a Secret of it with kubectl"
        ) from None
    api = client.CoreV1Api()
    try:
        return _found(api, namespace, secret)
    except client.ApiException as error:
        if error.status != _NOT_FOUND:
            raise _refused(secret, error) from None
    with tempfile.TemporaryDirectory() as folder:
        certificate = keygen(member, Path(folder) / "identity").read_text(encoding="utf-8")
        files = {
            name: base64.b64encode((Path(folder) / "identity" / name).read_bytes()).decode()
            for name in (KEY_FILE, CERTIFICATE_FILE)
        }
    body = client.V1Secret(
        metadata=client.V1ObjectMeta(name=secret, labels={"app.kubernetes.io/name": "tallystick"}),
        type="kubernetes.io/tls",
        data=files,
    )
    try:
        api.create_namespaced_secret(namespace, body)
    except client.ApiException as error:
        if error.status == _CONFLICT:  # somebody else was quicker, and theirs is the one
            return _found(api, namespace, secret)
        raise _refused(secret, error) from None
    return certificate


def _found(api: object, namespace: str, secret: str) -> str:
    data = api.read_namespaced_secret(secret, namespace).data or {}  # type: ignore[attr-defined]
    if KEY_FILE not in data or CERTIFICATE_FILE not in data:
        raise ConfigError(
            f"the Secret {secret!r} exists already and holds no {KEY_FILE} and {CERTIFICATE_FILE}; "
            "a Secret is never overwritten: remove it, or name another"
        )
    return base64.b64decode(data[CERTIFICATE_FILE]).decode()


def _refused(secret: str, error: Exception) -> ConfigError:
    status = getattr(error, "status", None)
    remedy = "; its service account needs get and create on Secrets" if status == _FORBIDDEN else ""
    return ConfigError(f"the API server refuses the Secret {secret!r} ({status}){remedy}")
