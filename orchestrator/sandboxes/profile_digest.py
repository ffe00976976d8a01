"""Whether two processes that read the profiles each for themselves read the same. Pure."""

import hashlib

import msgspec

from orchestrator.sessions.profiles import Profile


def digest_of(profile: Profile) -> str:
    return hashlib.sha256(msgspec.json.encode(profile, enc_hook=str)).hexdigest()[:32]
