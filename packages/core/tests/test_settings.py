import copy
import os
import pickle
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr

from mindtrace.core import (
    Config,
    InvalidSettingError,
    Section,
    Settings,
    get_config,
)
from mindtrace.core.settings import dotenv


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith("MINDTRACE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


class ClusterSection(BaseModel):
    minio_bucket: str = "workers"
    ports: list[int] = Field(default_factory=list[int])
    secret_key: SecretStr | None = None


class OwnSection(Section):
    sizes: list[int] = Field(default_factory=list[int])
    name: str = "unnamed"


class OwnSettings(Settings):
    own: OwnSection = OwnSection()
    single: int = 0


def test_without_any_variable_the_defaults_hold(tmp_path: Path) -> None:
    config = Config()

    root = tmp_path / "home" / ".cache" / "mindtrace"
    assert config.dir_paths.root == root
    assert config.dir_paths.temp == root / "temp"
    assert config.dir_paths.logs == root / "logs"
    assert config.dir_paths.server_pids == root / "server_pids"
    assert config.dir_paths.orchestrator_local_client == root / "orchestrator" / "local_client"
    assert config.dir_paths.cluster_registry == root / "cluster_registry"
    assert config.jobs.backend_url is None
    assert (config.logger.level, config.logger.format) == ("INFO", "text")


def test_reading_settings_creates_no_folder(tmp_path: Path) -> None:
    Config()

    assert list(tmp_path.iterdir()) == []


def test_the_other_folders_follow_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", "~/data")

    folders = Config().dir_paths

    assert folders.root == Path.home() / "data"
    assert folders.orchestrator_local_client == folders.root / "orchestrator" / "local_client"


@pytest.mark.parametrize("variable", ["LOGS", "LOGGER_DIR"])
def test_a_folder_that_is_set_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", "/data")
    monkeypatch.setenv(f"MINDTRACE_DIR_PATHS__{variable}", "~/logs")

    folders = Config().dir_paths

    assert (folders.logs, folders.temp) == (Path.home() / "logs", Path("/data/temp"))


def test_an_unknown_home_says_what_to_set() -> None:
    problem = "MINDTRACE_DIR_PATHS__ROOT cannot be used: .* give an absolute path"

    with pytest.raises(InvalidSettingError, match=problem):
        Config(dir_paths={"root": "~nobody-of-this-name/x"})  # pyright: ignore[reportArgumentType]


def test_what_is_passed_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = (f"MINDTRACE_A__{key}=file" for key in ("ONE", "TWO", "THREE"))
    (tmp_path / ".env").write_text("\n".join(lines))
    monkeypatch.setenv("MINDTRACE_A__ONE", "environment")
    monkeypatch.setenv("MINDTRACE_A__TWO", "environment")

    config = Config.model_validate({"a": {"one": "passed"}})

    assert (config.a.one, config.a.two, config.a.three) == ("passed", "environment", "file")


def test_what_the_file_sets_can_be_handed_to_a_process_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = ["MINDTRACE_A__ONE=file", "mindtrace_a__two=file", "MINDTRACE_A__NONE=", "OTHER=file"]
    (tmp_path / ".env").write_text("\n".join(lines))
    monkeypatch.setenv("mindtrace_a__one", "environment")

    assert dotenv() == {"MINDTRACE_A__TWO": "file"}


def test_an_empty_variable_counts_as_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MINDTRACE_LOGGER__FORMAT=\nMINDTRACE_LOGGER__BARE\n")
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", "")
    monkeypatch.setenv("MINDTRACE_EXTRA__KEY", "")

    config = Config()

    assert config.dir_paths.root == Path.home() / ".cache" / "mindtrace"
    assert "extra" not in config
    assert config.logger.format == "text"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"MINDTRACE_A=\xff\xfe")

    with pytest.raises(InvalidSettingError, match=r"\.env cannot be used: the file is unreadable"):
        Config()


def test_a_folder_called_like_the_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()

    assert Config().logger.level == "INFO"


def test_variables_may_be_spelt_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("mindtrace_logger__level", "debug")

    assert Config().logger.level == "DEBUG"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("MINDTRACE_LOGGER__FORMAT", "hush", "input should be 'text' or 'json'"),
        ("MINDTRACE_LOGGER__LEVEL", "hush", "input should be 'CRITICAL'"),
        ("MINDTRACE_LOGGER", "hush", "input should be a valid dictionary"),
    ],
)
def test_a_bad_value_is_one_sentence_with_the_variable_and_not_the_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSettingError, match=f"^The setting {variable} cannot") as caught:
        Config()

    assert problem in str(caught.value)
    assert value not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.variable == variable


def test_a_level_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="MINDTRACE_LOGGER__LEVEL"):
        Config(logger={"level": 3})  # pyright: ignore[reportArgumentType]


