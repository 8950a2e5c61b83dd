"""What may be checked out, by which names; git sees nothing else."""

import pytest
from pydantic import SecretStr, ValidationError

from mindtrace.cluster.core.types import ProxyWorker, RegisterWorkerTypeInput
from mindtrace.cluster.errors import InvalidSourceError
from mindtrace.cluster.git.access import TOKEN_VARIABLE, Access
from mindtrace.cluster.git.source import Source
from mindtrace.cluster.settings import ClusterSettings

SECRET = "very-secret"


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("https://github.com/user/repo", "https"),
        ("HTTPS://github.com:8443/user/repo.git", "https"),
        ("ssh://git@github.com/user/repo", "ssh"),
        ("ssh://[::1]:2222/srv/repo", "ssh"),
        ("git@github.com:user/repo.git", "ssh"),
        ("host:~user/repo", "ssh"),
        ("file:///srv/git/re%20po", "file"),
        ("http://git.lan/repo", "http"),
        ("git://git.lan/repo", "git"),
    ],
)
def test_an_address_of_a_repository_is_taken(url: str, transport: str) -> None:
    assert Source(url).transport == transport


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-",
        "--upload-pack=touch /tmp/x",
        "-u./x:repo",
        "ext::sh -c id",
        "ext::id",
        "EXT::id",
        "fd::17",
        "https::https://host/repo",
        "transport::address",
        "ext://id",
        "/srv/repo",
        "./repo",
        "../repo",
        "repo",
        "file://host/share",
        "file://../repo",
        "https://",
        "https:///repo",
        "https://host:port/repo",
        "https://[::1/repo",
        "ssh://-oProxyCommand=id/repo",
        "ssh://%2DoProxyCommand=id/repo",
        "ssh://-oProxyCommand=id@host/repo",
        "ssh://%2Do@host/repo",
        "-oProxyCommand=id@host:repo",
        "host:-repo",
        "git@host::repo",
        "https://host/repo\nhttps://other",
        "https://host/re%0apo",
        "https://host%0aother/repo",
        "https://host/re po",
        "https://host/repo?x=y",
        "https://host/repo#x",
    ],
)
def test_what_runs_something_or_is_an_option_or_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidSourceError, match=r"The repository .* cannot be used: "):
        Source(url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@github.com/user/repo",
        f"https://{SECRET}@github.com/user/repo",
        f"https://:{SECRET}@github.com/user/repo",
        f"ssh://git:{SECRET}@github.com/user/repo",
        f"http://user:{SECRET}@host:x/repo",
        f"ext://user:{SECRET}@host/repo",
        f"git:{SECRET}@github.com:user/repo",
        f"https://github.com/user/repo?token={SECRET}",
        f"https://github.com/user/repo#{SECRET}",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidSourceError) as caught:
        Source(url)
    assert SECRET not in str(caught.value)

    with pytest.raises(ValidationError) as refused:
        RegisterWorkerTypeInput(worker_name="x", worker_class="x.Y", git_repo_url=url)
    assert "cannot be used" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("branch", ["main", "v1.0", "feature/a-b_c", "übung", "release/1.x+rc1"])
def test_a_branch_or_a_tag_is_taken(branch: str) -> None:
    assert Source("https://host/repo", branch=branch).branch == branch


@pytest.mark.parametrize(
    "branch",
    [
        *("", "-", "--force", "-b", "a b", "a..b", "a@{1}", "a~1", "a^", "a:b", "a*", "a/", "/a"),
        *("a//b", "a\nb", "a\\b", "a?", "a[b]", ".a", "a/.b", "a.lock", "$(id)", "a/-b"),
    ],
)
def test_a_branch_that_is_none_is_refused(branch: str) -> None:
    with pytest.raises(InvalidSourceError, match="no name of a branch or a tag"):
        Source("https://host/repo", branch=branch)


@pytest.mark.parametrize("commit", ["", "abc123", "HEAD", "-abcdef0", "main", "g" * 40, "a" * 65])
def test_a_commit_that_is_none_is_refused(commit: str) -> None:
    with pytest.raises(InvalidSourceError, match="expected 7 to 64 hexadecimal digits"):
        Source("https://host/repo", commit=commit)


@pytest.mark.parametrize("folder", ["..", "../x", "a/../../b", "a/..", "/", "/etc", "//etc", "a\0"])
def test_a_folder_that_is_not_in_the_checkout_is_refused(folder: str) -> None:
    with pytest.raises(InvalidSourceError, match="working folder"):
        Source("https://host/repo", working_dir=folder)
    with pytest.raises(InvalidSourceError, match="project"):
        Source("https://host/repo", project=folder)


def test_empty_words_of_a_worker_type_say_nothing() -> None:
    worker = ProxyWorker(
        worker_type="x.Y", git_repo_url="https://host/repo", git_branch="", git_working_dir=""
    )

    assert Source.of(worker) == Source("https://host/repo")
    assert Source.of(ProxyWorker(worker_type="x.Y")) is None


def test_transports_are_those_of_the_settings() -> None:
    access = Access.of(ClusterSettings(git_transports=["ssh"]))

    access.check(Source("git@host:repo"))
    with pytest.raises(InvalidSourceError, match="MINDTRACE_CLUSTER__GIT_TRANSPORTS"):
        access.check(Source("https://host/repo"))
    with pytest.raises(ValueError, match="names ext: expected some of https, ssh"):
        Access.of(ClusterSettings(git_transports=["ssh", "ext"]))


def test_submodules_of_what_is_elsewhere_may_not_be_on_this_machine() -> None:
    access = Access.of(ClusterSettings())

    here = access.variables(Source("file:///srv/repo"))
    elsewhere = access.variables(Source("https://host/repo"))

    assert here["GIT_ALLOW_PROTOCOL"] == "file:https:ssh"
    assert elsewhere["GIT_ALLOW_PROTOCOL"] == "https:ssh"


@pytest.mark.parametrize(
    ("url", "token_for", "shown"),
    [
        ("https://github.com/mindtrace/x", ["github.com"], True),
        ("https://GitHub.com/Mindtrace/x", ["github.com/mindtrace"], True),
        ("https://git.lan:8443/a/b", ["git.lan:8443"], True),
        ("https://github.com/other/x", ["github.com/mindtrace"], False),
        ("https://github.com.evil/mindtrace/x", ["github.com"], False),
        ("https://evil/github.com/x", ["github.com"], False),
        ("http://github.com/mindtrace/x", ["github.com"], False),
        ("ssh://github.com/mindtrace/x", ["github.com"], False),
    ],
)
def test_the_token_is_for_those_it_is_meant_for(
    url: str, token_for: list[str], shown: bool
) -> None:
    settings = ClusterSettings(git_token=SecretStr(SECRET), git_token_for=token_for)

    variables = Access.of(settings).variables(Source(url))

    assert (variables.get(TOKEN_VARIABLE) == SECRET) is shown
    assert any("credential" in each for each in variables.values()) is shown


def test_the_variables_of_before_say_the_token_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_FINE_GRAINED_TOKEN", SECRET)
    monkeypatch.setenv("GIT_ALLOWED_OWNERS", "Mindtrace, other")
    access = Access.of(ClusterSettings())

    assert TOKEN_VARIABLE in access.variables(Source("https://github.com/Other/x"))
    assert TOKEN_VARIABLE not in access.variables(Source("https://github.com/third/x"))
    assert SECRET not in repr(access)
