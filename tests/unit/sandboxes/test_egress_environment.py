"""What a container's environment says of the egress proxy."""

import msgspec

from orchestrator.protocol.agent import CA_BUNDLE, LOOPBACK_PORT
from orchestrator.sandboxes.container_spec import EGRESS_ENVIRONMENT, ENVIRONMENT, _environment
from orchestrator.sessions.profiles import Egress, EgressRule


def test_without_a_list_nothing_is_said(profile):
    """A profile that allows no host has the plain environment."""
    assert _environment(profile) == ENVIRONMENT


def test_with_a_list_tools_find_the_proxy(profile):
    """In both spellings that tools know; what is in the sandbox itself is reached without it."""
    open_profile = msgspec.structs.replace(
        profile, egress=Egress(allow=(EgressRule(host="a.test"),))
    )
    said = dict(line.split("=", 1) for line in _environment(open_profile))
    assert {said[name] for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")} == {
        f"http://127.0.0.1:{LOOPBACK_PORT}"
    }
    assert {"localhost", "127.0.0.1", "gateway.internal"} <= set(said["NO_PROXY"].split(","))
    assert said["NO_PROXY"] == said["no_proxy"]
    assert said["CURL_CA_BUNDLE"] == said["GIT_SSL_CAINFO"] == CA_BUNDLE
    assert set(ENVIRONMENT) <= set(_environment(open_profile))
    assert len({line.split("=", 1)[0] for line in EGRESS_ENVIRONMENT}) == len(EGRESS_ENVIRONMENT)
