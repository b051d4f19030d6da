"""The command line in the terminal's language."""

import json

import pytest

from dozo.cli.output import print_facts, print_table
from dozo.cli.speech import language, shown, told, wide
from dozo.model.message import Message, joined

from .conftest import Dozo
from .service import Service


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_MESSAGES": "C"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "ja_JP"}, "ja"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "ja_JP.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "ja_JP.UTF-8"}, "ja"),
        ({"DOZO_LANG": "ja", "LC_ALL": "C"}, "ja"),
        ({"DOZO_LANG": "en", "LANG": "ja_JP.UTF-8"}, "en"),
        ({"DOZO_LANG": "xx", "LANG": "ja_JP.UTF-8"}, "ja"),
    ],
)
def test_the_terminal_says_which(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: str
) -> None:
    for name in ("DOZO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == wanted


def test_values_are_codes_in_english_and_words_in_japanese(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOZO_LANG", "en")
    assert shown("mode", "stop-snapshot-start") == "stop-snapshot-start"
    monkeypatch.setenv("DOZO_LANG", "ja")
    assert shown("copy", "verified") == "検証済み"
    assert shown("copy", "from-a-newer-version") == "from-a-newer-version"
    assert told(joined([Message("yes"), "a"])) == "はい、a"


def test_columns_stand_below_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOZO_LANG", "ja")
    print_facts({"server": "web", "id": "1", "never a heading": "x"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("仮想サーバー  ")
    assert {wide(line[: line.index("  ")]) for line in lines[:1]} == {12}
    assert wide(lines[1].removesuffix("1")) == wide(lines[0].removesuffix("web"))
    assert lines[2].startswith("never a heading")
    print_table(["server", "id"], [["web", "1"]], empty="")
    assert "仮想サーバー" in capsys.readouterr().out


def test_errors_say_in_japanese_what_to_do(
    dozo: Dozo, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("DOZO_LANG", "ja")
    done = dozo("--home", f"{tmp_path}/none", "server", "list")
    assert done.code == 3
    assert done.err.startswith(f"エラー：{tmp_path}/noneにサイトがありません")
    assert "`dozo --home" in done.err
    done = dozo("--home", f"{tmp_path}/none", "server", "list", "--json")
    assert json.loads(done.err)["error"] == "site.home_missing"
    done = dozo("--home", f"{tmp_path}", "--profile", "x", "server", "list")
    assert done.code == 2
    assert "どちらか一方だけ" in done.err


def test_the_service_answers_in_the_terminals_language(
    dozo: Dozo, served: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOZO_LANG", "ja")
    done = dozo("--home", served.home, "server", "show", "we\x1bb")
    assert done.code == 3
    assert "仮想サーバー「we\\x1bb」は見つかりません" in done.err
    assert "`dozo server list`" in done.err
    done = dozo("--home", served.home, "snapshot", "list")
    assert done.out == "スナップショットはありません\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["servr", "list"], "コマンド「servr」はありません。"),
        (["server", "list", "--foo"], "オプション--fooはありません。"),
        (["server", "show"], "引数「server」が必要です。"),
        (["server", "show", "a", "b"], "余分な引数があります（b）"),
    ],
)
def test_a_wrong_command_line_is_told_in_japanese(
    dozo: Dozo, monkeypatch: pytest.MonkeyPatch, line: list[str], said: str
) -> None:
    monkeypatch.setenv("DOZO_LANG", "ja")
    done = dozo(*line)
    assert done.code == 2
    assert done.err.startswith(f"エラー：{said}\n")
