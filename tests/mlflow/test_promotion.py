"""Promotion and rollback: who is champion, what is written down about it, and that nothing gets lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from verdicts import verdict

from forecast_kit.errors import ArgumentError, StoreError
from forecast_kit.mlflow import Decision, Store, deploying, ledger
from forecast_kit.mlflow.deploying import champions
from forecast_kit.mlflow.locking import LEASE, lease
from forecast_kit.mlflow.registry import challenger, champion, history, promote, rollback


@pytest.fixture
def demand(store: Store) -> MlflowClient:
    """A registered model with six versions, the last of them challenger; their artefacts do not matter here."""
    store.client.create_registered_model("demand", description="Ask Ada before you touch it.")
    for k in range(1, 7):
        store.client.create_model_version("demand", f"file:///nowhere/{k}", description=f"Model card {k}.")
    store.client.set_registered_model_alias("demand", "challenger", "6")
    return store.client


def now(client: MlflowClient) -> str | None:
    found = champion(client, "demand")
    return None if found is None else str(found.version)


def crown(client: MlflowClient, *versions: str) -> list[Decision]:
    """Promotes one after the other."""
    return [promote(client, "demand", one, verdict(0.5), against=now(client)) for one in versions]


def test_a_promotion_moves_the_alias_and_leaves_tags_and_text(demand: MlflowClient) -> None:
    crown(demand, "1")
    decision = promote(demand, "demand", "6", verdict(0.5), against="1", trial="abc")
    assert decision == Decision(True, "Promoted: gru has MASE 0.5.", "6", "1")
    assert now(demand) == "6"
    assert challenger(demand, "demand") is None
    new, old = (demand.get_model_version("demand", number) for number in "61")
    assert {key: new.tags[key] for key in ("decision", "reason", "mase", "trial", "judged_against", "forecaster")} == {
        "decision": "promoted", "reason": "Promoted: gru has MASE 0.5.", "mase": "0.5", "trial": "abc",
        "judged_against": "1", "forecaster": "gru",
    }  # fmt: skip
    assert (new.tags["replaced_version"], new.tags["champion_by"]) == ("1", "promotion")
    assert (old.tags["replaced_by"], old.tags["replaced_version"]) == ("6", "none")
    assert old.tags["champion_until"] == new.tags["champion_from"] == new.tags["judged_at"]
    assert "champion_until" not in new.tags
    age = pd.Timestamp.now("UTC") - pd.Timestamp(new.tags["champion_from"])
    assert pd.Timedelta(0) <= age < pd.Timedelta("60s")


def test_descriptions_begin_with_a_plain_sentence_and_keep_what_others_wrote(demand: MlflowClient) -> None:
    crown(demand, "1")
    promote(demand, "demand", "2", verdict(1.5, promoted=False), against="1")
    crown(demand, "2")  # judged again, and promoted this time
    lines = demand.get_model_version("demand", "2").description.replace("&emsp;", "").splitlines()
    assert lines[0] == "Promoted: gru has MASE 0.5."
    assert lines[2] == "**Checks**"
    assert lines[4:7] == [
        "| check | needed | found | passed |", "| --- | --- | --- | --- |", "| skill | more than 0 % | +10 % | yes |",
    ]  # fmt: skip
    assert "| naive | baseline | 1 | +50.0 % | 0.010 | 0.1 |" in lines
    assert lines[-3:] == ["---", "", "Model card 2."]
    assert "Refused" not in "".join(lines)
    text = demand.get_registered_model("demand").description.replace("&emsp;", "")  # which spaces columns in the UI
    assert text.startswith("Champion: version 2 (gru) since 20")
    assert text.splitlines()[4].endswith("| version 2 (gru) | 1 | promotion | Promoted: gru has MASE 0.5. |")
    assert text.endswith("---\n\nAsk Ada before you touch it.")


def test_descriptions_and_tags_fit_into_mlflows_tables(demand: MlflowClient) -> None:
    demand.update_registered_model("demand", "x" * 3000)
    long = verdict(0.5, challenger="g" * 300)
    long.board.loc[len(long.board)] = ["|" * 6000, "baseline", 2.0, 0.1, 0.1, 0.1]
    for k in range(14):
        version = str(1 + k % 6)
        promote(demand, "demand", version, long.__class__(**{**vars(long), "reason": f"Promoted: {k} " + "y" * 9000}),
                against=now(demand))  # fmt: skip
    model = demand.get_registered_model("demand")
    assert len(model.description) <= 5000
    assert model.description.endswith("x" * 100)
    assert max(map(len, model.tags.values())) <= 5000
    version = demand.get_model_version("demand", "1")
    assert len(version.description) <= 5000
    assert max(map(len, version.tags.values())) <= 5000
    assert len(history(demand, "demand")) == 14


def test_copies_on_this_machine_follow_a_change_and_cannot_stop_it(
    store: Store, demand: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    crown(demand, "1", "2")
    assert not (store.home / "champions").exists()  # where no job has forecast there is nothing to follow
    home = store.home / "champions" / "demand"
    for version in "12":
        (home / version).mkdir(parents=True)
    (home / "line.json").write_text('[["2", ""], ["1", ""]]')
    rollback(demand, "demand")
    assert json.loads((home / "line.json").read_text()) == [["1", ""]]
    assert sorted(path.name for path in home.iterdir()) == ["1", "line.json"]
    assert "no copy of the new champion of demand" in caplog.text  # for an empty folder is no model
    crown(demand, "3")
    assert json.loads((home / "line.json").read_text()) == [["3", ""], ["1", ""]]
    assert now(demand) == "3"


def test_copies_are_out_of_use_where_the_registry_does_not_tell_whose_turn_it_is(
    store: Store, demand: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = store.home / "champions" / "demand"
    (home / "2").mkdir(parents=True)
    (home / "line.json").write_text('[["2", ""]]')

    def away(*arguments: object) -> None:
        raise StoreError("the registry went away")

    monkeypatch.setattr(deploying, "_line", away)
    crown(demand, "1")
    assert [*champions(replace(store, offline=True), "demand")] == []
    assert "the registry went away" in caplog.text


def test_a_refusal_is_written_down_and_changes_nothing_else(demand: MlflowClient) -> None:
    crown(demand, "1")
    decision = promote(demand, "demand", "6", verdict(1.5, promoted=False), against="1")
    assert decision == Decision(False, "Refused: gru has MASE 1.5.", "6", "1")
    refused = demand.get_model_version("demand", "6")
    assert (refused.tags["decision"], refused.tags["mase"]) == ("refused", "1.5")
    assert refused.description.startswith("Refused: gru has MASE 1.5.\n\n**Checks**\n\n| check")
    assert "champion_from" not in refused.tags
    found = challenger(demand, "demand")
    assert found is not None
    assert (now(demand), str(found.version), len(history(demand, "demand"))) == ("1", "6", 1)


def test_a_champion_that_changed_meanwhile_must_be_judged_against(demand: MlflowClient) -> None:
    crown(demand, "1", "2")
    decision = promote(demand, "demand", "3", verdict(0.5), against="1")
    assert decision.reason == (
        "Refused: the champion was version 1 when gru was judged and is version 2 now; judge it again."
    )
    assert (decision.promoted, now(demand)) == (False, "2")
    assert demand.get_model_version("demand", "3").tags["decision"] == "refused"
    assert not promote(demand, "demand", "4", verdict(0.5), against=None).promoted


def test_promoting_again_is_no_second_change(demand: MlflowClient) -> None:
    crown(demand, "1", "2")
    again = promote(demand, "demand", "2", verdict(0.5), against="1")
    assert again == Decision(True, "Version 2 of demand is the champion already.", "2", "1")
    assert len(history(demand, "demand")) == 2


def test_history_tells_who_was_champion_when_and_why_from_tags_alone(demand: MlflowClient) -> None:
    crown(demand, "1", "2")
    rollback(demand, "demand", reason="wrong holidays")
    for number in "12":
        demand.delete_model_version("demand", number)
    demand.set_registered_model_alias("demand", "champion", "3")  # by hand, in the UI
    table = history(demand, "demand")
    assert table[["version", "forecaster", "replaced", "by"]].fillna("none").to_numpy().tolist() == [
        ["1", "gru", "none", "promotion"], ["2", "gru", "1", "promotion"], ["1", "gru", "2", "rollback"],
        ["3", "not told", "1", "hand"],
    ]  # fmt: skip
    assert table["reason"].tolist()[1:3] == ["Promoted: gru has MASE 0.5.", "wrong holidays"]
    assert table["from"].tolist()[1:3] == table["until"].tolist()[:2]
    assert table["from"].is_monotonic_increasing or pd.isna(table["from"].iloc[-1])
    assert str(table["from"].dtype) == "datetime64[us, UTC]"


def test_history_of_a_model_without_champion_is_empty_and_of_none_an_error(demand: MlflowClient) -> None:
    assert history(demand, "demand").empty
    with pytest.raises(StoreError, match="cannot read the history of 'nothing'"):
        history(demand, "nothing")


def test_somebody_elses_tags_are_not_taken_for_changes(demand: MlflowClient) -> None:
    for key in ("champion.since", "champion.2026-11-22T05:12:33.123456Z"):
        demand.set_registered_model_tag("demand", key, "the team's own")
    crown(demand, "1")
    assert history(demand, "demand")["version"].tolist() == ["1"]


def test_a_clock_that_runs_ahead_does_not_turn_the_order_round(demand: MlflowClient) -> None:
    demand.set_registered_model_alias("demand", "champion", "1")
    ahead = ledger.Change("2999-01-01T00:00:00.000000Z", "1", "gru", None, "promotion", "from the future")
    demand.set_registered_model_tag("demand", f"champion.{ahead.at}", ahead.text)
    crown(demand, "2")
    table = history(demand, "demand")
    assert table["version"].tolist() == ["1", "2"]
    assert str(table["from"].iloc[1]) == "2999-01-01 00:00:00.000001+00:00"


# ---- rollback


def test_rollbacks_go_one_further_back_each_time(demand: MlflowClient) -> None:
    crown(demand, "1", "2", "3")
    assert rollback(demand, "demand", reason="too slow.") == Decision(
        True, "Rolled back: version 2 replaces version 3: too slow.", "2", "3"
    )
    assert rollback(demand, "demand").version == "1"
    with pytest.raises(StoreError, match="version 1 is the first champion of 'demand', there is none before it"):
        rollback(demand, "demand")
    assert now(demand) == "1"
    taken_back = demand.get_model_version("demand", "3").tags
    assert (taken_back["rolled_back"], taken_back["replaced_by"]) == ("too slow.", "2")
    assert history(demand, "demand")["reason"].tolist()[3:] == ["too slow.", "no reason was given"]


def test_after_a_rollback_a_promotion_goes_on_from_there(demand: MlflowClient) -> None:
    crown(demand, "1", "2")
    rollback(demand, "demand")
    crown(demand, "3")
    assert [rollback(demand, "demand").version, now(demand)] == ["1", "1"]
    assert "rolled_back" in demand.get_model_version("demand", "2").tags
    crown(demand, "2")  # what was taken back may earn it again
    assert "rolled_back" not in demand.get_model_version("demand", "2").tags
    assert rollback(demand, "demand").version == "1"


def test_a_rollback_to_any_version(demand: MlflowClient) -> None:
    crown(demand, "1", "2", "3")
    assert rollback(demand, "demand", to="1").version == "1"
    assert rollback(demand, "demand", to="5").version == "5"  # it never was champion
    assert rollback(demand, "demand").version == "1"
    with pytest.raises(ArgumentError, match="version 1 of 'demand' is the champion already"):
        rollback(demand, "demand", to="1")
    with pytest.raises(ArgumentError, match="to is the number of a version, got 'champion'"):
        rollback(demand, "demand", to="champion")


def test_a_deleted_version_cannot_come_back(demand: MlflowClient) -> None:
    crown(demand, "1", "2", "3")
    demand.delete_model_version("demand", "2")
    with pytest.raises(StoreError, match=r"no version 2 \(any more\).*earlier champions are version 1: name one"):
        rollback(demand, "demand")
    assert rollback(demand, "demand", to="1").version == "1"


def test_without_a_champion_the_version_must_be_named(demand: MlflowClient) -> None:
    with pytest.raises(StoreError, match="has no champion that could be rolled back"):
        rollback(demand, "demand")
    crown(demand, "1", "2")
    demand.delete_model_version("demand", "2")  # MLflow removes its aliases with it
    with pytest.raises(StoreError, match="has no champion that could be rolled back"):
        rollback(demand, "demand")
    assert rollback(demand, "demand", to="1", reason="2 was deleted").replaced is None
    assert history(demand, "demand")["version"].fillna("none").tolist() == ["1", "2", "none", "1"]


def test_an_alias_moved_by_hand_is_recorded_and_can_be_rolled_back(demand: MlflowClient) -> None:
    crown(demand, "1")
    demand.set_registered_model_alias("demand", "champion", "4")
    assert not promote(demand, "demand", "5", verdict(0.5), against="1").promoted
    assert rollback(demand, "demand").version == "1"
    assert history(demand, "demand")["by"].tolist() == ["promotion", "hand", "rollback"]


# ---- crashes


class Crash(Exception):
    """The process is gone."""


class Dying:
    """A client that works for so many writes and then is gone."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client, self.left = client, writes

    def __getattr__(self, name: str) -> Callable[..., object]:
        value = getattr(self._client, name)
        if not name.startswith(("set_", "delete_", "update_")):
            return value

        def write(*arguments: object) -> object:
            if self.left == 0:
                raise Crash
            self.left -= 1
            return value(*arguments)

        return write