def test_a_later_change_shows_only_in_a_new_object(monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_config()

    monkeypatch.setenv("MINDTRACE_LOGGER__LEVEL", "ERROR")

    assert (before.logger.level, get_config().logger.level) == ("INFO", "ERROR")


def test_older_spellings_and_any_case_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", "/data")
    monkeypatch.setenv("MINDTRACE_TEST_PARAM", "5")

    config = Config()

    assert config["MINDTRACE_DIR_PATHS"]["ROOT"] == Path("/data")
    assert config["MINDTRACE_DIR_PATHS"]["TEMP_DIR"] == config.dir_paths.temp
    assert config.dir_paths.logs == config.MINDTRACE_DIR_PATHS.LOGGER_DIR
    assert config["MINDTRACE_TEST_PARAM"] == config.test_param == "5"


def test_older_spellings_may_be_passed() -> None:
    config = Config.model_validate({"MINDTRACE_DIR_PATHS": {"ROOT": "/data"}})

    assert config.dir_paths.temp == Path("/data/temp")


def test_a_section_that_nobody_declared_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__MINIO_BUCKET", "workers")
    monkeypatch.setenv("MINDTRACE_CLUSTER__DEEP__DEEPER", "yes")

    config = Config()

    assert config.cluster.minio_bucket == "workers"
    assert config["MINDTRACE_CLUSTER"]["Deep"].deeper == "yes"


def test_a_key_that_nobody_declared_is_kept_in_a_declared_section(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINDTRACE_LOGGER__COLOUR", "green")

    assert Config().logger.colour == "green"


def test_a_section_wins_over_a_lone_value_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_A", "lone")
    monkeypatch.setenv("MINDTRACE_A__B", "inner")

    assert Config().a.b == "inner"


def test_what_is_missing_is_reported_by_name() -> None:
    config = Config()

    with pytest.raises(AttributeError, match="Config has no setting 'nothing'"):
        _ = config.nothing
    with pytest.raises(KeyError, match="NOTHING"):
        _ = config["NOTHING"]
    with pytest.raises(AttributeError, match="_private"):
        _ = config._private
    assert config.get("nothing") is None
    assert config.get("nothing", 3) == 3
    assert config.get("LOGGER").get("LEVEL", "x") == "INFO"
    assert "logger" in config


def test_secrets_and_undeclared_values_are_masked_where_settings_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", "redis://:hush@host")
    monkeypatch.setenv("MINDTRACE_CLUSTER__MINIO_SECRET_KEY", "hush")
    monkeypatch.setenv("MINDTRACE_CLUSTER__DEEP__PASSWORD", "hush")
    monkeypatch.setenv("MINDTRACE_TOKEN", "hush")

    config = Config()

    for text in (repr(config), str(config), repr(config.cluster), str(config.cluster.deep)):
        assert "hush" not in text
        assert "*" in text


def test_a_secret_is_read_along_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", "redis://:hush@host")
    monkeypatch.setenv("MINDTRACE_CLUSTER__KEY", "quiet")

    config = Config()

    assert config.get_secret("jobs", "backend_url") == "redis://:hush@host"
    assert config.get_secret("MINDTRACE_CLUSTER", "KEY") == "quiet"
    assert config.jobs.get_secret("backend_url") == "redis://:hush@host"
    assert config.get_secret("jobs", "nothing") is None
    assert config.get_secret("jobs", "backend_url", "deeper") is None


def test_an_undeclared_section_takes_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__MINIO_BUCKET", "mine")
    monkeypatch.setenv("MINDTRACE_CLUSTER__SECRET_KEY", "hush")

    cluster = Config().section("cluster", ClusterSection)

    assert cluster.minio_bucket == "mine"
    assert cluster.secret_key == SecretStr("hush")
    assert Config().section("nothing", ClusterSection) == ClusterSection()


def test_a_bad_value_in_a_typed_section_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__PORTS", "hush")

    with pytest.raises(InvalidSettingError, match="MINDTRACE_CLUSTER__PORTS") as caught:
        Config().section("MINDTRACE_CLUSTER", ClusterSection)

    assert "hush" not in str(caught.value)


def test_a_lone_value_where_a_section_belongs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER", "lone")

    with pytest.raises(InvalidSettingError, match="MINDTRACE_CLUSTER cannot be used"):
        Config().section("cluster", ClusterSection)


def test_a_subclass_declares_sections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_OWN__SIZES", "[1, 2]")
    monkeypatch.setenv("MINDTRACE_OWN__NAME", "mine")
    monkeypatch.setenv("MINDTRACE_SINGLE", "7")

    settings = OwnSettings()

    assert (settings.own.sizes, settings.own.name, settings.single) == ([1, 2], "mine", 7)


def test_text_that_should_be_a_list_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_OWN__SIZES", "1 and 2")

    with pytest.raises(InvalidSettingError, match="MINDTRACE_OWN__SIZES cannot be used"):
        OwnSettings()


def test_a_section_alone_reads_keys_in_any_case() -> None:
    section = Section.model_validate({"Size": 3, "Deep": {"Key": "value"}})

    assert (section.size, section["SIZE"], section.deep.key) == (3, 3, "value")


def test_settings_can_be_copied_and_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__KEY", "value")

    config = Config()

    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
