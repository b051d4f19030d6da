"""Which language somebody gets, and sentences that can be said in each."""

import copy
import json
import pickle
from dataclasses import dataclass

import pytest

from dozo.model import message
from dozo.model.errors import DozoError
from dozo.model.language import LANGUAGES, best, translate
from dozo.model.message import Message, counted, joined, said


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("JA-jp", "ja"),
        ("ja,en-US;q=0.9,en;q=0.8", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("fr-CH, fr;q=0.9, ja;q=0.5, *;q=0.1", "ja"),
        ("ja;q=0.2, en;q=0.7", "en"),
        ("ja;q=0", "en"),
        ("ja;q=nonsense", "en"),
        ("de", "en"),
        ("*", "en"),
        ("ja_JP.UTF-8", "ja"),
        ("ja.UTF-8", "ja"),
        ("ja_JP@mod", "ja"),
        ("en_GB:ja", "en"),
        ("ja:en", "ja"),
        ("C.UTF-8", "en"),
        ("POSIX", "en"),
        (";;,,=;q", "en"),
        ("java", "en"),
    ],
)
def test_what_somebody_wants_decides(wanted: str, language: str) -> None:
    assert best(wanted) == language
    assert language in LANGUAGES


def test_untranslated_stays_as_it_is() -> None:
    assert translate("nobody ever translated this", "ja") == "nobody ever translated this"
    assert translate("", "ja") == ""
    assert translate("text", "tlh") == "text"


def test_a_message_is_its_english_text() -> None:
    said_now = Message("no {what} at {site}", what=Message("peer"), site="osaka")
    assert said_now == "no peer at osaka"
    assert json.dumps([said_now]) == '["no peer at osaka"]'
    assert isinstance(said_now, str)


def test_a_message_stands_on_its_own_when_copied_and_stored() -> None:
    inner = joined(["vda", Message("peer {name}", name="a{b}")], "; ")
    told = Message("{count} of {what}", count=3, what=inner)
    for again in (
        copy.deepcopy(told),
        pickle.loads(pickle.dumps(told)),
        message.from_json(json.loads(json.dumps(told.to_json()))),
    ):
        assert isinstance(again, Message)
        assert again == told == "3 of vda; peer a{b}"
        assert isinstance(again.facts["what"], Message)
        assert again.to_json() == told.to_json()


@pytest.mark.parametrize(
    "stored",
    [None, 3, [], {}, {"template": 1}, {"template": "{a}"}, {"template": "{"}, {"template": "{0}"}],
)
def test_what_was_stored_and_cannot_be_read_falls_back(stored: object) -> None:
    assert message.from_json(stored, "as it was") == "as it was"


def test_what_is_missing_shows_at_once() -> None:
    with pytest.raises(KeyError):
        Message("no {what}")


def test_one_or_many() -> None:
    assert counted(1, "{count} volume", "{count} volumes") == "1 volume"
    assert counted(0, "{count} volume", "{count} volumes") == "0 volumes"


def test_facts_are_said_in_the_language_too(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(eq=False)
    class Refused(DozoError):
        text = "cannot stop {self.name!r}: {self.reason} ({self.share:.0f} %)"
        hint = "Wait: {self.reason}."
        name: str
        reason: str
        share: float

    words = {
        "cannot stop {self.name!r}: {self.reason} ({self.share:.0f} %)": (
            "{self.reason}ため、{self.name!r}を停止できません（{self.share:.0f}%）。"
        ),
        "it is busy": "使用中の",
        "list\x04, ": "、",
    }
    monkeypatch.setattr(
        message,
        "translate",
        lambda text, language, context="": (
            words.get(f"{context}\x04{text}" if context else text, text)
            if language == "ja"
            else text
        ),
    )
    error = Refused("web", Message("it is busy"), 12.4)
    assert str(error) == error.message() == "cannot stop 'web': it is busy (12 %)"
    assert error.message("ja") == "使用中のため、'web'を停止できません（12%）。"
    assert error.hint_text("ja") == "Wait: 使用中の."
    assert said({"a": [joined([Message("it is busy"), "b"])]}, "ja") == {"a": ["使用中の、b"]}
