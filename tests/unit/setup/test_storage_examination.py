"""What the doctor tells of the database and of the files' store."""

from msgspec.structs import replace

from orchestrator.protocol.secret import Secret
from orchestrator.settings import ServerSettings, Settings
from orchestrator.setup.postgres import postgres_programs
from orchestrator.setup.storage_examination import examine_storage
from orchestrator.storage.blob_settings import BlobSettings
from orchestrator.storage.settings import StorageSettings


def settings(tmp_path, **changes):
    return Settings(server=ServerSettings(data_dir=tmp_path / "data"), **changes)


def test_looking_makes_nothing(tmp_path):
    """Where nothing is yet, that is no fault, and nothing is there afterwards either."""
    database, blobs = examine_storage(settings(tmp_path))
    assert (database.verdict, blobs.verdict) == ("good", "good")
    assert "not made yet" in database.text
    assert list(tmp_path.iterdir()) == []


def test_server_and_bucket_are_told(tmp_path, postgres_place, s3_server):
    """PostgreSQL by its version, a bucket by its name and place; neither password nor key."""
    found = examine_storage(
        settings(tmp_path, storage=postgres_place.settings, blobs=s3_server.new_bucket())
    )
    assert [finding.verdict for finding in found] == ["good", "good"]
    assert found[0].text.startswith("PostgreSQL ")
    assert s3_server.url in found[1].text


def test_what_does_not_answer_is_bad(tmp_path, s3_server):
    """With a sentence and an advice, and without what is secret."""
    url = Secret("postgresql://u:open-sesame@127.0.0.1:1/casemate")
    found = examine_storage(
        settings(
            tmp_path,
            storage=StorageSettings(url=url, connect_seconds=2),
            blobs=replace(s3_server.new_bucket(), s3_bucket="nobodys"),
        )
    )
    assert [finding.verdict for finding in found] == ["bad", "bad"]
    assert all(finding.advice for finding in found)
    assert "open-sesame" not in str(found)


def test_directory_of_the_files_is_told(tmp_path):
    """The one that is used."""
    blobs = BlobSettings(directory=tmp_path / "elsewhere")
    assert examine_storage(settings(tmp_path, blobs=blobs))[1].text == str(tmp_path / "elsewhere")


def test_programs_are_found_together(postgres_server):
    """All that the tests need is in one directory."""
    assert postgres_server.sql("SELECT 1") == "1"
    assert (postgres_programs() / "initdb").is_file()