@pytest.mark.parametrize(
    "again", ["retry", *(pytest.param(name, marks=pytest.mark.slow) for name in ("another", "rollback"))]
)
def test_a_crash_at_any_write_loses_and_invents_nothing(demand: MlflowClient, again: str) -> None:
    crown(demand, "1")
    for writes in range(40):
        before, known = now(demand), len(history(demand, "demand"))
        version = str(2 + writes % 4)
        if version == before:
            continue
        dying = Dying(demand, writes)
        try:
            promote(dying, "demand", version, verdict(0.5), against=before)
            ended = True
        except Crash:
            ended = False
        # What the history tells agrees with the alias at every moment.
        moved = now(demand) == version
        table = history(demand, "demand")
        assert table["version"].iloc[-1] == now(demand)
        assert len(table) == known + moved
        assert table["reason"].iloc[-1] == "Promoted: gru has MASE 0.5." or not moved
        if again == "retry":
            promote(demand, "demand", version, verdict(0.5), against=before)
        elif again == "another":
            crown(demand, "6")
        else:
            rollback(demand, "demand", to="6" if now(demand) != "6" else "1")
        tags = demand.get_registered_model("demand").tags
        assert ledger.UNFINISHED not in tags
        if moved:  # completed by whoever came next
            champion_tags = demand.get_model_version("demand", version).tags
            assert champion_tags["replaced_version"] == before
        check_chain(demand)
        if ended and writes > 15:
            return
    pytest.fail("no promotion of 40 writes came to its end")


