"""A configuration that is read again while requests are under way, and what outlives a restart."""

import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from micronas.errors import DataError
from micronas.router.control import Controller
from micronas.router.mapping import ParameterBudget
from micronas.router.policy import Router
from tests.router.serving import (
    asks,
    chat,
    figures,
    running,
    said,
    serving,
    until,
    with_key,
    world,
)
from tests.router.world import prompt
from tests.upstreams import after, answers, upstreams

KEYS = {"ADMIN_KEY": "admin-secret", "USER_KEY": "user-secret"}
CLIENTS = [
    {"name": "boss", "key_env": "ADMIN_KEY", "admin": True, "budget": True},
    {"name": "team", "key_env": "USER_KEY", "limits": {"requests_per_minute": 500}},
]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.long
def test_a_reload_under_load_loses_no_request_and_takes_effect(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    with (
        upstreams(a=after(0.05, answers), b=after(0.05, answers)) as (a, b),
        running(tmp_path, experts=[a.expert(), b.expert()], fixed="a", clients=CLIENTS) as server,
        with_key(server.url, KEYS["ADMIN_KEY"]) as admin,
        with_key(server.url, KEYS["USER_KEY"]) as user,
    ):
        stop = threading.Event()

        def ask() -> list[str]:
            found = []
            while not stop.is_set():
                found.append(said(chat(user, f"<{len(found)}>"))[0])
            return found

        with ThreadPoolExecutor(8) as threads:
            running_now = [threads.submit(ask) for _ in range(8)]
            for number, by_signal in enumerate((True, False, True, False)):
                settings = yaml.safe_load(config.read_text())
                settings["fixed"] = "ba"[number % 2]
                config.write_text(yaml.safe_dump(settings))
                if by_signal:
                    os.kill(server.process.pid, signal.SIGHUP)
                else:
                    assert user.post("/admin/reload").status_code == 403
                    assert admin.post("/admin/reload").json() == {"status": "ok"}
                until(lambda wanted=settings["fixed"]: said(chat(admin, "<x>"))[0] == wanted)
                time.sleep(0.1)
            config.write_text("experts: []\n")
            refused = admin.post("/admin/reload")
            assert (refused.status_code, "experts" in refused.text) == (400, True)
            assert said(chat(admin, "<x>")).startswith("a")
            stop.set()
            answered = [each for task in running_now for each in task.result()]
        assert {"a", "b"} == set(answered)
        rows = admin.get("/v1/usage").json()["data"]
        assert sum(row["requests"] for row in rows if row["key"] == "team") == len(answered)
        # a client sees its own usage alone
        assert {row["key"] for row in user.get("/v1/usage").json()["data"]} == {"team"}


def test_what_was_spent_and_the_budget_outlive_a_restart(router: Router, tmp_path: Path) -> None:
    kept = tmp_path / "state.json"
    with world(price={"completion": 1e4}) as experts:
        more: dict[str, Any] = {"experts": experts, "state": kept, "limits": {"usd_per_day": 50}}
        with serving(router, **more) as client:
            for number in range(40):
                chat(client, prompt("code", random.Random(number)), max_tokens=20)
            before = client.get("/v1/usage").json()
            average = figures(client)["micronas_router_active_average"]
        with serving(router, **more) as client:
            assert client.get("/v1/usage").json() == before
            assert figures(client)["micronas_router_active_average"] == average
    state = json.loads(kept.read_text())
    again = Controller(router)
    again.restore(state["budget"])
    assert again.target < 12e9
    kept.write_text("{")
    with pytest.raises(DataError, match="the counts of a server"), serving(router, **more):
        pass


def test_a_client_that_may_names_a_budget(router: Router) -> None:
    body = asks(prompt("code", random.Random(1)))
    found = {}
    with world() as experts:
        with serving(router, experts=experts, clients=CLIENTS) as server:
            for key in KEYS.values():
                for budget in ("1B", "30B", "0.5B", "much"):
                    headers = {"Authorization": f"Bearer {key}", "X-Micronas-Budget": budget}
                    answer = server.post("/v1/chat/completions", json=body, headers=headers)
                    found[key, budget] = answer
        with serving(router.map(ParameterBudget()), experts=experts[1:], clients=CLIENTS) as server:
            headers = {"Authorization": "Bearer admin-secret", "X-Micronas-Budget": "1B"}
            other = server.post("/v1/chat/completions", json=body, headers=headers)
    expert = "x-micronas-expert"
    # the only expert within the budget is not served: the cheapest one is, not the best one
    assert other.headers[expert] == "reckoner"
    assert found["admin-secret", "1B"].headers[expert] == "small"
    assert found["admin-secret", "30B"].headers[expert] == "large"
    assert found["admin-secret", "0.5B"].status_code == 400
    assert found["admin-secret", "much"].status_code == 400
    assert {found["user-secret", each].status_code for each in ("1B", "30B")} == {403}


def test_a_budget_of_one_request_is_neither_kept_from_it_nor_by_its_conversation(
    router: Router,
) -> None:
    text = prompt("code", random.Random(1))
    turn = [{"role": "user", "content": text}, {"role": "assistant", "content": "I see."}]
    with (
        world() as experts,
        serving(router.map(ParameterBudget()), experts=experts, sticky=60) as server,
    ):
        found = []
        for turns, headers in ((0, {}), (1, {"X-Micronas-Budget": "1B"}), (2, {})):
            body = {"model": "micronas-router", "messages": [*turn * turns, turn[0]]}
            answer = server.post("/v1/chat/completions", json=body, headers=headers)
            found.append(answer.headers["x-micronas-expert"])
    assert found == ["large", "small", "large"]
