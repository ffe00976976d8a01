"""What can go wrong with a session's files.

RuleBroken
├── FileRefused
│   ├── BadName             422, a name that is not carried
│   ├── UnknownFile         404
│   ├── NotAFile            409, a directory, a symlink, a pipe
│   ├── NotADirectory       409
│   ├── FileExists          409, and `overwrite` was not asked for
│   ├── InTheWay            409, a directory or a symlink stands there
│   ├── FileTooLarge        413
│   ├── UploadsSpent        413, of the session together
│   ├── ArchiveTooLarge     413
│   └── NoRoom              507, the workspace is full
├── TooManyTransfers        429
└── TransferBroken          502, the sandbox did not do what it has to
    └── FileChanged         it became shorter while it was read
"""

from orchestrator.sessions.errors import RuleBroken


class FileRefused(RuleBroken):
    """Something about the file that was named."""


class BadName(FileRefused):
    tag, status = "bad_file_name", 422
    sentence = "That file name is not possible here."
    advice = "Name it relative to the workspace, without invisible characters or backslashes."


class UnknownFile(FileRefused):
    tag, status = "unknown_file", 404
    sentence = "There is no such file in the workspace."
    advice = "Look at the list again: it may have been moved."


class NotAFile(FileRefused):
    tag, status = "not_a_file", 409
    sentence = "That is not a plain file."
    advice = "Directories are downloaded as an archive; links and pipes not at all."


class NotADirectory(FileRefused):
    tag, status = "not_a_directory", 409
    sentence = "That is not a directory."
    advice = "Links to directories are not followed."


class FileExists(FileRefused):
    tag, status = "file_exists", 409
    sentence = "There is already a file of that name."
    advice = "Choose another name, or overwrite it."


class InTheWay(FileRefused):
    tag, status = "in_the_way", 409
    sentence = "Something that is not a plain file stands in its place."
    advice = "Choose another name."


class FileTooLarge(FileRefused):
    tag, status = "file_too_large", 413
    sentence = "The file is larger than files may be here."
    advice = "Split it, or ask your administrator for a higher limit."


class UploadsSpent(FileRefused):
    tag, status = "uploads_spent", 413
    sentence = "This session has taken as much by upload as it may."
    advice = "Start a new session for more."


class ArchiveTooLarge(FileRefused):
    tag, status = "archive_too_large", 413
    sentence = "That directory holds more than an archive may."
    advice = "Download a part of it, or let Claude pack what you need."


class NoRoom(FileRefused):
    tag, status = "no_room", 507
    sentence = "The workspace is full."
    advice = "Let Claude remove what is not needed any more."


class TooManyTransfers(RuleBroken):
    tag, status = "too_many_transfers", 429
    sentence = "Too many files are on their way at once."
    advice = "Wait until one of them is done."
    retry_after = 5


class TransferBroken(RuleBroken):
    tag, status = "transfer_broken", 502
    sentence = "The sandbox did not carry the file over."
    advice = "Try again. If it persists, start a new session."

    def __init__(self, why: str = "unknown") -> None:
        super().__init__()
        self.why = why
        """For the log, in one word."""


class FileChanged(TransferBroken):
    sentence = "The file was changed while it was read."
