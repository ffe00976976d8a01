"""What can go wrong with an account, as a person is told it.

    AccountError                tag, sentence (what happened), advice (what to do), status (HTTP)
    ├── NotSignedIn             401, no access token, or one that is void
    ├── SignInOver              401, the sign-in ended: expired, revoked, or a token used twice
    ├── WrongCredentials        401, the same for an unknown name, a wrong password, a disabled user
    ├── LinkVoid                401, the sign-in link is unknown, used or too old
    ├── RefreshSuperseded       409, another tab refreshed at the same time; nothing was minted
    ├── TooManyAttempts         429, retry_after in seconds
    ├── SignInBusy              503, too many passwords are being checked at once
    ├── UnknownUser             404
    ├── NameTaken               409
    ├── BadName                 422
    ├── WeakPassword            422
    ├── LastAdmin               409
    ├── NotOnYourself           409, nobody changes the role or standing of their own account
    └── ChangedMeanwhile        409, somebody else changed the same user just now

Each is raised here and encoded at the rim. None tells more than its sentence.
"""


class AccountError(Exception):
    """A request that the account rules refuse. Nothing was changed."""

    tag = "refused"
    status = 400
    sentence = "That is not possible."
    advice = ""

    def __init__(self, sentence: str | None = None, *, advice: str | None = None) -> None:
        self.sentence = sentence or self.sentence
        self.advice = self.advice if advice is None else advice
        super().__init__(self.sentence)


class NotSignedIn(AccountError):
    tag, status = "not_signed_in", 401
    sentence = "You are not signed in."
    advice = "Sign in, or refresh your access token."


class SignInOver(AccountError):
    tag, status = "sign_in_over", 401
    sentence = "Your sign-in has ended."
    advice = "Sign in again."


class WrongCredentials(AccountError):
    tag, status = "wrong_credentials", 401
    sentence = "The name or the password is wrong."
    advice = "Check both. An administrator can give you a sign-in link."


class LinkVoid(AccountError):
    tag, status = "link_void", 401
    sentence = "This sign-in link was used already, or is too old."
    advice = "Ask for a new one."


class RefreshSuperseded(AccountError):
    tag, status = "refresh_superseded", 409
    sentence = "Your sign-in was refreshed a moment ago."
    advice = "Go on with the newer token."


class TooManyAttempts(AccountError):
    tag, status = "too_many_attempts", 429
    sentence = "Too many attempts to sign in."
    advice = "Wait a little, then try again."

    def __init__(self, *, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after
        """Seconds."""


class SignInBusy(AccountError):
    tag, status = "sign_in_busy", 503
    sentence = "Too many people are signing in at once."
    advice = "Try again in a few seconds."
    retry_after = 5


class UnknownUser(AccountError):
    tag, status = "unknown_user", 404
    sentence = "There is no such user."


class NameTaken(AccountError):
    tag, status = "name_taken", 409
    sentence = "Another user has this name."
    advice = "Choose a different one."


class BadName(AccountError):
    tag, status = "bad_name", 422
    sentence = "This name cannot be used."
    advice = "Use 1 to 64 letters, digits, dots, dashes, underscores or @, beginning with a letter."


class WeakPassword(AccountError):
    tag, status = "weak_password", 422
    sentence = "This password is too easy to guess."
    advice = "Use at least 12 characters; several unrelated words do well."


class LastAdmin(AccountError):
    tag, status = "last_admin", 409
    sentence = "This is the last administrator."
    advice = "Make somebody else an administrator first."


class NotOnYourself(AccountError):
    tag, status = "not_on_yourself", 409
    sentence = "You cannot change your own role or disable yourself."
    advice = "Ask another administrator."


class ChangedMeanwhile(AccountError):
    tag, status = "changed_meanwhile", 409
    sentence = "Somebody else changed this user just now."
    advice = "Look at it again, then repeat your change."
