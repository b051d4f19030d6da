"""Answers in the language that is asked for."""

from dozo.services.job_queue import cancel

from .support import World

JAPANESE = {"Accept-Language": "ja-JP,ja;q=0.9,en;q=0.8"}


def test_a_problem_is_told_in_japanese(world: World) -> None:
    answer = world.get("/servers/nobody", headers=JAPANESE)
    body = answer.json()
    assert answer.headers["content-language"] == "ja"
    assert body["title"] == "見つかりません"
    assert body["detail"].startswith("仮想サーバー「nobody」は見つかりません")
    assert "`dozo server list`" in body["hint"]
    assert (body["code"], body["kind"], body["word"]) == (
        "catalog.server_unknown",
        "not-found",
        "server",
    )


def test_what_does_not_fit_is_told_in_japanese(world: World) -> None:
    body = world.post("/snapshots", {"volume": 3, "what": 1}, headers=JAPANESE).json()
    assert body["code"] == "api.request_invalid"
    assert {one["problem"] for one in body["errors"]} == {
        "文字列を指定してください",
        "この項目は指定できません",
    }


def test_jobs_are_told_in_the_language_of_each_reader(world: World) -> None:
    job = world.post("/site/prune", {}).json()["job"]
    row = world.site.catalog.jobs.get(pk=job)
    assert row.title == "reclaim the space of deleted snapshots"
    cancel(world.site, row)
    english = world.get(f"/jobs/{job}").json()
    japanese = world.get(f"/jobs/{job}", headers=JAPANESE).json()
    assert english["title"] == row.title
    assert japanese["title"] == "削除済みスナップショットの領域の回収"
    assert (english["error"], japanese["error"]) == (
        "cancelled before it began",
        "開始前にキャンセルされました。",
    )
    assert english["state"] == japanese["state"] == "cancelled"


def test_a_jobs_log_and_error_are_told_later_in_any_language(world: World) -> None:
    job = world.post("/site/prune", {}).json()["job"]
    world.run_jobs()
    log = world.get(f"/jobs/{job}/log", headers=JAPANESE).json()["items"]
    assert log[-1]["text"] == "完了"
    assert world.get(f"/jobs/{job}/log").json()["items"][-1]["text"] == "done"


def test_jobs_of_an_earlier_version_are_told_as_they_were(world: World) -> None:
    job = world.post("/site/prune", {}).json()["job"]
    world.site.catalog.jobs.filter(pk=job).update(title="as it was", title_told=None)
    assert world.get(f"/jobs/{job}", headers=JAPANESE).json()["title"] == "as it was"