def check_chain(client: MlflowClient) -> pd.DataFrame:
    """Every champion replaced the one before it, and the alias is on the last."""
    table = history(client, "demand")
    assert table["replaced"].fillna("none").tolist() == ["none", *table["version"].tolist()[:-1]]
    assert table["version"].iloc[-1] == now(client)
    assert table["until"].tolist()[:-1] == table["from"].tolist()[1:]
    assert table["from"].is_monotonic_increasing
    return table


# ---- several at once

CONTENDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from verdicts import verdict
from forecast_kit.mlflow import connect
from forecast_kit.mlflow.registry import champion, promote
client = connect(sys.argv[1]).client
folder = Path(sys.argv[3])
(folder / f"ready {sys.argv[2]}").touch()
while not (folder / "go").exists():  # all begin at the same moment
    time.sleep(0.002)
for version in sys.argv[2].split(","):
    while True:
        found = champion(client, "demand")
        against = None if found is None else str(found.version)
        if promote(client, "demand", version, verdict(0.5), against=against).promoted:
            break
"""


def test_promotions_at_once_make_one_chain(store: Store, demand: MlflowClient, tmp_path: Path) -> None:
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(store.folder), versions, str(tmp_path), str(Path(__file__).parent)],
            stderr=subprocess.PIPE, text=True,
        )
        for versions in ("1,2,3", "4,5,6")
    ]  # fmt: skip
    while len(list(tmp_path.glob("ready *"))) < 2 and all(job.poll() is None for job in jobs):
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for job in jobs:
        _, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors
    table = check_chain(demand)
    assert sorted(table["version"]) == list("123456")
    for row in table.to_dict("records"):
        tags = demand.get_model_version("demand", row["version"]).tags
        assert tags["replaced_version"] == ("none" if pd.isna(row["replaced"]) else row["replaced"])
        assert tags["decision"] == "promoted"


LEASED = """
import sys, time
from mlflow.tracking import MlflowClient
from forecast_kit.mlflow.locking import lease
client = MlflowClient(sys.argv[1], sys.argv[1])
for _ in range(2):
    with lease(client, "demand", wait_s=0.2) as check:
        count = int(client.get_registered_model("demand").tags.get("count", "0"))
        time.sleep(0.05)
        check()
        client.set_registered_model_tag("demand", "count", str(count + 1))
