"""What can go wrong in a session, as a person is told it.

    RuleBroken                  tag, sentence (what happened), advice (what to do), status (HTTP)
    ├── UnknownCommand          400, one that this version does not know, or not here
    ├── UnknownSession          404, also for somebody else's
    ├── SessionOver             409
    ├── UnknownProfile          404
    ├── PromptTooLarge          413
    ├── PromptEmpty             422
    ├── QueueFull               409, too many prompts wait in one session
    ├── NothingToStop           409
    ├── AnswerTooLate           409, the permission or question is gone
    ├── BadAnswer               422
    ├── InputChanged            409, the answer names another input than the one that is open
    ├── ModelNotAllowed         422
    ├── BadCursor               422
    ├── UnknownPrompt           404
    ├── SandboxNotReady         409, the session still waits for its sandbox
    ├── NoSandboxFree           429, retry_after in seconds
    ├── ConversationTooLarge    413, no sandbox can hold it any more
    ├── TooManySessions         429
    │   └── TooManyAwake        429, of those that have a sandbox
    ├── StorageFailed           503, the database refuses; raised by the stores
    └── ShuttingDown            503

Each is raised by the rules and encoded at the rim (problem details, or an error frame).
"""


class RuleBroken(Exception):
    """A request that the rules refuse. Nothing was changed."""

    tag = "refused"
    status = 400
    sentence = "That is not possible."
    advice = ""

    def __init__(self, sentence: str | None = None, *, advice: str | None = None) -> None:
        self.sentence = sentence or self.sentence
        self.advice = self.advice if advice is None else advice
        super().__init__(self.sentence)


class UnknownCommand(RuleBroken):
    tag = "unknown_command"
    sentence = "Casemate does not know that command."
    advice = "Reload the page: it may be of another version."


class UnknownSession(RuleBroken):
    tag, status = "unknown_session", 404
    sentence = "There is no such session."
    advice = "Choose one from your list, or start a new one."


class SessionOver(RuleBroken):
    tag, status = "session_over", 409
    sentence = "This session has ended."
    advice = "Start a new one; this one stays readable."


class UnknownProfile(RuleBroken):
    tag, status = "unknown_profile", 404
    sentence = "There is no such profile."
    advice = "Choose one of those offered."


class PromptTooLarge(RuleBroken):
    tag, status = "prompt_too_large", 413
    sentence = "The prompt is longer than 1 MiB."
    advice = "Shorten it, or put the long part into a file of the workspace."


class PromptEmpty(RuleBroken):
    tag, status = "prompt_empty", 422
    sentence = "The prompt is empty."


class QueueFull(RuleBroken):
    tag, status = "queue_full", 409
    sentence = "Too many prompts are waiting in this session."
    advice = "Wait until one of them has run, or remove one."


class NothingToStop(RuleBroken):
    tag, status = "nothing_to_stop", 409
    sentence = "Nothing is running."


class AnswerTooLate(RuleBroken):
    tag, status = "answer_too_late", 409
    sentence = "That question is no longer open."
    advice = "It was answered elsewhere, or its turn was stopped."


class BadAnswer(RuleBroken):
    tag, status = "bad_answer", 422
    sentence = "The answer does not fit the question."


class InputChanged(RuleBroken):
    tag, status = "input_changed", 409
    sentence = "What was asked has changed since you looked."
    advice = "Look at the request as it is now, and decide again."


class ModelNotAllowed(RuleBroken):
    tag, status = "model_not_allowed", 422
    sentence = "This session's profile does not allow that model."
    advice = "Choose one of those offered."


class BadCursor(RuleBroken):
    tag, status = "bad_cursor", 422
    sentence = "The cursor is not one that a list gave."
    advice = "Start from the first page."


class UnknownPrompt(RuleBroken):
    tag, status = "unknown_prompt", 404
    sentence = "That prompt is not waiting."
    advice = "It has already started, or was removed."


class SandboxNotReady(RuleBroken):
    tag, status = "sandbox_not_ready", 409
    sentence = "The session has no sandbox at this moment."
    advice = "Open it, and try again in a moment."


class NoSandboxFree(RuleBroken):
    tag, status = "no_sandbox_free", 429
    sentence = "Every sandbox is in use."
    advice = "Try again in a moment, or end a session that you no longer need."

    def __init__(self, *, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after
        """Seconds."""


class ConversationTooLarge(RuleBroken):
    tag, status = "conversation_too_large", 413
    sentence = (
        "This conversation has grown larger than a sandbox's home directory, so none can take it "
        "up. Go back to an earlier checkpoint, or start a new session."
    )


class TooManySessions(RuleBroken):
    tag, status = "too_many_sessions", 429
    sentence = "You have as many sessions open as you may have."
    advice = "End one that you no longer need."


class TooManyAwake(TooManySessions):
    tag = "too_many_awake"
    sentence = "You have as many sessions awake as you may have."
    advice = "Hibernate or end one; this one is kept as it is."


class StorageFailed(RuleBroken):
    """Raised by a store `from` its driver's error. Nothing was written."""

    tag, status = "storage_failed", 503
    sentence = "Casemate cannot use its database."
    advice = "Tell your administrator; nothing was changed."


class ShuttingDown(RuleBroken):
    tag, status = "shutting_down", 503
    sentence = "Casemate is shutting down."
    advice = "Try again in a minute."


class BlobMissing(StorageFailed):
    sentence = "The stored files of this session cannot be read. Go back to an earlier checkpoint."


class BlobTooLarge(StorageFailed):
    tag, status = "blob_too_large", 413
    sentence = "The files are more than Casemate keeps."


class SandboxStuck(RuleBroken):
    """The engine could not freeze, thaw or reach it."""

    tag, status = "sandbox_stuck", 503
    sentence = "The sandbox does not answer."
    advice = "The session goes on in another one in a moment."


class CheckpointTooLarge(RuleBroken):
    tag, status = "checkpoint_too_large", 413
    sentence = "The workspace holds more than a checkpoint may."
    advice = "Let Claude remove what can be made again, or ask your administrator for more."


class CheckpointTooSlow(CheckpointTooLarge):
    tag = "checkpoint_too_slow"
    sentence = "Keeping or restoring the workspace took longer than it may."


class UnknownCheckpoint(RuleBroken):
    tag, status = "unknown_checkpoint", 404
    sentence = "There is no such checkpoint."


class TurnUnderWay(RuleBroken):
    tag, status = "turn_under_way", 409
    sentence = "A turn is running."
    advice = "Stop it, or wait until it is over."


class NothingUnfinished(RuleBroken):
    tag, status = "nothing_unfinished", 409
    sentence = "That prompt is not waiting to be run again."
    advice = "It was run again or let go, perhaps on another device."
