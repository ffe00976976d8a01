"""Whether what a person sent fits what was asked, and whether what a sandbox asks holds together.
Pure; for people each raises the RuleBroken that says why not."""

from collections.abc import Mapping

from orchestrator.protocol.chat import MAX_PROMPT_BYTES
from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.sandbox_events import PermissionRequested, QuestionAsked
from orchestrator.sessions.errors import (
    BadAnswer,
    InputChanged,
    ModelNotAllowed,
    PromptEmpty,
    PromptTooLarge,
)
from orchestrator.sessions.profiles import Profile


def check_prompt(text: str) -> None:
    if not text.strip():
        raise PromptEmpty
    if len(text) > MAX_PROMPT_BYTES or len(text.encode()) > MAX_PROMPT_BYTES:
        raise PromptTooLarge


def check_decision(decision: PermissionDecision, request: PermissionRequested) -> None:
    if decision.input_hash != request.input_hash:
        raise InputChanged
    allows = decision.choice in {"allow", "allow_always"}
    if decision.updated_input is not None and not allows:
        raise BadAnswer("A changed input goes with allowing, not with denying.")
    if decision.reason and allows:
        raise BadAnswer("A reason goes with denying, not with allowing.")
    if not decision.suggestions:
        return
    if decision.choice != "allow_always":
        raise BadAnswer("Suggestions go with allowing always.")
    if any(not 0 <= index < len(request.suggestions) for index in decision.suggestions):
        raise BadAnswer("There is no such suggestion.")


def names_its_input(request: PermissionRequested) -> bool:
    """Whether the hash that an answer will name is that of the input which people are shown."""
    try:
        return request.input_hash == input_hash(request.tool_name, request.input)
    except (ValueError, TypeError, RecursionError):
        return False


def hash_of_decided(decision: PermissionDecision, request: PermissionRequested) -> str:
    """Of what the tool runs with, or would have. Raises BadAnswer for what is no JSON."""
    if decision.updated_input is None:
        return request.input_hash
    try:
        return input_hash(request.tool_name, decision.updated_input)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadAnswer("The changed input cannot be read.") from error


def check_answers(answers: Mapping[str, str], asked: QuestionAsked) -> None:
    """Every question has its answer and there is no other. An answer may be one that was not
    offered."""
    questions = {question.question for question in asked.questions}
    if set(answers) - questions:
        raise BadAnswer("One of the answers is to a question that was not asked.")
    if any(not answers.get(question, "").strip() for question in questions):
        raise BadAnswer("Every question needs an answer.")


def check_model(model: str, profile: Profile) -> None:
    for allowed in profile.models:
        if model == allowed or (allowed.endswith("*") and model.startswith(allowed[:-1])):
            return
    raise ModelNotAllowed
