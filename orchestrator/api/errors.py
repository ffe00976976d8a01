"""What the door refuses by itself, in the same form as the rules' and the accounts' refusals.

RequestRefused              tag, sentence, advice, status
├── ForbiddenForRole        403
├── ForeignOrigin           403, the request comes from another site's page
├── CsrfTokenWrong          403
├── NotJson                 415
├── UnknownHost             421, not an address that this server answers to
├── BadHeader               400
├── BadSizes                422, pool sizes that cannot be
├── TooManyStreams          429
└── NoPage                  503, the web page was not built
"""


class RequestRefused(Exception):
    tag = "refused"
    status = 400
    sentence = "That is not possible."
    advice = ""

    def __init__(self, sentence: str | None = None) -> None:
        self.sentence = sentence or self.sentence
        super().__init__(self.sentence)


class ForbiddenForRole(RequestRefused):
    tag, status = "forbidden", 403
    sentence = "Your role does not allow this."
    advice = "Ask an administrator."


class ForeignOrigin(RequestRefused):
    tag, status = "foreign_origin", 403
    sentence = "This request did not come from Casemate's own page."
    advice = "Open Casemate at its configured address. Programs use a bearer token."


class CsrfTokenWrong(RequestRefused):
    tag, status = "csrf_token_wrong", 403
    sentence = "The anti-forgery token is missing or belongs to another sign-in."
    advice = "Send the csrf cookie's value as X-CSRF-Token. Reload the page if it persists."


class NotJson(RequestRefused):
    tag, status = "not_json", 415
    sentence = "The body is not declared as JSON."
    advice = "Send Content-Type: application/json."


class UnknownHost(RequestRefused):
    tag, status = "unknown_host", 421
    sentence = "This server does not answer to that address."
    advice = "Use the configured public URL, or add this address to CASEMATE_API_ORIGINS."


class BadHeader(RequestRefused):
    tag, status = "bad_header", 400


class TooManyStreams(RequestRefused):
    tag, status = "too_many_streams", 429
    sentence = "Too many windows are open on your sessions."
    advice = "Close some of them."
    retry_after = 10


class NoPage(RequestRefused):
    tag, status = "no_page", 503
    sentence = "The web page has not been built."
    advice = "Build it (just web), then start again. The API works without it."
