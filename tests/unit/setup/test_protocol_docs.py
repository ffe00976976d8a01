from orchestrator.protocol import chat, events, link
from orchestrator.setup.protocol_docs import members, protocol_page


def test_every_message_is_described():
    """The page has a heading for each message on either wire, and none for the unknown."""
    page = protocol_page()
    for union in (chat.BrowserCommand, chat.ServerFrame, events.Event, link.LinkFrame):
        for struct in members(union):
            assert f"### `{struct.__struct_config__.tag}`" in page
    assert "### `unrecognised`" not in page