"""


@pytest.mark.slow
def test_a_lease_lets_one_process_at_a_time_count(store: Store, demand: MlflowClient) -> None:
    jobs = [subprocess.Popen([sys.executable, "-c", LEASED, store.uri], stderr=subprocess.PIPE, text=True)
            for _ in range(3)]  # fmt: skip
    for job in jobs:
        _, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors
    tags = demand.get_registered_model("demand").tags
    assert tags["count"] == "6"
    assert LEASE not in tags


def test_a_lease_whose_holder_is_gone_is_taken_over(demand: MlflowClient) -> None:
    demand.set_registered_model_tag("demand", LEASE, "of a process that crashed")
    with lease(demand, "demand", wait_s=0.02, dead_s=0.1):
        assert demand.get_registered_model("demand").tags[LEASE] != "of a process that crashed"
    assert LEASE not in demand.get_registered_model("demand").tags


def test_a_lease_that_is_held_for_too_long_or_lost_is_an_error(demand: MlflowClient) -> None:
    demand.set_registered_model_tag("demand", LEASE, "somebody")
    with (
        pytest.raises(StoreError, match=f"delete its tag {LEASE}"),
        lease(demand, "demand", wait_s=0.02, timeout_s=0.1),
    ):
        pass
    with lease(demand, "demand", wait_s=0.02, dead_s=0.05) as check:
        demand.set_registered_model_tag("demand", LEASE, "somebody else")
        with pytest.raises(StoreError, match="took over the right to change 'demand'"):
            check()
    assert demand.get_registered_model("demand").tags[LEASE] == "somebody else"


def test_a_model_or_version_that_is_not_there_is_a_store_error(demand: MlflowClient) -> None:
    with pytest.raises(StoreError, match="refused the decision on 'nothing' version 1"):
        promote(demand, "nothing", "1", verdict(0.5), against=None)
    with pytest.raises(StoreError, match="refused the decision on 'demand' version 77"):
        promote(demand, "demand", "77", verdict(0.5), against=None)
    with pytest.raises(StoreError, match="refused the rollback of 'nothing'"):
        rollback(demand, "nothing")
